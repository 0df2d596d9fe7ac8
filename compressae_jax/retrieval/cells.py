"""Cells: rows that lie near each other, by the one of some centroids that is nearest to their reconstruction.

An index with cells is searched in the cells nearest to a query alone. Here they are learned (spherical k-means over a
sample), and rows are dealt to them; `backends.cells` searches them. Centroids are codes themselves, the `NONZEROS`
largest entries of the mean code of a cell, so that u of a query scores them as it scores rows.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import scipy.sparse
import xxhash
from jaxtyping import Bool, Float, Int, Integer, UInt32

from compressae_jax.base import products
from compressae_jax.base import progress as bars
from compressae_jax.base.arrays import aligned
from compressae_jax.base.threads import deal
from compressae_jax.codes import on_host
from compressae_jax.codes.codes import Codes, column_dtype
from compressae_jax.codes.rows import MadeBy, Rows
from compressae_jax.model import encoders
from compressae_jax.model.weights import Weights
from compressae_jax.notation import InputError, check_range
from compressae_jax.retrieval.backends.host import QUERIES, stored

PER_ROOT = 4  # cells for each of √n: of more, fewer rows are probed for a recall, but more centroids are scored
LANES = 64  # of a default number of cells: centroids are scored so many at a time
MOST = 2**20  # cells
SAMPLED = 32  # rows a cell that are learned from
ROUNDS = 8  # of k-means; later ones move few rows
NONZEROS = (
    32  # of a centroid: with twice as many, 4 % fewer rows are probed for a recall, and scoring takes twice as long
)
TOGETHER = 8  # blocks of centroids that are scored while a chunk of rows is decoded
CHUNK = 2**16  # nonzeros of rows that a thread takes at a time


@dataclasses.dataclass(frozen=True, eq=False)
class Cells:
    """The centroids of an index's cells, unit reconstructions; under similarity 'dot' as long as their longest row."""

    centroids: Codes

    def __len__(self) -> int:
        return len(self.centroids)

    @functools.cached_property
    def digest(self) -> str:
        """A hash of the centroids, by which an index folder tells whether it has these."""
        running = xxhash.xxh3_128()
        for name, array in sorted(self.centroids.arrays().items()):
            running.update(name.encode() + np.ascontiguousarray(array).tobytes())
        return running.hexdigest()

    @property
    def nbytes(self) -> int:
        """Bytes in memory: values, columns, scales."""
        return sum(np.asarray(array).nbytes for array in self.centroids.arrays().values())


@dataclasses.dataclass(frozen=True, eq=False)
class Grouping:
    """Which rows of a segment lie in which cell: those of cell c are `order[starts[c] : starts[c + 1]]`, rising."""

    order: UInt32[np.ndarray, " n"]
    starts: Int[np.ndarray, " cells_and_1"]

    @staticmethod
    def of(cell_of: Integer[np.ndarray, " n"], cells: int) -> Grouping:
        """The grouping of rows by the number of each one's cell."""
        from compressae_jax.retrieval.backends import cell_kernels

        if len(cell_of) >= 2**32:
            raise InputError(f"a segment with cells has fewer than 2^32 rows, not {len(cell_of):,}")
        order, starts = np.empty(len(cell_of), np.uint32), np.empty(cells + 1, np.int64)
        cell_kernels.sort_by_cell(np.ascontiguousarray(cell_of), starts, order)
        return Grouping(order, starts)

    @staticmethod
    def joined(parts: Sequence[Grouping]) -> Grouping:
        """The grouping of the rows of several segments, numbered through."""
        return Grouping.of(np.concatenate([part.cell_of for part in parts]), len(parts[0].starts) - 1)

    @property
    def cell_of(self) -> Integer[np.ndarray, " n"]:
        """The number of every row's cell, in 16 bits where they hold it, else in 32."""
        cells = len(self.starts) - 1
        numbers = np.empty(len(self.order), np.uint16 if cells <= 2**16 else np.uint32)
        numbers[self.order] = np.repeat(np.arange(cells, dtype=numbers.dtype), np.diff(self.starts))
        return numbers

    @property
    def nbytes(self) -> int:
        """Bytes in memory: 4 a row, 8 a cell."""
        return self.order.nbytes + self.starts.nbytes

    @functools.cached_property
    def sizes(self) -> Int[np.ndarray, " cells"]:
        """Rows of every cell."""
        return np.diff(self.starts)

    def allowed(self, allowed: Bool[np.ndarray, " n"]) -> Int[np.ndarray, " cells"]:
        """Rows of every cell that are allowed."""
        from compressae_jax.retrieval.backends import cell_kernels

        counts = np.empty(len(self.starts) - 1, np.int64)
        cell_kernels.count_allowed(self.order, self.starts, np.ascontiguousarray(allowed), counts)
        return counts


def default_number(n: int) -> int:
    """Cells for n rows: about `PER_ROOT` √n, a multiple of `LANES`, at most one a row."""
    return min(max(LANES, round(PER_ROOT * math.sqrt(n) / LANES) * LANES), n, MOST)


def learn(
    rows: Rows,
    alive: Int[np.ndarray, " m"],
    weights: Weights,
    cells: int | None = None,
    seed: int = 0,
    progress: bool = True,
) -> tuple[Cells, Integer[np.ndarray, " n"]]:
    """Cells for rows, by the `alive` ones, whose numbers rise; and the number of each row's cell, removed ones too.

    Spherical k-means over a sample of the rows' unit reconstructions, on all cores; the same for the same seed, however
    many these are.

    Raises:
        InputError: fewer rows than cells, or none.
    """
    if not len(alive):
        raise InputError("cells are learned from rows, and the index has none")
    cells = default_number(len(alive)) if cells is None else cells
    check_range("cells", cells, 1, min(len(alive), MOST))
    rng = np.random.default_rng(seed)
    sampled = np.sort(rng.choice(len(alive), min(len(alive), SAMPLED * cells), replace=False))
    sample = _unit_codes(rows[alive[sampled]], weights)
    matrix = sample.to_csr()
    with bars.bar((ROUNDS + 1) * len(sample) + len(rows), "cells", shown=progress) as bar:
        chosen = np.sort(rng.choice(len(sample), cells, replace=False))
        centroids = _truncated(matrix[chosen], weights)
        for _ in range(ROUNDS):
            cell_of, _ = nearest(sample, centroids, weights)
            centroids = _means(matrix, cell_of, cells, rng, weights)
            bar.update(len(sample))
        cell_of, scores = nearest(rows, centroids, weights, bar)
        if rows.similarity == "dot":
            lengths = np.zeros(cells, np.float32)
            np.maximum.at(lengths, cell_of, scores)
            centroids = dataclasses.replace(centroids, lengths=lengths)
    return Cells(centroids), cell_of


def nearest(
    rows: Rows, centroids: Codes, weights: Weights, bar: Any = None
) -> tuple[Integer[np.ndarray, " n"], Float[np.ndarray, " n"]]:
    """The number of every row's nearest cell, of equal ones the lowest, and their inner product.

    Centroids count as unit vectors. Rows are read a chunk at a time, on all cores, once for each 512 centroids; a row's
    cell is the same in any company.
    """
    from compressae_jax.retrieval.backends import cell_kernels

    n, count = len(rows), len(centroids)
    best, found = np.full(n, -np.inf, np.float32), np.zeros(n, np.uint16 if count <= 2**16 else np.uint32)
    units = on_host.unit_rows(on_host.reconstruct(centroids, weights.params["decoder_w"]))
    chunk = max(1, CHUNK // rows.k)
    for first in range(0, count, TOGETHER * QUERIES):
        some = units[first : first + TOGETHER * QUERIES]
        u = products.by_all_cores(some, encoders.strips_of(weights, "decoder_w"))
        u = np.pad(u, ((0, -len(some) % QUERIES), (0, 0)))
        blocks = stored(aligned(u.reshape(-1, QUERIES, u.shape[1]).transpose(0, 2, 1)))
        last = first + len(some) == count

        def work(
            start: int, first: int = first, some: int = len(some), blocks: Any = blocks, last: bool = last
        ) -> None:
            here = slice(start, min(n, start + chunk))
            values, columns, scales = rows.reader("reconstructed", chunk)(here)
            cell_kernels.nearest(stored(values), stored(columns), blocks, first, some, best[here], found[here])
            if last:
                best[here] *= scales

        deal(work, range(0, n, chunk))
        if bar is not None:
            bar.update(n * (first + len(some)) // count - n * first // count)
    return found, best


def grouped(rows: Rows, cells: Cells, weights: Weights) -> Grouping:
    """The grouping of rows by cells that are there."""
    return Grouping.of(nearest(rows, cells.centroids, weights)[0], len(cells))


def _unit_codes(rows: Rows, weights: Weights) -> Codes:
    """Codes of unit reconstructions, float32, in memory."""
    codes = dataclasses.replace(rows.codes(), norms=None, ids=None, lengths=None)
    values = np.asarray(codes.values, np.float32)
    codes = dataclasses.replace(codes, values=values).with_norms(weights.params["decoder_w"])
    scales = codes.scales("reconstructed")
    assert scales is not None
    return dataclasses.replace(codes, values=values * scales[:, None], norms=None).with_norms(
        weights.params["decoder_w"]
    )


def _means(
    matrix: scipy.sparse.csr_matrix,
    cell_of: Integer[np.ndarray, " m"],
    cells: int,
    rng: np.random.Generator,
    weights: Weights,
) -> Codes:
    """The centroids of rows that are dealt out; a cell that got none begins anew at one of them."""
    m = matrix.shape[0]
    ones = np.ones(m, np.float32)
    sums = scipy.sparse.csr_matrix((ones, (cell_of.astype(np.int64), np.arange(m))), shape=(cells, m)) @ matrix
    empty = np.flatnonzero(np.bincount(cell_of, minlength=cells) == 0)
    if len(empty):
        sums = sums.tolil()
        sums[empty] = matrix[rng.choice(m, len(empty), replace=False)]
        sums = sums.tocsr()
    return _truncated(sums, weights)


def _truncated(sums: scipy.sparse.csr_matrix, weights: Weights) -> Codes:
    """The largest entries of each row, by falling magnitude, as codes of unit reconstructions."""
    h = sums.shape[1]
    k = min(NONZEROS, h)
    values = np.empty((sums.shape[0], k), np.float32)
    columns = np.empty((sums.shape[0], k), column_dtype(h))
    for start in range(0, len(values), QUERIES):
        here = slice(start, start + QUERIES)
        dense = sums[here].toarray()
        largest = np.sort(np.argpartition(-np.abs(dense), k - 1, axis=1)[:, :k], axis=1)
        sizes = -np.abs(np.take_along_axis(dense, largest, axis=1))
        order = np.take_along_axis(largest, np.argsort(sizes, axis=1, kind="stable"), axis=1)
        values[here], columns[here] = np.take_along_axis(dense, order, axis=1), order
    codes = Codes(values, columns, h).with_norms(weights.params["decoder_w"])
    scales = codes.scales("reconstructed")
    assert scales is not None
    halves = (values * scales[:, None]).astype(np.float16)
    made_by = MadeBy(weights.fingerprint, weights.encoder)
    return Codes(halves, columns, h, made_by=made_by, verified=True).with_norms(weights.params["decoder_w"])


def nbytes(cells: Cells | None, groupings: Iterable[Grouping | None]) -> int:
    """Bytes in memory of an index's cells: 4 a row, and the centroids."""
    return 0 if cells is None else cells.nbytes + sum(one.nbytes for one in groupings if one is not None)
