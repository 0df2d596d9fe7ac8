"""A Dataset of the library `datasets`, or a column of one: read piece by piece, as it is selected and ordered.

Nothing of the library is imported here: who holds a Dataset has imported it.
"""

import functools
from typing import Any

import numpy as np
from jaxtyping import Integer

from compressae_jax.codes.ids import Ids
from compressae_jax.data import columns
from compressae_jax.data.kind import Held, is_of
from compressae_jax.data.sources import Block, NoRowsError, Source
from compressae_jax.notation import InputError, check_choice

_IDS = 2**16  # ids looked at together


class OfDataset(Source):
    """One column of lists of a Dataset."""

    def __init__(self, dataset: Any, column: str | None = None, ids_column: str | None = None):
        kinds = columns.kinds_of("dataset", dataset.features.arrow_schema)
        self._column = columns.choose("dataset", column, kinds)
        if ids_column is not None:
            check_choice("ids_column (dataset)", ids_column, kinds)
        if not len(dataset):
            raise NoRowsError("dataset is empty: 0 rows")
        self._ids_column, kind = ids_column, kinds[self._column]
        self._view = dataset.with_format("arrow", columns=[self._column])
        self._names = None if ids_column is None else dataset.with_format("arrow", columns=[ids_column])
        first = (self._lists(start, min(start + 1000, len(dataset))) for start in range(0, len(dataset), 1000))
        width = columns.width_of("dataset", kind, first)
        super().__init__("dataset", "datasets", (len(dataset), width), columns.dtype_of(kind))

    @functools.cached_property
    def ids(self) -> Ids | None:
        """Column `ids_column`: ints or strs."""
        if self._names is None:
            return None
        some = (self._names[start : start + _IDS] for start in range(0, self.rows, _IDS))
        chunks = (chunk for table in some for chunk in table.column(self._ids_column).chunks)
        return columns.ids_of(f"{self.name}: ids_column {self._ids_column!r}", chunks)

    def selection(self) -> list[str]:
        """The columns of vectors and of ids."""
        return [self._column, self._ids_column or ""]

    def _read(self, start: int, stop: int) -> Block:
        if start == stop:
            return np.empty((0, self.width), np.float32)
        return columns.rows_of(self._lists(start, stop), self.width, start, self.where)

    def _take(self, rows: Integer[np.ndarray, " b"]) -> Block:
        if not len(rows):
            return np.empty((0, self.width), np.float32)
        lists = self._view[rows.tolist()].column(self._column).combine_chunks()
        return columns.rows_of(_one(lists), self.width, 0, lambda i: self.where(int(rows[i])))

    def _lists(self, start: int, stop: int) -> Any:
        return _one(self._view[start:stop].column(self._column).combine_chunks())


def _one(combined: Any) -> Any:
    """The array of a column in one piece, which older versions of Arrow give as one chunk."""
    return combined.chunk(0) if hasattr(combined, "num_chunks") else combined


def open_dataset(given: Any, column: str | None = None, ids_column: str | None = None) -> Source:
    """A Dataset, or one of its columns.

    Raises:
        InputError: a dict of splits, of which one must be taken; a stream, which has no rows to count.
    """
    if hasattr(given, "source") and hasattr(given, "column_name"):
        if column or ids_column:
            raise InputError("column and ids_column are for a Dataset, and vectors are a column of one already")
        return OfDataset(given.source, given.column_name)
    if isinstance(given, dict):
        raise InputError(f"vectors are a DatasetDict: take one of its splits, {', '.join(map(repr, given))}")
    if not hasattr(given, "__len__"):
        raise InputError(f"vectors are a stream ({type(given).__name__}); save it, or take its rows into a Dataset")
    return OfDataset(given, column, ids_column)


HELD = Held(
    "datasets",
    is_of("datasets", "Dataset", "Column", "DatasetDict", "IterableDataset", "IterableDatasetDict", "IterableColumn"),
    open_dataset,
    "a Dataset: the one column of float lists, or the one named `column`; a column of one",
    frozenset({"column", "ids_column"}),
    ids="the column `ids_column`, or given: `ids`",
)
