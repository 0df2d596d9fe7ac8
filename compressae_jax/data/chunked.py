"""A column of lists in chunks, in memory or in a map of it, whose rows can be taken by number."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from jaxtyping import Integer

from compressae_jax.codes.ids import Ids
from compressae_jax.data import columns
from compressae_jax.data.opened import File
from compressae_jax.data.sources import Block, NoRowsError, Source
from compressae_jax.notation import InputError


class Chunked(Source):
    """Rows of an Arrow column; `chunks` gives its arrays, `id_chunks` those of the ids, whenever they are needed."""

    def __init__(
        self,
        name: str,
        kind: str,
        chunks: Callable[[], Sequence[Any]],
        named: Sequence[str],
        id_chunks: Callable[[], Sequence[Any]] | None = None,
        file: File | None = None,
        seen: Callable[[], set[int]] | None = None,
        done: Callable[[], None] = lambda: None,
    ):
        """`named`: the column, and that of the ids or nothing. `seen`: of chunks that nobody has looked at yet, the
        numbers of those that are known to lead nowhere outside their bytes. `done` is called after rows in order.
        """
        self._chunks, self._named, self._id_chunks, self._seen = chunks, list(named), id_chunks, seen
        self._done = done
        held = chunks()
        self._first = np.cumsum([0, *map(len, held)])
        if not self._first[-1]:
            raise NoRowsError(f"{name} is empty: 0 rows")
        listed = columns.stored(held[0]).type
        shape = (int(self._first[-1]), columns.width_of(name, listed, held))
        super().__init__(name, kind, shape, columns.dtype_of(listed), file)

    @functools.cached_property
    def ids(self) -> Ids | None:
        """Those of the column of ids."""
        if self._id_chunks is None:
            return None
        return columns.ids_of(f"{self.name}: ids_column {self._named[1]!r}", self._id_chunks())

    def selection(self) -> list[str]:
        """The columns of vectors and of ids."""
        return self._named

    def _read(self, start: int, stop: int) -> Block:
        some, chunks = np.empty((stop - start, self.width), np.float32), self._chunks()
        for number in self._of_rows(start, stop):
            first = int(self._first[number])
            low, high = max(start - first, 0), min(stop - first, len(chunks[number]))
            row = first + low
            lists = chunks[number].slice(low, high - low)
            self._check(lists)
            some[row - start : row - start + high - low] = columns.rows_of(lists, self.width, row, self.where)
        self._done()
        return some

    def _take(self, rows: Integer[np.ndarray, " b"]) -> Block:
        taken, chunks = np.empty((len(rows), self.width), np.float32), self._chunks()
        places = np.searchsorted(self._first, rows, side="right") - 1
        for number in np.unique(places):
            there = np.flatnonzero(places == number)
            self._check(chunks[number], int(number))
            within = columns.pyarrow("a table").array(rows[there] - self._first[number])
            where = functools.partial(self._where_of, rows[there])
            taken[there] = columns.rows_of(columns.stored(chunks[number]).take(within), self.width, 0, where)
        return taken

    def _of_rows(self, start: int, stop: int) -> range:
        """The chunks that hold some of these rows."""
        if start == stop:
            return range(0)
        first, last = np.searchsorted(self._first, [start, stop - 1], side="right") - 1
        return range(int(first), int(last) + 1)

    def _check(self, lists: Any, number: int | None = None) -> None:
        """Raise InputError unless an array from outside is sound; a whole chunk is looked at once."""
        if self._seen is None or (number is not None and number in self._seen()):
            return
        try:
            lists.validate(full=True)
        except columns.pyarrow("a table").ArrowException as error:
            raise InputError(f"{self.name} is damaged: {error}") from None
        if number is not None:
            self._seen().add(number)

    def _where_of(self, rows: Integer[np.ndarray, " b"], place: int) -> str:
        return self.where(int(rows[place]))
