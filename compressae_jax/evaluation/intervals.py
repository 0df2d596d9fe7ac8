"""Bootstrap intervals of means over queries or users; the scores themselves live in the protocols."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from compressae_jax.notation import InputError, check_range

PIECE = 2**22  # draws held at once


class Interval(NamedTuple):
    """A mean and the ends of its 95 % percentile bootstrap interval."""

    mean: float
    low: float
    high: float


def interval(values: Float[np.ndarray, " q"], resamples: int = 2000, seed: int = 0) -> Interval:
    """The mean of one value a query, with an interval over queries.

    Raises:
        InputError: no values.
    """
    check_range("resamples", resamples, 1, 10**7)
    if not len(values):
        raise InputError("an interval needs at least one value, not 0")
    values = values.astype(np.float64)
    low, high = np.quantile(_means(values, resamples, seed), [0.025, 0.975])
    return Interval(float(values.mean()), float(low), float(high))


def difference(
    values: Float[np.ndarray, " q"], base: Float[np.ndarray, " q"], resamples: int = 2000, seed: int = 0
) -> Interval:
    """The mean of `values - base`, paired query by query, with its interval."""
    return interval(values.astype(np.float64) - base, resamples, seed)


def _means(values: np.ndarray, resamples: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    q = len(values)
    piece = max(1, PIECE // q)
    sizes = [min(piece, resamples - start) for start in range(0, resamples, piece)]
    return np.concatenate([values[rng.integers(q, size=(size, q), dtype=np.int64)].mean(axis=1) for size in sizes])
