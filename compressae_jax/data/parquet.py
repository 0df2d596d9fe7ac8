"""`.parquet`: a column of float lists, decoded row group by row group; the one kind that brings ids of its own."""

import contextlib
import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from compressae_jax.data.sources import Block, Streamed, float32
from compressae_jax.notation import InputError, check_choice

_FLOATS = {"halffloat": "float16", "float": "float32", "double": "float64"}


class Parquet(Streamed):
    """Column `column` of a file, a list of floats a row, fixed-size or not; by default the only such column."""

    def __init__(self, path: Path, column: str | None = None, ids_column: str | None = None):
        self._path, self._arrow = path, _pyarrow()
        with self._open() as file:
            schema, rows = file.schema_arrow, file.metadata.num_rows
        lists = {field.name: field.type for field in schema if _is_float_list(self._arrow, field.type)}
        self._column = _choose(path, column, lists, schema.names)
        if ids_column is not None:
            check_choice(f"ids_column ({path})", ids_column, schema.names)
        self._ids_column = ids_column
        if rows == 0:
            raise InputError(f"{path} is empty: 0 rows")
        kind = lists[self._column]
        dtype = _FLOATS[str(kind.value_type)]
        super().__init__(str(path), "parquet", (rows, self._width_of(kind)), dtype, path)

    @functools.cached_property
    def ids(self) -> np.ndarray | None:
        """Column `ids_column`: ints or strs."""
        if self._ids_column is None:
            return None
        with self._open() as file:
            column = file.read(columns=[self._ids_column]).column(0)
        if column.null_count:
            raise InputError(f"{self._path}: ids_column {self._ids_column!r} has {column.null_count} empty values")
        ids = column.to_numpy()
        ids = ids.astype(str) if ids.dtype == object and isinstance(ids[0], str) else ids
        if ids.dtype.kind not in "iuU":
            raise InputError(f"{self._path}: ids_column {self._ids_column!r} must hold ints or strs, not {column.type}")
        return ids

    def selection(self) -> list[str]:
        """The columns of vectors and of ids."""
        return [self._column, self._ids_column or ""]

    def pieces(self, start: int) -> Iterator[Block]:
        """Rows from `start` on; row groups before it are not touched."""
        with self._open() as file:
            ends = np.cumsum([file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)])
            group = int(np.searchsorted(ends, start, side="right"))
            row = int(ends[group - 1]) if group else 0
            groups = list(range(group, file.num_row_groups))
            for batch in file.iter_batches(self.piece_rows, row_groups=groups, columns=[self._column]):
                some = self._rows(batch.column(0), row)
                yield some[max(start - row, 0) :]
                row += len(some)

    def _rows(self, lists: Any, first: int) -> Block:
        """A list array as rows of the source's width; `first` is the row number of its first."""
        widths = _widths(self._arrow, lists)
        if (widths != self.width).any():
            at = int((widths != self.width).argmax())
            given = "is empty" if widths[at] < 0 else f"has width {widths[at]}"
            raise InputError(f"{self.where(first + at)} {given}, the first row has {self.width}")
        flat = lists.flatten()
        if flat.null_count:
            row = first + int(flat.is_null().to_numpy(zero_copy_only=False).argmax()) // self.width
            raise InputError(f"{self.where(row)} has an empty value")
        return float32(flat.to_numpy(zero_copy_only=False).reshape(len(lists), self.width))

    def _width_of(self, kind: Any) -> int:
        if self._arrow.types.is_fixed_size_list(kind):
            return kind.list_size
        with self._open() as file:
            first = next(file.iter_batches(1, columns=[self._column]))
        return max(0, int(_widths(self._arrow, first.column(0))[0]))

    @contextlib.contextmanager
    def _open(self) -> Iterator[Any]:
        import pyarrow.parquet

        try:
            with pyarrow.parquet.ParquetFile(self._path) as file:
                yield file
        except (self._arrow.ArrowException, OSError) as error:
            raise InputError(f"{self._path} is not a whole .parquet: {error}") from error


def _choose(path: Path, column: str | None, lists: dict[str, Any], names: list[str]) -> str:
    if column is None and len(lists) == 1:
        return next(iter(lists))
    if column is None:
        found = ", ".join(lists) or f"only {', '.join(names)}"
        raise InputError(f"{path} has {len(lists)} columns of float lists ({found}); give the wanted one as column")
    check_choice(f"column ({path})", column, names)
    if column not in lists:
        raise InputError(f"column {column!r} of {path} must hold lists of floats; {', '.join(lists) or 'none'} does")
    return column


def _is_float_list(arrow: Any, kind: Any) -> bool:
    types = arrow.types
    is_list = types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind)
    return is_list and str(kind.value_type) in _FLOATS


def _widths(arrow: Any, lists: Any) -> np.ndarray:
    """Length of each list; -1 where there is none."""
    from pyarrow import compute

    return compute.fill_null(compute.list_value_length(lists), -1).to_numpy(zero_copy_only=False)


def _pyarrow() -> Any:
    try:
        import pyarrow
    except ImportError as error:
        raise InputError(".parquet needs pyarrow: pip install 'compressae_jax[parquet]'") from error
    return pyarrow
