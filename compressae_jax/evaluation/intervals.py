"""Bootstrap intervals of means over queries or users, and of their ratios; the scores live in the protocols."""

from collections.abc import Sequence

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


def ratio(
    values: Float[np.ndarray, " q"], base: Float[np.ndarray, " q"], resamples: int = RESAMPLES, seed: int = 0
) -> Interval:
    """mean(values) / mean(base), paired query by query, with its interval.

    Raises:
        InputError: no values, not as many of both, or a base whose mean is not above 0.
    """
    return mean_ratio([(values, base)], resamples, seed)


def mean_ratio(
    pairs: Sequence[tuple[Float[np.ndarray, " _"], Float[np.ndarray, " _"]]],
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Interval:
    """The mean, over pairs of values and base, of mean(values) / mean(base); each pair's queries are drawn anew.

    Raises:
        InputError: as `ratio`, or no pair.
    """
    check_range("resamples", resamples, 1, 10**7)
    if not pairs:
        raise InputError("a mean of ratios needs at least one pair, not 0")
    ratios, drawn = [], []
    for place, (values, base) in enumerate(pairs):
        if not len(values) or len(values) != len(base) or not base.mean() > 0:
            raise InputError(
                f"a ratio needs as many values as its base has, and a base of a mean above 0, not {len(values)} and "
                f"{len(base)} of a mean of {base.mean() if len(base) else 0:g}"
            )
        ratios.append(values.mean(dtype=np.float64) / base.mean(dtype=np.float64))
        # One seed draws the same queries of both.
        above, below = (bootstrap.means(part.astype(np.float64), resamples, seed + place) for part in (values, base))
        drawn.append(np.divide(above, below, out=np.full(resamples, ratios[-1]), where=below > 0))
    return bootstrap.around(float(np.mean(ratios)), np.mean(drawn, axis=0))
