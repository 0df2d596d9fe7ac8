"""`.parquet`: a column of lists, decoded piece by piece."""

import contextlib
import functools
from collections.abc import Iterator
from typing import Any

import numpy as np

from compressae_jax.codes.ids import Ids
from compressae_jax.data import columns
from compressae_jax.data.kind import Kind
from compressae_jax.data.opened import File, Watched
from compressae_jax.data.sources import Block, NoRowsError, Streamed
from compressae_jax.notation import InputError, check_choice

_PIECE_BYTES = 2**22  # of float32 rows decoded at once: a few bytes of a file may stand for any number of them
_BUFFER = 2**20  # bytes of the file held at once
_IDS = 2**16  # ids decoded at once


class Parquet(Streamed):
    """Column `column` of a file, a list of floats a row, fixed-size or not; by default the only such column."""

    def __init__(self, file: File, column: str | None = None, ids_column: str | None = None):
        self._arrow, self._file, path = columns.pyarrow(".parquet"), file, file.path
        with self._open() as opened:
            schema, rows = opened.schema_arrow, opened.metadata.num_rows
            ends = _ends(opened)
            kinds = columns.kinds_of(str(path), schema)
            if rows == 0:
                raise NoRowsError(f"{path} is empty: 0 rows")
            self._column = columns.choose(str(path), column, kinds)
            if ids_column is not None:
                check_choice(f"ids_column ({path})", ids_column, schema.names)
            self._ids_column = ids_column
            if rows != (int(ends[-1]) if len(ends) else 0):
                raise InputError(f"{path} is damaged: it says {rows} rows, its row groups make {sum(ends[-1:])}")
            kind = kinds[self._column]
            first = self._batches(opened, 1000, range(opened.num_row_groups))
            shape = (rows, columns.width_of(str(path), kind, first))
        super().__init__(str(path), "parquet", shape, columns.dtype_of(kind), file)

    @functools.cached_property
    def ids(self) -> Ids | None:
        """Column `ids_column`: ints or strs."""
        if self._ids_column is None:
            return None
        with self._open() as file:
            some = file.iter_batches(_IDS, columns=[self._ids_column], use_threads=False)
            return columns.ids_of(f"{self.name}: ids_column {self._ids_column!r}", (each.column(0) for each in some))

    def selection(self) -> list[str]:
        """The columns of vectors and of ids."""
        return [self._column, self._ids_column or ""]

    def pieces(self, start: int) -> Iterator[Block]:
        """Rows from `start` on; row groups before it are not touched."""
        with self._open() as file:
            ends = _ends(file)
            group = int(np.searchsorted(ends, start, side="right"))
            row = int(ends[group - 1]) if group else 0
            for lists in self._batches(file, max(1, _PIECE_BYTES // (4 * self.width)), range(group, len(ends))):
                some = columns.rows_of(lists, self.width, row, self.where)
                yield some[max(start - row, 0) :]
                row += len(some)
        if row != self.rows:
            raise InputError(f"{self.name} is damaged: its rows end after row {row}, wanted {self.rows}")

    def _batches(self, file: Any, rows: int, groups: range) -> Iterator[Any]:
        """The lists of some row groups, so many rows at a time."""
        for batch in file.iter_batches(rows, row_groups=list(groups), columns=[self._column], use_threads=False):
            yield batch.column(0)

    @contextlib.contextmanager
    def _open(self) -> Iterator[Any]:
        """The file in Arrow's hands; what it finds wrong with the bytes, and only that, becomes an InputError."""
        import pyarrow.parquet

        with self._file.open() as opened:
            watched = Watched(opened)
            try:
                with pyarrow.parquet.ParquetFile(watched, buffer_size=_BUFFER, pre_buffer=False) as file:
                    yield file
            except InputError:
                raise
            except (self._arrow.ArrowException, OSError, ValueError) as error:
                if watched.error is not None:  # the system's
                    raise watched.error from None
                raise InputError(f"{self._file.path} is not a whole .parquet: {error}") from error


def _ends(file: Any) -> np.ndarray:
    """The row after each row group."""
    return np.cumsum([file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)])


KIND = Kind(
    "parquet",
    (".parquet", ".pq"),
    Parquet,
    "the one column of float lists (or fixed-size lists, or tensors of one axis), or the one named `column`",
    frozenset({"column", "ids_column"}),
    ids="the column `ids_column`",
    access="in order",
    extra="parquet",
)
