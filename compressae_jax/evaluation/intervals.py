"""Bootstrap intervals of means over queries or users; the scores themselves live in the protocols."""

import numpy as np
from jaxtyping import Float

from compressae_jax.base import bootstrap
from compressae_jax.base.bootstrap import RESAMPLES, Interval
from compressae_jax.notation import InputError, check_range


def interval(values: Float[np.ndarray, " q"], resamples: int = RESAMPLES, seed: int = 0) -> Interval:
    """The mean of one value a query, with an interval over queries.

    Raises:
        InputError: no values.
    """
    check_range("resamples", resamples, 1, 10**7)
    if not len(values):
        raise InputError("an interval needs at least one value, not 0")
    values = values.astype(np.float64)
    return bootstrap.around(values.mean(), bootstrap.means(values, resamples, seed))


def difference(
    values: Float[np.ndarray, " q"], base: Float[np.ndarray, " q"], resamples: int = RESAMPLES, seed: int = 0
) -> Interval:
    """The mean of `values - base`, paired query by query, with its interval."""
    return interval(values.astype(np.float64) - base, resamples, seed)
