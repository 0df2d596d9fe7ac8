"""Rows in a stored form, searched exactly by inner product; what is stored of a row lives in `storage`."""

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from jaxtyping import Float, Shaped

from compressae_jax.baselines.storage import Reduced, Storage
from compressae_jax.baselines.top_rows import TopRows
from compressae_jax.baselines.units import Vectors
from compressae_jax.notation import InputError, Rows, Scores, check_range
from compressae_jax.retrieval import filters
from compressae_jax.retrieval.filters import Without

ROWS, QUERIES = 8192, 1024  # of a block of scores: 32 MiB

Queries = Float[np.ndarray, "q d"]


class Flat:
    """A flat index of rows in a stored form, scored by the inner product of the reduced query with the unpacked row.

    `reduce` maps vectors and queries to what is stored of them; `bytes_per_vector` counts all that a row needs.
    """

    def __init__(self, name: str, d: int, reduce: Callable[[Vectors], Reduced], storage: Storage):
        self.name, self.bytes_per_vector = name, float(storage.width)
        self.storage = storage
        self._d, self._reduce = d, reduce
        self._stored: list[np.ndarray] = []

    def __len__(self) -> int:
        return sum(map(len, self._stored))

    def encode(self, vectors: Vectors) -> Shaped[np.ndarray, "n ..."]:
        """The stored form of vectors (n, d): an array of `bytes_per_vector` bytes a row."""
        self._check_width("vectors", vectors)
        return self.storage.pack(self._reduce(vectors))

    def add(self, vectors: Vectors) -> "Flat":
        """Append vectors to the rows that are searched."""
        self._stored.append(self.encode(vectors))
        return self

    def search(self, queries: Queries, top: int, exclude: Any = None) -> tuple[Scores, Rows]:
        """The `top` best of the added rows: scores (q, top) float32 and rows (q, top) int64, ties to the lower row.

        `exclude`: rows that single queries must not get, a list of numbers each or a matrix (q, n). Where fewer than
        `top` are left, minus infinity at row -1.

        Raises:
            InputError: queries of another width, `top` outside 1..n, rows that are not there.
        """
        check_range("top", top, 1, len(self))
        return self.search_stored(queries, self._stored, top, filters.without(exclude, len(queries), len(self)))

    def search_stored(
        self, queries: Queries, stored: Iterable[np.ndarray], top: int, without: Without | None = None
    ) -> tuple[Scores, Rows]:
        """Search rows that come piece by piece in their stored form and need not all fit in memory."""
        self._check_width("queries", queries)
        queries = self._reduce(queries)
        without = filters.nothing(len(queries)) if without is None else without
        starts = range(0, len(queries), QUERIES)
        blocks = [queries[start : start + QUERIES] for start in starts]
        taken = [filters.by_row(filters.cut(without, start, start + len(blocks[0]))) for start in starts]
        best = [TopRows(len(block), top) for block in blocks]
        for first, rows in self._unpacked(stored):
            for block, (asked, numbers), block_best in zip(blocks, taken, best, strict=True):
                scores = block @ rows.T
                here = slice(*np.searchsorted(numbers, [first, first + len(rows)]))
                scores[asked[here], numbers[here] - first] = -np.inf
                block_best.absorb(scores, first)
        found = [one.result() for one in best] or [TopRows(0, top).result()]
        return np.concatenate([scores for scores, _ in found]), np.concatenate([rows for _, rows in found])

    def _unpacked(self, stored: Iterable[np.ndarray]) -> Iterable[tuple[int, np.ndarray]]:
        first = 0
        for piece in stored:
            for start in range(0, len(piece), ROWS):
                yield first + start, self.storage.unpack(piece[start : start + ROWS])
            first += len(piece)

    def _check_width(self, argument: str, vectors: np.ndarray) -> None:
        if vectors.shape[1] != self._d:
            raise InputError(f"{argument} must have width {self._d}, as fitted, not {vectors.shape[1]}")
