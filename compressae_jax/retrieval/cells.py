"""Cells: rows that lie near each other, by the two of some centroids that serve their reconstruction best.

An index with cells is searched in the cells nearest to a query alone. Here they are learned (spherical k-means over a
sample), and rows are dealt to them; `backends.cells` searches them. Centroids are codes themselves, the `NONZEROS`
largest entries of the mean code of a cell, so that u of a query scores them as it scores rows.

A row lies in the cell of its nearest centroid and is spilled into a second one, whose error points elsewhere (SOAR, Sun
et al. 2023): a query that the first cell is hidden from is near the second. For the same recall so are scanned some 0.6
times the rows, of which none counts twice.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

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
from compressae_jax.codes.rows import MadeBy, Part, Rows
from compressae_jax.model import encoders
from compressae_jax.model.weights import Weights
from compressae_jax.notation import InputError, check_range
from compressae_jax.retrieval.backends.host import QUERIES, stored

PER_ROOT = 8  # cells for each of √n: of more, fewer rows are probed for a recall, but more centroids are scored
LANES = 64  # of a default number of cells: centroids are scored so many at a time
MOST = 2**20  # cells
SAMPLED = 32  # rows a cell that are learned from
ROUNDS = 8  # of k-means; later ones move few rows
NONZEROS = (
    32  # of a centroid: with twice as many, 4 % fewer rows are probed for a recall, and scoring takes twice as long
)
ASIDE = 1.0  # λ of SOAR: what an error along that of the first cell counts, beside its square
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
    """Which rows of a segment lie in which cell: two lists a cell, of rows that are nearest to it and of those spilled.

    List l is `order[starts[l] : starts[l + 1]]`, rising; that of the nearest of cell c is 2c, of the spilled 2c + 1.
    `nearest` is the number of every row's own cell.
    """

    order: UInt32[np.ndarray, " m"]
    starts: Int[np.ndarray, " lists_and_1"]
    nearest: Integer[np.ndarray, " n"]

    @staticmethod
    def of(cells_of: Integer[np.ndarray, "n 2"], cells: int) -> Grouping:
        """The grouping of rows by the numbers of each one's two cells; twice the same is one."""
        from compressae_jax.retrieval.backends import cell_kernels

        if len(cells_of) >= 2**31:
            raise InputError(f"a segment with cells has fewer than 2^31 rows, not {len(cells_of):,}")
        numbers = np.ascontiguousarray(cells_of, number_dtype(cells))
        spilled = int(np.count_nonzero(numbers[:, 0] != numbers[:, 1]))
        order, starts = np.empty(len(numbers) + spilled, np.uint32), np.empty(2 * cells + 1, np.int64)
        cell_kernels.sort_by_cell(numbers, starts, order)
        return Grouping(order, starts, np.ascontiguousarray(numbers[:, 0]))

    @staticmethod
    def joined(parts: Sequence[Grouping]) -> Grouping:
        """The grouping of the rows of several segments, numbered through."""
        return Grouping.of(np.concatenate([part.cells_of for part in parts]), parts[0].cells)

    @property
    def cells(self) -> int:
        """How many cells there are."""
        return len(self.starts) // 2

    @property
    def cells_of(self) -> Integer[np.ndarray, "n 2"]:
        """The numbers of every row's cells, in 16 bits where they hold them, else in 32."""
        numbers = np.repeat(self.nearest[:, None], 2, axis=1)
        lists = np.repeat(np.arange(2 * self.cells), np.diff(self.starts))
        spilled = np.flatnonzero(lists & 1)
        numbers[self.order[spilled], 1] = lists[spilled] // 2
        return numbers

    @property
    def nbytes(self) -> int:
        """Bytes in memory: 10 a row, or 12 of more than 65,536 cells, and 16 a cell."""
        return self.order.nbytes + self.starts.nbytes + self.nearest.nbytes

    @functools.cached_property
    def sizes(self) -> Int[np.ndarray, " cells"]:
        """How many rows every cell is the nearest of."""
        return np.diff(self.starts)[::2]

    def allowed(self, allowed: Bool[np.ndarray, " n"]) -> Int[np.ndarray, " cells"]:
        """How many allowed rows every cell is the nearest of."""
        from compressae_jax.retrieval.backends import cell_kernels

        counts = np.zeros(self.cells, np.int64)
        cell_kernels.count_allowed(self.nearest, np.ascontiguousarray(allowed), counts)
        return counts


def number_dtype(cells: int) -> Any:
    """What cells are numbered in."""
    return np.uint16 if cells <= 2**16 else np.uint32


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
) -> tuple[Cells, Integer[np.ndarray, "n 2"]]:
    """Cells for rows, by the `alive` ones, whose numbers rise; and the numbers of each row's cells, removed ones too.

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
    with bars.bar(ROUNDS * len(sample) + 2 * len(rows), "cells", shown=progress) as bar:
        chosen = np.sort(rng.choice(len(sample), cells, replace=False))
        centroids = _truncated(matrix[chosen], weights)
        for _ in range(ROUNDS):
            cell_of, _ = nearest(sample, centroids, weights)
            centroids = _means(matrix, cell_of, cells, rng, weights)
            bar.update(len(sample))
        cell_of, scores = nearest(rows, centroids, weights, bar)
        cells_of = np.stack([cell_of, _spilled(rows, centroids, weights, cell_of, scores, bar)], axis=1)
        if rows.similarity == "dot":
            lengths = np.zeros(cells, np.float32)
            np.maximum.at(lengths, cell_of, scores)
            centroids = dataclasses.replace(centroids, lengths=lengths)
    return Cells(centroids), cells_of


def nearest(
    rows: Rows, centroids: Codes, weights: Weights, bar: Any = None
) -> tuple[Integer[np.ndarray, " n"], Float[np.ndarray, " n"]]:
    """The number of every row's nearest cell, of equal ones the lowest, and their inner product.

    Centroids count as unit vectors. A row's cell is the same in any company.
    """
    from compressae_jax.retrieval.backends import cell_kernels

    n, count = len(rows), len(centroids)
    best, found = np.full(n, -np.inf, np.float32), np.zeros(n, number_dtype(count))

    def work(here: slice, part: Part, blocks: _Blocks) -> None:
        arrays = stored(part.values), stored(part.columns), blocks.u
        cell_kernels.nearest(*arrays, blocks.first, blocks.cells, best[here], found[here])
        if blocks.last:
            best[here] *= part.row_scales

    _by_centroids(rows, centroids, weights, work, bar)
    return found, best


def grouped(rows: Rows, cells: Cells, weights: Weights) -> Grouping:
    """The grouping of rows by cells that are there."""
    cell_of, scores = nearest(rows, cells.centroids, weights)
    return Grouping.of(
        np.stack([cell_of, _spilled(rows, cells.centroids, weights, cell_of, scores)], axis=1), len(cells)
    )


def _spilled(
    rows: Rows,
    centroids: Codes,
    weights: Weights,
    cell_of: Integer[np.ndarray, " n"],
    scores: Float[np.ndarray, " n"],
    bar: Any = None,
) -> Integer[np.ndarray, " n"]:
    """The number of every row's second cell, given the first and their inner product; the first where there is one.

    It is that of the least ‖e‖² + λ (e·r)², e the row less its centroid, r the direction of the first cell's error.
    """
    from compressae_jax.retrieval.backends import cell_kernels

    best, found = np.full(len(rows), np.inf, np.float32), cell_of.copy()
    factors = 1 / np.maximum(_lengths(rows, weights), np.finfo(np.float32).tiny)
    cosines = scores * factors

    def work(here: slice, part: Part, blocks: _Blocks) -> None:
        arrays = stored(part.values), stored(part.columns), part.row_scales * factors[here], blocks.u, blocks.likeness
        own = cell_of[here], cosines[here]
        cell_kernels.spill(*arrays, blocks.first, blocks.cells, *own, np.float32(ASIDE), best[here], found[here])

    _by_centroids(rows, centroids, weights, work, bar, likeness=True)
    return found


def _lengths(rows: Rows, weights: Weights) -> Float[np.ndarray, " n"]:
    """‖x‖ of every row as it is scored in the space 'reconstructed': 1 where cosines have a scale, else its own."""
    lengths = np.ones(len(rows), np.float32)
    if rows.similarity == "dot" or rows.norms is None:
        read = rows.reader("reconstructed", CHUNK)
        for start in range(0, len(rows), CHUNK):
            here = slice(start, min(start + CHUNK, len(rows)))
            values, columns, scales = read(here)
            z = on_host.reconstruct(Codes(values, columns, rows.h), weights.params["decoder_w"])
            lengths[here] = np.linalg.norm(z, axis=1) * np.abs(scales)
    return lengths


class _Blocks(NamedTuple):
    """Some centroids, from the `first` on: their u (blocks, h, w), and the inner products (count, b) of all with them.

    `cells`: how many; what is beyond them is padding.
    """

    u: np.ndarray
    likeness: Float[np.ndarray, "count b"] | None
    first: int
    cells: int
    last: bool


def _by_centroids(
    rows: Rows,
    centroids: Codes,
    weights: Weights,
    work: Callable[[slice, Part, _Blocks], None],
    bar: Any = None,
    likeness: bool = False,
) -> None:
    """Call `work` with every chunk of rows and every 512 centroids, on all cores: a chunk is read once for each."""
    n, count = len(rows), len(centroids)
    units = on_host.unit_rows(on_host.reconstruct(centroids, weights.params["decoder_w"]))
    chunk = max(1, CHUNK // rows.k)
    for first in range(0, count, TOGETHER * QUERIES):
        some = units[first : first + TOGETHER * QUERIES]
        u = products.by_all_cores(some, encoders.strips_of(weights, "decoder_w"))
        u = np.pad(u, ((0, -len(some) % QUERIES), (0, 0)))
        u = stored(aligned(u.reshape(-1, QUERIES, u.shape[1]).transpose(0, 2, 1)))
        alike = None
        if likeness:
            padded = np.pad(some, ((0, -len(some) % QUERIES), (0, 0)))
            alike = products.by_all_cores(units, products.strips(padded.T))
        blocks = _Blocks(u, alike, first, len(some), first + len(some) == count)

        def one(start: int, blocks: _Blocks = blocks) -> None:
            here = slice(start, min(n, start + chunk))
            work(here, rows.reader("reconstructed", chunk)(here), blocks)

        deal(one, range(0, n, chunk))
        if bar is not None:
            bar.update(n * (first + len(some)) // count - n * first // count)


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
    """Bytes in memory of an index's cells: 10 a row, and the centroids."""
    return 0 if cells is None else cells.nbytes + sum(one.nbytes for one in groupings if one is not None)
