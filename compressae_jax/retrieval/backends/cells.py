"""The cells backend: each query is scored with the rows of the cells that are nearest to it, by all CPU cores.

Centroids are scored by `host`, rows by the same instructions as a scan of all of them, to the same bits. What several
queries of a batch ask for is read and taken apart once. Results depend neither on threads nor on queries beside one.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from compressae_jax.base.threads import cores
from compressae_jax.codes.rows import Rows
from compressae_jax.notation import Expanded, check_range
from compressae_jax.retrieval.backends import host
from compressae_jax.retrieval.backends.host import EVERYTHING, MOST, Results, best_of_threads, fixed, in_groups, stored
from compressae_jax.retrieval.cells import Cells, Grouping
from compressae_jax.retrieval.filters import Without

SHARE = 2**13  # rows times queries, from which on another thread gains more than starting it costs
TURNS = 8  # that a thread takes, so that a slow core takes fewer
CENTROIDS = 2**10  # scored by a thread at a time


class Grouped(NamedTuple):
    """The rows of a segment by cell; `first` is the number of its first row."""

    rows: Rows
    grouping: Grouping
    first: int


class Turn(NamedTuple):
    """Some lists of a segment, as the loops take them, and the queries that ask for them: see `cell_kernels`."""

    lists: Int[np.ndarray, "m 4"]
    askers: Int[np.ndarray, " a"]


def search(
    cells: Cells,
    parts: Sequence[Grouped],
    space: str,
    u: Expanded,
    nearby: Expanded,
    top: int,
    probes: int,
    *,
    allowed: Bool[np.ndarray, " n"] | None = None,
    counts: Int[np.ndarray, " cells"] | None = None,
    without: Without | None = None,
) -> tuple[Float[np.ndarray, "q r"], Int[np.ndarray, "q r"]]:
    """The best rows of each query in its `probes` nearest cells, best first; ties go to the lower row number.

    `nearby` is what centroids are scored by: u of the query as its reconstruction. Cells without an allowed row are
    passed over (`counts` is how many each has); where the nearest cells hold fewer than `top` rows, more are probed.

    Raises:
        InputError: `top` or `probes` out of range.
    """
    check_range("top", top, 1, MOST)
    check_range("probes", probes, 1, len(cells))
    mask = EVERYTHING if allowed is None else fixed(allowed)
    if counts is None:
        counts = sum((part.grouping.sizes for part in parts), np.zeros(len(cells), np.int64))
    read = [_reader(part.rows, space) for part in parts]
    u, done = np.asarray(u, np.float32), 0

    def find(some: np.ndarray, without: Without, threads: int) -> Results:
        nonlocal done  # in_groups takes them in their order
        wanted = top + np.diff(without.indptr)
        chosen = _chosen(cells, nearby[done : done + len(some)], probes, counts, wanted)
        done += len(some)
        probed = np.zeros((len(some), len(cells)), bool)
        probed[chosen] = True
        lots = [(i, turn) for i, part in enumerate(parts) for turn in _turns(part.grouping, chosen, threads)]
        turns, queries, indptr = iter(lots), stored(some), fixed(without.indptr)

        def work(scores: np.ndarray, rows: np.ndarray) -> None:
            for i, turn in turns:
                asked = fixed(turn.lists), fixed(turn.askers), probed
                read[i](parts[i], turn)(asked, (mask, queries, indptr, without.rows, scores, rows))

        return best_of_threads(work, max(1, min(threads, len(lots))), len(some), top)

    return in_groups(find, u, without, top, cores())


def _reader(rows: Rows, space: str) -> Callable[[Grouped, Turn], Callable[[tuple, tuple], None]]:
    """What scores the rows of a turn: records as they lie, others read in the order of their numbers first."""
    from compressae_jax.retrieval.backends import cell_kernels, kernels

    encoded = rows.encoded(space)
    records = None if encoded is None else encoded.records
    if encoded is not None and records is not None and kernels.in_registers(encoded.h, encoded.k, encoded.low):
        these, how = fixed(records), (fixed(encoded.signed), encoded.h, encoded.low, encoded.k)

        def direct(part: Grouped, turn: Turn) -> Callable[[tuple, tuple], None]:
            part.rows.files.check()
            grouped = _grouped(part)
            return lambda asked, rest: cell_kernels.scan_records(these, how, grouped, *asked, *rest)

        return direct

    def through(part: Grouped, turn: Turn) -> Callable[[tuple, tuple], None]:
        order = part.grouping.order
        numbers = np.concatenate([order[start:stop] for start, stop, *_ in turn.lists.tolist()]).astype(np.int64)
        numbers, at = np.unique(numbers, return_inverse=True)
        values, columns, scales = part.rows.reader(space, len(numbers))(numbers)
        arrays = stored(values), stored(columns), stored(scales), fixed(at), _grouped(part)
        return lambda asked, rest: cell_kernels.scan_floats(*arrays, *asked, *rest)

    return through


def _grouped(part: Grouped) -> tuple[np.ndarray, np.ndarray, int]:
    """What the loops take of a grouping."""
    return fixed(part.grouping.order), fixed(part.grouping.nearest), int(part.first)


def _chosen(
    cells: Cells,
    nearby: Expanded,
    probes: int,
    counts: Int[np.ndarray, " cells"],
    wanted: Int[np.ndarray, " q"],
) -> tuple[Int[np.ndarray, " p"], Int[np.ndarray, " p"]]:
    """Pairs of a query and a cell: the `probes` nearest that have rows, or more, until they hold so many rows."""
    there = None if counts.all() else counts > 0
    wanted = np.minimum(wanted, counts.sum())

    def nearest(some: Expanded, most: int) -> Int[np.ndarray, "q p"]:
        return host.search(cells.centroids, "reconstructed", some, most, allowed=there, chunk=CENTROIDS)[1]

    chosen = nearest(nearby, probes)
    queries, ranks = np.nonzero(chosen >= 0)
    pairs = [(queries, chosen[queries, ranks])]
    held = np.where(chosen >= 0, counts[chosen], 0).sum(axis=1)
    short = np.flatnonzero(held < wanted)
    for i, every in zip(short.tolist(), nearest(nearby[short], len(cells)) if len(short) else (), strict=True):
        more = every[: 1 + int(np.searchsorted(np.cumsum(counts[every[every >= 0]]), wanted[i]))]
        more = more[probes:]
        more = more[more >= 0]
        pairs.append((np.full(len(more), i), more))
    queries, chosen = (np.concatenate(each) for each in zip(*pairs, strict=True))
    if len(pairs) > 1:
        order = np.argsort(queries, kind="stable")
        queries, chosen = queries[order], chosen[order]
    return queries, chosen


def _turns(
    grouping: Grouping, chosen: tuple[Int[np.ndarray, " p"], Int[np.ndarray, " p"]], threads: int
) -> Iterator[Turn]:
    """The lists of a segment that are asked for, in turns of about equal work."""
    queries, cells = chosen
    if len(cells) and queries[0] == queries[-1]:  # of one query, the nearest come first: their rows keep others out
        askers, asked = queries[:1], cells
        firsts, ends = np.zeros(len(cells), np.int64), np.ones(len(cells), np.int64)
    else:
        by_cell = np.argsort(cells, kind="stable")
        askers = queries[by_cell]
        asked, firsts = np.unique(cells[by_cell], return_index=True)
        ends = np.append(firsts[1:], len(askers))
    numbers = (2 * asked[:, None] + np.arange(2)).ravel()
    starts, stops = grouping.starts[numbers], grouping.starts[numbers + 1]
    first, last = np.stack([firsts, ~firsts], axis=1).ravel(), np.repeat(ends, 2)
    lists = np.stack([starts, stops, first, last], axis=1)[stops > starts]
    if not len(lists):
        return
    if threads == 1:
        yield Turn(lists, askers)
        return
    work = np.cumsum((lists[:, 1] - lists[:, 0]) * (lists[:, 3] - np.maximum(lists[:, 2], ~lists[:, 2])))
    count = min(len(lists), TURNS * threads, 1 + int(work[-1]) // SHARE)
    cuts = np.searchsorted(work, work[-1] * np.arange(1, count) / count)
    cuts = np.unique(np.concatenate([[0], cuts, [len(lists)]]))
    for first, last in zip(cuts[:-1].tolist(), cuts[1:].tolist(), strict=True):
        yield Turn(lists[first:last], askers)
