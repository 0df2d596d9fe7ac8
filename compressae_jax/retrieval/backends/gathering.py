"""Few allowed rows of many: gathered, then searched without a filter, instead of tested one by one in a scan of all."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Bool, Float, Int, Int64

from compressae_jax.base.arrays import pieces
from compressae_jax.codes.rows import Rows
from compressae_jax.retrieval.filters import Without

FEW = 16  # fewer rows than one in so many are gathered before they are searched
GATHERED = 2**20  # rows at a time, so that the memory they need has a bound

Results = tuple[Float[np.ndarray, "q r"], Int[np.ndarray, "q r"]]


def few(allowed: Bool[np.ndarray, " n"] | None) -> Int64[np.ndarray, " m"] | None:
    """The numbers of the allowed rows where they are so few that to gather them pays, else None."""
    if allowed is None or FEW * np.count_nonzero(allowed) > len(allowed):
        return None
    return np.flatnonzero(allowed)


def gathered(
    search: Callable[[Rows, Without | None], Results],
    rows: Rows,
    picked: Int64[np.ndarray, " m"],
    q: int,
    top: int,
    without: Without | None,
) -> Results:
    """What `search` finds among the picked rows, whose numbers rise, with the numbers that they have among all."""
    best, rows = None, rows.with_ids(None)
    for some in pieces(picked, GATHERED):
        scores, places = search(rows[some], _renumbered(without, some))
        found = scores, np.where(places < 0, -1, some[places])
        best = found if best is None else _best(best, found, top)
    return best or (np.full((q, top), -np.inf, np.float32), np.full((q, top), -1, np.int64))


def _renumbered(without: Without | None, some: Int64[np.ndarray, " m"]) -> Without | None:
    """The places among `some` rows of those that are there."""
    if without is None:
        return None
    places = np.searchsorted(some, without.rows)
    there = some[np.minimum(places, len(some) - 1)] == without.rows
    before = np.concatenate([[0], np.cumsum(there)])
    return Without(before[without.indptr], places[there])


def _best(best: Results, found: Results, top: int) -> Results:
    """The best of both; where scores tie, every row of `found` is above those of `best`."""
    scores, rows = (np.concatenate(pair, axis=1) for pair in zip(best, found, strict=True))
    order = np.argsort(-scores, axis=1, kind="stable")[:, :top]
    return np.take_along_axis(scores, order, axis=1), np.take_along_axis(rows, order, axis=1)
