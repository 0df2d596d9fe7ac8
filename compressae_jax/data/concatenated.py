"""Several sources as one; `opening` makes it of a folder or a glob."""

import functools
from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Integer

from compressae_jax.codes.ids import Ids, TextIds, joined
from compressae_jax.data.identity import Stretch
from compressae_jax.data.sources import Block, Source, regroup
from compressae_jax.notation import InputError


class Concatenated(Source):
    """Several sources of one width as one, in the order given."""

    def __init__(self, name: str, parts: Sequence[Source]):
        for part in parts:
            if part.width != parts[0].width:
                raise InputError(f"{part.name} has width {part.width}, wanted {parts[0].width} as in {parts[0].name}")
        self._parts = list(parts)
        self._first = np.cumsum([0, *map(len, parts)])
        kind = " + ".join(dict.fromkeys(part.kind for part in parts))
        dtypes = {part.dtype for part in parts}
        dtype = dtypes.pop() if len(dtypes) == 1 else "float32"  # what is read, where they differ
        super().__init__(name, kind, (int(self._first[-1]), parts[0].width), dtype)
        self.nbytes = sum(part.nbytes for part in parts)
        self.modified = max(part.modified for part in parts)
        self.random_access = all(part.random_access for part in parts)

    @functools.cached_property
    def ids(self) -> Ids | None:
        """Those of the parts, where all have them."""
        ids = [part.ids for part in self._parts]
        known = [some for some in ids if some is not None]
        if len(known) < len(ids):
            return None
        kinds = {type(some): part for some, part in zip(known, self._parts, strict=True)}
        if len(kinds) > 1:
            texts, numbers = kinds[TextIds].name, kinds[np.ndarray].name
            raise InputError(f"ids must be of one kind: {texts} has texts, {numbers} integers")
        return joined(known)

    def stretches(self) -> Iterator[Stretch]:
        """Those of the parts, in order."""
        for part in self._parts:
            yield from part.stretches()

    def selection(self) -> list[str]:
        """Those of the parts."""
        return [one for part in self._parts for one in part.selection()]

    def where(self, row: int) -> str:
        """The file, the row in that file, and the row of the whole."""
        part, row_there = self._place(row)
        return f"{self._parts[part].where(row_there)} (row {row} of {self.name})"

    def blocks(self, rows: int, start: int) -> Iterator[Block]:
        """The parts' rows one after the other, in batches that may span parts."""
        part, row_there = self._place(start)

        def pieces() -> Iterator[Block]:
            for number, source in enumerate(self._parts[part:]):
                yield from source.blocks(rows, row_there if number == 0 else 0)

        return regroup(pieces(), rows)

    def _read(self, start: int, stop: int) -> Block:
        some = [np.zeros((0, self.width), np.float32)]
        for part, first in zip(self._parts, self._first, strict=False):
            low, high = max(start - first, 0), min(stop - first, len(part))
            if low < high:
                some.append(part.read(int(low), int(high)))
        return np.concatenate(some)

    def _take(self, rows: Integer[np.ndarray, " b"]) -> Block:
        taken = np.empty((len(rows), self.width), np.float32)
        parts = np.searchsorted(self._first, rows, side="right") - 1
        for number in np.unique(parts):
            there = parts == number
            taken[there] = self._parts[number].take(rows[there] - self._first[number])
        return taken

    def _place(self, row: int) -> tuple[int, int]:
        """(part, row in it); one row past the end lies past the end of the last part."""
        part = min(int(np.searchsorted(self._first, row, side="right")) - 1, len(self._parts) - 1)
        return part, int(row - self._first[part])
