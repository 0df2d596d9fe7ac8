"""The few magnitudes that values are rounded to: a scalar quantiser by Lloyd's rule; `packed` stores their numbers."""

import numpy as np
from jaxtyping import Float

ROUNDS = 50


def learn(magnitudes: Float[np.ndarray, " m"], count: int) -> Float[np.ndarray, " count"]:
    """`count` rising positive levels of least mean squared error, float32 (Lloyd 1982), from quantiles.

    Zeros, which mark places that a row does not use, do not count.
    """
    ordered = np.sort(magnitudes[magnitudes > 0].astype(np.float64))
    if not len(ordered):
        ordered = np.ones(1)
    sums = np.concatenate([[0], np.cumsum(ordered)])
    levels = np.quantile(ordered, (np.arange(count) + 0.5) / count)
    for _ in range(ROUNDS):
        ends = np.concatenate([[0], np.searchsorted(ordered, (levels[1:] + levels[:-1]) / 2), [len(ordered)]])
        members = np.diff(ends)
        levels = np.where(members > 0, (sums[ends[1:]] - sums[ends[:-1]]) / np.maximum(members, 1), levels)
    return _rising(levels.astype(np.float32))


def _rising(levels: Float[np.ndarray, " count"]) -> Float[np.ndarray, " count"]:
    """Levels that fell together (fewer different magnitudes than levels) moved apart by the least step."""
    for i in range(1, len(levels)):
        levels[i] = max(levels[i], np.nextafter(levels[i - 1], np.float32(np.inf)))
    return levels
