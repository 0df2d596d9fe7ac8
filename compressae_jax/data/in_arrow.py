"""Tables and columns of pyarrow in memory, read where they lie; what other libraries give as such ends up here, too."""

from typing import Any

import numpy as np

from compressae_jax.data import columns
from compressae_jax.data.chunked import Chunked
from compressae_jax.data.kind import Held, is_of
from compressae_jax.data.sources import InMemory, NoRowsError, Source
from compressae_jax.notation import InputError, check_choice


def of_table(
    name: str, table: Any, column: str | None = None, ids_column: str | None = None, kind: str = "arrow table"
) -> Source:
    """The one column of lists of a table, or, where all columns are floats, its rows.

    Raises:
        InputError: neither, or several columns of lists and none named; columns that are not there.
    """
    kinds = columns.kinds_of(name, table.schema)
    if ids_column is not None:
        check_choice(f"ids_column ({name})", ids_column, kinds)
    ids = None if ids_column is None else table.column(ids_column).chunks
    others = [each for each in kinds if each != ids_column]
    if column is None and others and all(columns.is_float(kinds[each]) for each in others):
        return _matrix(name, table, others, kind, ids, ids_column)
    chosen = columns.choose(name, column, kinds)
    chunks = [chunk for chunk in table.column(chosen).chunks if len(chunk)]
    if not chunks:
        raise NoRowsError(f"{name} is empty: 0 rows")
    return Chunked(name, kind, lambda: chunks, [chosen, ids_column or ""], None if ids is None else lambda: ids)


def _matrix(name: str, table: Any, wanted: list[str], kind: str, ids: Any, ids_column: str | None) -> Source:
    """Columns of floats side by side, in memory."""
    for each in wanted:
        if table.column(each).null_count:
            row = int(table.column(each).is_null().to_numpy().argmax())
            raise InputError(f"{name}: row {row} has an empty value in column {each!r}")
    matrix = InMemory(np.column_stack([table.column(each).to_numpy() for each in wanted]), name)
    matrix.kind = kind
    if ids is not None:
        matrix.ids = columns.ids_of(f"{name}: ids_column {ids_column!r}", ids)
    return matrix


def open_arrow(given: Any, column: str | None = None, ids_column: str | None = None) -> Source:
    """A table, a batch of records, or a column of lists, which has no other columns beside it."""
    arrow = columns.pyarrow("a table")
    if isinstance(given, arrow.RecordBatch):
        given = arrow.Table.from_batches([given])
    if not isinstance(given, arrow.Table):
        if column or ids_column:
            raise InputError("column and ids_column are for tables, and vectors are one column of pyarrow already")
        given, column = arrow.table({"vectors": given}), "vectors"
    return of_table("table", given, column, ids_column)


HELD = Held(
    "pyarrow",
    is_of("pyarrow", "Table", "RecordBatch", "ChunkedArray", "Array"),
    open_arrow,
    "a table: the one column of float lists, or the one named `column`; or all columns, where all are floats; "
    "a column of lists alone",
    frozenset({"column", "ids_column"}),
    ids="the column `ids_column`, or given: `ids`",
)
