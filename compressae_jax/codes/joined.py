"""Several rows as one, without a copy: parts of a corpus that were compressed apart, segments of an index."""

from __future__ import annotations

import bisect
import dataclasses
import functools
import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Integer

from compressae_jax.codes import ids as ids_of
from compressae_jax.codes.codes import Codes
from compressae_jax.codes.ids import Ids
from compressae_jax.codes.mapped import NO_FILES, MappedFiles
from compressae_jax.codes.rows import Beside, Encoded, MadeBy, Part, Rows, Some
from compressae_jax.codes.storage.packed import with_room
from compressae_jax.notation import AnyArray, InputError

PIECE = 2**16  # rows compared at once


def join(parts: Sequence[Rows]) -> Rows:
    """Rows of one kind and origin as one; a single part is itself.

    Raises:
        InputError: no part; parts that differ in h, k, storage, levels, similarity or who made them; ids or norms in
        some only.
    """
    if not parts:
        raise InputError("there are no rows to join")
    first, *others = [_described(part) for part in parts]
    for i, other in enumerate(others, 1):
        different = [f"{name} {first[name]}, here {other[name]}" for name in first if first[name] != other[name]]
        if different:
            raise InputError(f"rows that are joined must be of one kind; part {i} is not: {'; '.join(different)}")
    flat = itertools.chain.from_iterable(part.parts if isinstance(part, Joined) else [part] for part in parts)
    kept = [part for part in flat if len(part)] or list(parts[:1])
    return kept[0] if len(kept) == 1 else Joined(tuple(kept))


def in_memory(parts: Sequence[Rows]) -> Rows:
    """The same as one copy in memory; raises as `join`."""
    rows = join(parts)
    return rows.in_memory() if isinstance(rows, Joined) else rows


def same(one: Rows, other: Rows) -> bool:
    """Whether two are the same rows of one origin, bit for bit, with the same ids; both are read piece by piece."""
    if len(one) != len(other) or _described(one) != _described(other):
        return False
    for start in range(0, len(one), PIECE):
        some, others = one[start : start + PIECE], other[start : start + PIECE]
        arrays, wanted = some.arrays(), others.arrays()
        if any(array.tobytes() != wanted[name].tobytes() for name, array in arrays.items()):
            return False
        if some.ids is not None and others.ids is not None and not ids_of.same(some.ids, others.ids):
            return False
    return True


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Joined(Rows):
    """Rows whose numbers run through several parts; made by `join`, which sees that these are of one kind."""

    parts: tuple[Rows, ...]

    @property
    def h(self) -> int:  # type: ignore[override]
        """The width of the rows."""
        return self.parts[0].h

    @property
    def k(self) -> int:
        """Nonzeros a row."""
        return self.parts[0].k

    @property
    def storage(self) -> str:
        """That of the parts."""
        return self.parts[0].storage

    @property
    def levels(self) -> tuple[float, ...] | None:
        """Those of the parts."""
        return self.parts[0].levels

    @property
    def made_by(self) -> MadeBy | None:  # type: ignore[override]
        """Who made the parts."""
        return self.parts[0].made_by

    @property
    def verified(self) -> bool:  # type: ignore[override]
        """Whether all parts were."""
        return all(part.verified for part in self.parts)

    @functools.cached_property
    def ids(self) -> Ids | None:  # type: ignore[override]
        """The ids of all parts, in memory."""
        each = [part.ids for part in self.parts if part.ids is not None]
        self.files.check()
        return ids_of.joined(each) if each else None

    @functools.cached_property
    def norms(self) -> Float[np.ndarray, "n 2"] | None:  # type: ignore[override]
        """The norms of all parts, in memory."""
        self.files.check()
        return None if self.parts[0].norms is None else np.concatenate([part.norms for part in self.parts])

    @functools.cached_property
    def lengths(self) -> Float[np.ndarray, " n"] | None:  # type: ignore[override]
        """The lengths of all parts, in memory."""
        self.files.check()
        return None if self.parts[0].lengths is None else np.concatenate([part.lengths for part in self.parts])

    @property
    def similarity(self) -> str:
        """That of the parts."""
        return self.parts[0].similarity

    @property
    def files(self) -> MappedFiles:  # type: ignore[override]
        """Those of all parts."""
        return MappedFiles([one for part in self.parts for one in part.files.maps])

    @functools.cached_property
    def firsts(self) -> list[int]:
        """The number of each part's first row, and of all rows."""
        return list(itertools.accumulate(map(len, self.parts), initial=0))

    @property
    def nbytes(self) -> int:
        """Bytes of all parts."""
        return sum(part.nbytes for part in self.parts)

    def __len__(self) -> int:
        return self.firsts[-1]

    def __getitem__(self, rows: Any) -> Rows:
        """Some rows: a slice (views, joined) or an array of row numbers or booleans (a copy in memory)."""
        if isinstance(rows, slice) and rows.step in (None, 1):
            return join([self.parts[i][here] for i, here in self._places(rows)] or [self.parts[0][:0]])
        if isinstance(rows, (int, np.integer)):
            return self.parts[0][rows]  # which says how rows are indexed
        return self._gathered(np.arange(len(self))[rows])

    def arrays(self) -> dict[str, np.ndarray]:
        """The arrays of all parts, concatenated in memory."""
        each = [part.arrays() for part in self.parts]
        return {name: np.concatenate([arrays[name] for arrays in each]) for name in each[0]}

    def like(self, arrays: dict[str, Any], ids: Ids | None = None, files: MappedFiles = NO_FILES) -> Rows:
        """Rows of the parts' kind, as sound as the least sound of them."""
        least = next((part for part in self.parts if not part.verified), self.parts[0])
        return least.like(arrays, ids, files)

    def with_ids(self, ids: Ids | None) -> Rows:
        """Every part by its share of the names."""
        spans = itertools.pairwise(self.firsts)
        pairs = zip(self.parts, spans, strict=True)
        return join([part.with_ids(None if ids is None else ids[start:stop]) for part, (start, stop) in pairs])

    def with_origin(self, made_by: MadeBy | None) -> Rows:
        """Every part said to be made by a model and an encoder."""
        return join([part.with_origin(made_by) for part in self.parts])

    def in_memory(self) -> Rows:
        """A copy of all parts, of their kind."""
        return self.like(self.arrays(), self.ids)

    def codes(self) -> Codes:
        """The codes of all parts, concatenated in memory."""
        return in_memory([part.codes() for part in self.parts]).codes()

    def prefix(self, k: int) -> Rows:
        """The prefix of every part, joined."""
        return join([part.prefix(k) for part in self.parts])

    def with_norms(self, decoder_w: Float[AnyArray, "h d"]) -> Rows:
        """Every part with norms, joined."""
        return join([part.with_norms(decoder_w) for part in self.parts])

    def scales(self, space: str) -> Float[np.ndarray, " n"] | None:
        """The scales of all parts; a view of a single number where they are one."""
        each = [scales for part in self.parts if (scales := part.scales(space)) is not None]
        if not each:
            return None
        if all(scales.strides == (0,) for scales in each):
            return np.broadcast_to(each[0][:1], len(self))
        return np.concatenate(each)

    def reader(self, space: str, rows: int, fresh: bool = False) -> Callable[[Some], Part]:
        """Rows of one part by its own reader; those of several are put together."""
        readers = [part.reader(space, rows, fresh) for part in self.parts]

        def read(here: Some) -> Part:
            pieces = [readers[i](some) for i, some in self._places(here)]
            if not pieces:
                return readers[0](slice(0, 0))
            return pieces[0] if len(pieces) == 1 else Part(*map(np.concatenate, zip(*pieces, strict=True)))

        return read

    def encoded(self, space: str) -> Encoded | None:
        """Records of all parts, where they have them; those of several are gathered in a copy."""
        return self._together([part.encoded(space) for part in self.parts])

    def beside(self, space: str) -> Beside | None:
        """The same of storage `residual`."""
        each = [part.beside(space) for part in self.parts]
        first = self._together([None if part is None else part.first for part in each])
        return None if first is None or each[0] is None else each[0]._replace(first=first)

    def _together(self, each: Sequence[Encoded | None]) -> Encoded | None:
        """One of all parts; None where some part has none."""
        parts = [part for part in each if part is not None]
        if len(parts) < len(each):
            return None

        def read(here: Some) -> tuple[np.ndarray, np.ndarray]:
            pieces = [parts[i].read(some) for i, some in self._places(here)] or [parts[0].read(slice(0, 0))]
            if len(pieces) == 1:
                return pieces[0]
            records, scales = map(np.concatenate, zip(*pieces, strict=True))
            return with_room(records), scales

        return parts[0]._replace(read=read, records=None)

    def check(self) -> Rows:
        """Every part checked, joined; rows are numbered within their part."""
        return self if self.verified else join([part.check() for part in self.parts])

    def _places(self, rows: Some) -> list[tuple[int, Some]]:
        """The numbers of the parts that hold some rows, and where in them."""
        places: list[tuple[int, Some]] = []
        if not isinstance(rows, slice):
            ends = np.searchsorted(rows, self.firsts)
            spans = enumerate(itertools.pairwise(ends.tolist()))
            return [(i, rows[start:stop] - self.firsts[i]) for i, (start, stop) in spans if start < stop]
        start, stop, _ = rows.indices(len(self))
        i = bisect.bisect_right(self.firsts, start) - 1
        while start < stop:
            end = min(stop, self.firsts[i + 1])
            places.append((i, slice(start - self.firsts[i], end - self.firsts[i])))
            start, i = end, i + 1
        return places

    def _gathered(self, rows: Integer[np.ndarray, " m"]) -> Rows:
        """Rows in any order: gathered from each part, then put in order."""
        part_of = np.searchsorted(self.firsts, rows, side="right") - 1
        order = np.argsort(part_of, kind="stable")
        bounds = np.searchsorted(part_of[order], np.arange(len(self.parts) + 1))
        taken = []
        for i, part in enumerate(self.parts):
            here = rows[order[bounds[i] : bounds[i + 1]]] - self.firsts[i]
            taken.append(part[here])
        together = in_memory(taken)
        back = np.empty(len(rows), np.int64)
        back[order] = np.arange(len(rows))
        return together[back]


def _described(rows: Rows) -> dict[str, Any]:
    """What parts must have in common."""
    rows = rows.parts[0] if isinstance(rows, Joined) else rows
    ids = None if rows.ids is None else "texts" if isinstance(rows.ids, ids_of.TextIds) else np.dtype(rows.ids.dtype)
    return {
        "h": rows.h,
        "k": rows.k,
        "storage": rows.storage,
        "levels": rows.levels,
        "made by": rows.made_by and tuple(rows.made_by),
        "ids": ids,
        "norms": rows.norms is not None,
        "similarity": rows.similarity,
    }
