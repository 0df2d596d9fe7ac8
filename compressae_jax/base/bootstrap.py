"""Means of resampled values, for 95 % bootstrap intervals; who needs one says of what."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

PIECE = 2**22  # draws held at once
RESAMPLES = 2000


class Interval(NamedTuple):
    """A mean and the ends of its 95 % percentile bootstrap interval."""

    mean: float
    low: float
    high: float


def means(values: Float[np.ndarray, " q"], resamples: int, seed: int) -> Float[np.ndarray, " resamples"]:
    """The means of values drawn with replacement, float64; the same for the same seed."""
    rng = np.random.default_rng(seed)
    q = len(values)
    piece = max(1, PIECE // q)
    sizes = [min(piece, resamples - start) for start in range(0, resamples, piece)]
    return np.concatenate([values[rng.integers(q, size=(size, q), dtype=np.int64)].mean(axis=1) for size in sizes])


def around(mean: float, resampled: Float[np.ndarray, " resamples"]) -> Interval:
    """A mean with the interval that resampled ones give."""
    low, high = np.quantile(resampled, [0.025, 0.975])
    return Interval(float(mean), float(low), float(high))
