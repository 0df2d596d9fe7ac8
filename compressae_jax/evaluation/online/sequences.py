"""Anytime-valid inference: intervals and p-values that hold at all looks together, however many and whenever.

The asymptotic confidence sequence of Waudby-Smith, Arbour, Sinha, Kennedy and Ramdas (2021): the normal mixture, whose
weight is set by a number of users, the horizon, at which the sequence is to be narrowest. It is set before the first
look, and any number keeps the level.
"""

import numpy as np
import scipy.special
from jaxtyping import Float64

from compressae_jax.evaluation.online.sums import Number

HORIZON = 100_000  # users of both variants; one too small by ten makes it a twentieth wider at 99 %


def half_width(users: Float64[np.ndarray, "*s"], level: Number, horizon: Number = HORIZON) -> Float64[np.ndarray, "*s"]:
    """Half the width of the sequence in standard errors, after so many users of both variants."""
    weight = prior_users(level, horizon)
    with np.errstate(divide="ignore"):
        x = users / weight
        return np.sqrt((1 + 1 / x) * (np.log1p(x) - 2 * np.log(1 - level)))


def p_value(
    z: Float64[np.ndarray, "*s"], users: Float64[np.ndarray, "*s"], level: Number, horizon: Number = HORIZON
) -> Float64[np.ndarray, "*s"]:
    """P-value that holds at all looks; `level` is the one that the horizon was set for."""
    x = users / prior_users(level, horizon)
    return np.minimum(1, np.exp(np.log1p(x) / 2 - x / (1 + x) * z**2 / 2))


def prior_users(level: Number, horizon: Number) -> float:
    """The users that the mixture's weight counts for, so that the sequence is narrowest at the horizon."""
    return horizon / narrowest(level)


def narrowest(level: Number) -> float:
    """The ratio of horizon and weight: x where (1 + 1/x) (log(1 + x) - 2 log alpha) is least."""
    alpha = 1 - level
    return float(-scipy.special.lambertw(-(alpha**2) / np.e, -1).real - 1)
