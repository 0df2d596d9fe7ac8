"""Rows in segments: what an index holds at one moment. Every change gives another `Segments`, so who searches one
while it changes sees the old one or the new one, whole.

Rows are numbered through all segments. A removed row keeps its number, and is never found, until `compact`. Small
segments in memory are merged as they come, so there are about log2 of their rows.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Int, Integer

from compressae_jax.codes import ids as ids_of
from compressae_jax.codes import joined
from compressae_jax.codes.ids import Ids
from compressae_jax.codes.lookup import Lookup, of_kind
from compressae_jax.codes.rows import Rows
from compressae_jax.notation import InputError
from compressae_jax.retrieval.cells import Cells, Grouping

PIECE = 2**16  # rows copied at once


class Home(NamedTuple):
    """The index folder that segments were read from or written to, and the seal of its `index.json` then."""

    folder: Path
    seal: str


@dataclasses.dataclass(frozen=True, eq=False)
class Segment:
    """Rows that were added together; `removed` says which of them are gone, None if none is.

    `number` is that of its folder in the home of the segments, None of rows that it lacks. `grouping` says which row
    lies in which cells, where the segments have some.
    """

    rows: Rows
    removed: Bool[np.ndarray, " n"] | None = None
    number: int | None = None
    grouping: Grouping | None = None

    def __len__(self) -> int:
        return len(self.rows)

    def __reduce__(self) -> tuple[Any, ...]:
        return Segment, (self.rows, self.removed, self.number, self.grouping)  # without what was made of them

    @functools.cached_property
    def alive(self) -> int:
        """Rows that are not removed."""
        return len(self) if self.removed is None else len(self) - int(np.count_nonzero(self.removed))

    @property
    def ids(self) -> Ids:
        """The ids of its rows, which have some, of files that did not shrink."""
        assert self.rows.ids is not None
        self.rows.files.check()
        return self.rows.ids

    @functools.cached_property
    def lookup(self) -> Lookup:
        """The rows by their ids."""
        return Lookup(self.ids)

    @property
    def movable(self) -> bool:
        """Whether it lies in memory alone, so that it may be merged with others."""
        return self.number is None and not self.rows.files.maps


@dataclasses.dataclass(frozen=True, eq=False)
class Segments:
    """At least one segment; all have rows of one kind and origin, and are grouped by the same `cells`, if any."""

    parts: tuple[Segment, ...]
    home: Home | None = None
    cells: Cells | None = None

    @functools.cached_property
    def rows(self) -> Rows:
        """All rows, removed ones too, under their numbers."""
        return joined.join([part.rows for part in self.parts])

    @functools.cached_property
    def alive(self) -> int:
        """Rows that are not removed."""
        return sum(part.alive for part in self.parts)

    @functools.cached_property
    def allowed(self) -> Bool[np.ndarray, " n"] | None:
        """Which rows a search may find; None if all."""
        if all(part.removed is None for part in self.parts):
            return None
        each = [np.zeros(len(part), bool) if part.removed is None else part.removed for part in self.parts]
        return ~np.concatenate(each)

    @functools.cached_property
    def firsts(self) -> Int[np.ndarray, " parts_and_1"]:
        """The number of each segment's first row, and of all rows."""
        return np.array(list(itertools.accumulate(map(len, self.parts), initial=0)))

    @property
    def named(self) -> bool:
        """Whether the rows have ids."""
        return self.parts[0].rows.ids is not None

    @functools.cached_property
    def kept(self) -> dict[Any, Any]:
        """What was made of these rows once, by name: rows on devices, inverted lists."""
        return {}

    def __len__(self) -> int:
        return int(self.firsts[-1])

    def __reduce__(self) -> tuple[Any, ...]:
        return Segments, (self.parts, self.home, self.cells)

    def find(self, ids: Any, argument: str = "ids") -> tuple[Int[np.ndarray, " m"], Int[np.ndarray, " m"]]:
        """Which of these ids are here, by place, and the numbers of their rows, removed ones left out.

        Where rows have no ids, they go by their numbers.

        Raises:
            InputError: texts where ids are integers, or the reverse; without ids, numbers out of range.
        """
        if not self.named:
            return self._numbered(ids, argument)
        places, asked = of_kind(ids, self.parts[0].ids, argument)
        found = [(np.empty(0, np.int64), np.empty(0, np.int64))]
        for part, first in zip(self.parts, self.firsts.tolist(), strict=False):
            which, rows = part.lookup.find(asked)
            there = slice(None) if part.removed is None else ~part.removed[rows]
            found.append((which[there], rows[there] + first))
        which, rows = map(np.concatenate, zip(*found, strict=True))
        order = np.argsort(which, kind="stable")
        return places[which[order]], rows[order]

    def numbers(self, ids: Any, argument: str = "ids") -> Int[np.ndarray, " m"]:
        """The row of every id, in the order of these, or the rows of a slice of numbers that are not removed.

        Raises:
            InputError: an id that is not here, and as `find`.
        """
        if isinstance(ids, slice):
            rows = np.arange(*ids.indices(len(self)))
            return rows if self.allowed is None else rows[self.allowed[rows]]
        which, rows = self.find(ids, argument)
        missing = np.setdiff1d(np.arange(len(ids)), which)
        if len(missing):
            asked = ids[int(missing[0])] if not hasattr(ids, "iloc") else ids.iloc[int(missing[0])]
            more = f", nor {len(missing) - 1:,} others" if len(missing) > 1 else ""
            raise InputError(f"{argument}: {_plain(asked)!r} is not in the index{more}")
        return rows

    def ids_of(self, rows: Int[np.ndarray, " m"]) -> Ids:
        """The ids of rows by their numbers.

        Raises:
            FolderError: a file that ids are a map of shrank.
        """
        if len(self.parts) == 1:
            return self.parts[0].ids[rows]
        part_of = np.searchsorted(self.firsts, rows, side="right") - 1
        order = np.argsort(part_of, kind="stable")
        taken = []
        for i in np.unique(part_of).tolist():
            here = order[part_of[order] == i]
            taken.append(self.parts[i].ids[rows[here] - self.firsts[i]])
        back = np.empty(len(rows), np.int64)
        back[order] = np.arange(len(rows))
        return ids_of.joined(taken)[back] if taken else self.parts[0].ids[:0]

    def added(self, rows: Rows, grouping: Grouping | None = None) -> Segments:
        """These and others behind them, whose ids are new ones; small segments in memory are merged.

        `grouping`: that of the rows, where there are cells.

        Raises:
            InputError: rows of another kind, an id that is here or that comes twice.
        """
        joined.join([self.parts[0].rows[:0], rows[:0]])  # which sees that they are of one kind
        if rows.ids is not None:
            self.check_new(rows.ids)
        if not len(rows):
            return self
        parts = [*(part for part in self.parts if len(part)), Segment(rows, grouping=grouping)]
        return dataclasses.replace(self, parts=tuple(_merged(parts)))

    def removed(self, rows: Int[np.ndarray, " m"]) -> Segments:
        """These without some rows, by number."""
        parts = list(self.parts)
        part_of = np.searchsorted(self.firsts, rows, side="right") - 1
        for i in np.unique(part_of).tolist():
            gone = np.zeros(len(parts[i]), bool) if parts[i].removed is None else parts[i].removed.copy()
            gone[rows[part_of == i] - self.firsts[i]] = True
            kept = parts[i]
            parts[i] = dataclasses.replace(kept, removed=gone)
            if "lookup" in vars(kept):
                vars(parts[i])["lookup"] = kept.lookup  # of the same rows
        return dataclasses.replace(self, parts=tuple(parts))

    def compacted(self) -> Segments:
        """One segment in memory of the rows that are not removed, numbered anew."""
        pieces = list(self.alive_pieces())
        whole = Segment(joined.in_memory(pieces or [self.rows[:0]]), grouping=self.alive_grouping())
        return dataclasses.replace(self, parts=(whole,))

    def with_cells(self, cells: Cells, cells_of: Integer[np.ndarray, "n 2"]) -> Segments:
        """These by other cells, given the numbers of every row's two."""
        spans = zip(self.parts, self.firsts.tolist(), strict=False)
        parts = [
            dataclasses.replace(part, grouping=Grouping.of(cells_of[first : first + len(part)], len(cells)))
            for part, first in spans
        ]
        return dataclasses.replace(self, parts=tuple(parts), cells=cells)

    def alive_grouping(self) -> Grouping | None:
        """The grouping of the rows that are not removed, as `compacted` numbers them; None without cells."""
        if self.cells is None:
            return None
        each = [np.empty((0, 2), np.uint16)]
        for part in self.parts:
            if part.grouping is not None:  # else it has no rows
                each.append(part.grouping.cells_of[slice(None) if part.removed is None else ~part.removed])
        return Grouping.of(np.concatenate(each), len(self.cells))

    def alive_pieces(self, size: int = PIECE) -> Iterator[Rows]:
        """Rows that are not removed, some at a time."""
        for _, some in self.numbered_pieces(size):
            yield some

    def numbered_pieces(self, size: int = PIECE) -> Iterator[tuple[Int[np.ndarray, " m"], Rows]]:
        """The same, with their numbers."""
        for part, first in zip(self.parts, self.firsts.tolist(), strict=False):
            for start in range(0, len(part), size):
                some = part.rows[start : start + size]
                numbers = np.arange(first + start, first + start + len(some))
                if part.removed is not None and (gone := part.removed[start : start + size]).any():
                    some, numbers = some[~gone], numbers[~gone]
                if len(some):
                    yield numbers, some

    def _numbered(self, rows: Any, argument: str) -> tuple[Int[np.ndarray, " m"], Int[np.ndarray, " m"]]:
        rows = np.asarray(rows.to_numpy() if hasattr(rows, "to_numpy") else list(rows))
        if not len(rows):
            return np.empty(0, np.int64), np.empty(0, np.int64)
        if rows.ndim != 1 or rows.dtype.kind not in "iu":
            raise InputError(f"{argument} must be row numbers, since the index has no ids, not {rows.dtype}")
        outside = (rows < 0) | (rows >= len(self))
        if outside.any():
            raise InputError(f"{argument}: row {rows[outside.argmax()]} is not one of 0..{len(self) - 1}")
        rows = rows.astype(np.int64)
        there = np.arange(len(rows)) if self.allowed is None else np.flatnonzero(self.allowed[rows])
        return there, rows[there]

    def check_new(self, ids: Ids) -> None:
        """Raise InputError for ids of which two are the same, or one is here already."""
        if pair := Lookup(ids).repeated():
            raise InputError(f"ids must be unique: rows {pair[0]} and {pair[1]} of those to add are {ids[pair[0]]!r}")
        which, rows = self.find(ids)
        if len(which):
            raise InputError(
                f"ids must be unique: {_plain(ids[int(which[0])])!r} is in the index already, in row {rows[0]}; remove "
                "it first, or leave it out"
            )


def _merged(parts: Iterable[Segment]) -> list[Segment]:
    """The same, the last ones merged while the one before is not twice as long: each row is copied log2 n times."""
    parts = list(parts)
    last, group = len(parts) - 1, len(parts[-1])
    while last and parts[last - 1].movable and parts[last].movable and len(parts[last - 1]) < 2 * group:
        last -= 1
        group += len(parts[last])
    return [*parts[:last], merged(parts[last:])]


def merged(parts: list[Segment]) -> Segment:
    """One segment in memory, rows under the numbers that they have."""
    if len(parts) == 1:
        return parts[0]
    removed = None
    if any(part.removed is not None for part in parts):
        each = [np.zeros(len(part), bool) if part.removed is None else part.removed for part in parts]
        removed = np.concatenate(each)
    groupings = [part.grouping for part in parts if part.grouping is not None]
    grouping = Grouping.joined(groupings) if len(groupings) == len(parts) else None
    return Segment(joined.in_memory([part.rows for part in parts]), removed, grouping=grouping)


def _plain(one: Any) -> Any:
    """As people write it: no NumPy scalar."""
    return one.item() if isinstance(one, np.generic) else one
