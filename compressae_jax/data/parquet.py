"""`.parquet`: a column of float lists, decoded piece by piece; the one kind that brings ids of its own."""

import contextlib
import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from compressae_jax.codes.ids import Ids, TextIds, joined
from compressae_jax.data.opened import File, Watched
from compressae_jax.data.sources import Block, NoRowsError, Streamed, float32
from compressae_jax.notation import InputError, check_choice

_FLOATS = {"halffloat": "float16", "float": "float32", "double": "float64"}
_PIECE_BYTES = 2**22  # of float32 rows decoded at once: a few bytes of a file may stand for any number of them
_BUFFER = 2**20  # bytes of the file held at once
_IDS = 2**16  # ids decoded at once


class Parquet(Streamed):
    """Column `column` of a file, a list of floats a row, fixed-size or not; by default the only such column."""

    def __init__(self, path: Path, column: str | None = None, ids_column: str | None = None):
        self._arrow, self._file = _pyarrow(), File(path)
        with self._open() as file:
            schema, rows = file.schema_arrow, file.metadata.num_rows
            ends = _ends(file)
            if len(set(schema.names)) < len(schema.names):
                raise InputError(f"{path} has two columns of one name")
            if rows == 0:
                raise NoRowsError(f"{path} is empty: 0 rows")
            kinds = {field.name: _plain(field.type) for field in schema}
            self._column = _choose(self._arrow, path, column, kinds)
            if ids_column is not None:
                check_choice(f"ids_column ({path})", ids_column, schema.names)
            self._ids_column = ids_column
            if rows != (int(ends[-1]) if len(ends) else 0):
                raise InputError(f"{path} is damaged: it says {rows} rows, its row groups make {sum(ends[-1:])}")
            kind = kinds[self._column]
            shape = (rows, self._width_of(file, kind))
        super().__init__(str(path), "parquet", shape, _FLOATS[str(kind.value_type)], self._file)

    @functools.cached_property
    def ids(self) -> Ids | None:
        """Column `ids_column`: ints or strs."""
        if self._ids_column is None:
            return None
        with self._open() as file:
            some = file.iter_batches(_IDS, columns=[self._ids_column], use_threads=False)
            return joined([self._ids_of(batch.column(0)) for batch in some])

    def _ids_of(self, column: Any) -> Ids:
        """Some ids; texts are taken over as Arrow has them, offsets and UTF-8."""
        name, types = f"{self.name}: ids_column {self._ids_column!r}", self._arrow.types
        if column.null_count:
            raise InputError(f"{name} has empty values")
        if types.is_dictionary(column.type):
            column = column.dictionary_decode()
        if types.is_integer(column.type):
            ids = column.to_numpy(zero_copy_only=False)
            if ids.dtype == np.uint64 and ids.max() >= 2**63:
                raise InputError(f"{name} has {ids.max()}, wanted at most {2**63 - 1}")
            return ids.astype(np.int64)
        if not types.is_string(column.type) and not types.is_large_string(column.type):
            raise InputError(f"{name} must hold ints or strs, not {column.type}")
        column = column.cast(self._arrow.large_string())
        try:
            column.validate(full=True)
        except self._arrow.ArrowInvalid as error:
            raise InputError(f"{name} must hold UTF-8: {error}") from None
        _, offsets, utf8 = column.buffers()
        ends = np.frombuffer(offsets, np.int64)[column.offset : column.offset + len(column) + 1]
        texts = np.frombuffer(utf8 or b"", np.uint8)[ends[0] : ends[-1]]
        return TextIds(ends - ends[0], texts)

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
                some = self._rows(lists, row)
                yield some[max(start - row, 0) :]
                row += len(some)
        if row != self.rows:
            raise InputError(f"{self.name} is damaged: its rows end after row {row}, wanted {self.rows}")

    def _batches(self, file: Any, rows: int, groups: range) -> Iterator[Any]:
        """The lists of some row groups, so many rows at a time."""
        for batch in file.iter_batches(rows, row_groups=list(groups), columns=[self._column], use_threads=False):
            lists = batch.column(0)
            yield lists.storage if isinstance(lists, self._arrow.ExtensionArray) else lists

    def _rows(self, lists: Any, first: int) -> Block:
        """A list array as rows of the source's width; `first` is the row number of its first."""
        widths = _widths(lists)
        if (widths != self.width).any():
            at = int((widths != self.width).argmax())
            given = "is empty" if widths[at] < 0 else f"has width {widths[at]}"
            raise InputError(f"{self.where(first + at)} {given}, the first row has {self.width}")
        flat = lists.flatten()
        if flat.null_count:
            row = first + int(flat.is_null().to_numpy(zero_copy_only=False).argmax()) // self.width
            raise InputError(f"{self.where(row)} has an empty value")
        return float32(flat.to_numpy(zero_copy_only=False).reshape(len(lists), self.width))

    def _width_of(self, file: Any, kind: Any) -> int:
        """That of the first list that is there."""
        if self._arrow.types.is_fixed_size_list(kind):
            return kind.list_size
        for lists in self._batches(file, 1000, range(file.num_row_groups)):
            widths = _widths(lists)
            if (widths >= 0).any():
                return int(widths[widths >= 0][0])
        raise InputError(f"{self._file.path}: row 0 is empty, as are all others")

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


def _plain(kind: Any) -> Any:
    """The type that a column is stored as: of a fixed-shape tensor, a list."""
    return getattr(kind, "storage_type", kind)


def _choose(arrow: Any, path: Path, column: str | None, kinds: dict[str, Any]) -> str:
    """The column that was asked for, or the only one of float lists."""
    lists = [name for name, kind in kinds.items() if _is_list(arrow, kind)]
    floats = [name for name in lists if str(kinds[name].value_type) in _FLOATS]
    if column is None and len(floats) == 1:
        return floats[0]
    others = ", ".join(f"{name} of {kinds[name].value_type}" for name in lists if name not in floats)
    if column is None and not floats and others:
        raise InputError(f"{path} has no column of float lists, only lists of others ({others})")
    if column is None:
        found = ", ".join(floats) or f"only {', '.join(kinds)}"
        raise InputError(f"{path} has {len(floats)} columns of float lists ({found}); give the wanted one as column")
    check_choice(f"column ({path})", column, kinds)
    if column not in floats:
        raise InputError(
            f"column {column!r} of {path} must hold lists of floats, not {kinds[column]}; "
            f"{', '.join(floats) or 'no column'} does"
        )
    return column


def _is_list(arrow: Any, kind: Any) -> bool:
    types = arrow.types
    return types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind)


def _widths(lists: Any) -> np.ndarray:
    """Length of each list; -1 where there is none."""
    from pyarrow import compute

    return compute.fill_null(compute.list_value_length(lists), -1).to_numpy(zero_copy_only=False)


def _pyarrow() -> Any:
    try:
        import pyarrow
    except ImportError as error:
        raise InputError(".parquet needs pyarrow: pip install pyarrow") from error
    return pyarrow
