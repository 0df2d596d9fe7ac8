"""Data frames and series of polars, read where they lie by way of Arrow."""

from typing import Any

from compressae_jax.data.in_arrow import of_table
from compressae_jax.data.kind import Held, is_of
from compressae_jax.data.sources import Source
from compressae_jax.notation import InputError


def open_polars(given: Any, column: str | None = None, ids_column: str | None = None) -> Source:
    """A frame, or a series of lists or arrays.

    Raises:
        InputError: a lazy frame, and what `of_table` finds.
    """
    if hasattr(given, "collect"):
        raise InputError("a LazyFrame of polars has no rows yet: take its collect()")
    if not hasattr(given, "columns"):
        if column or ids_column:
            raise InputError("column and ids_column are for frames, and vectors are a series of polars already")
        given, column = given.rename("vectors").to_frame(), "vectors"
    try:
        table = given.to_arrow()
    except (ImportError, ModuleNotFoundError) as error:
        raise InputError("frames of polars need pyarrow: pip install pyarrow") from error
    return of_table("frame", table, column, ids_column, "polars")


HELD = Held(
    "polars",
    is_of("polars", "DataFrame", "Series", "LazyFrame"),
    open_polars,
    "a frame: the one column of lists or arrays of floats, or the one named `column`; or all columns, where all are "
    "floats; a series of lists or arrays",
    frozenset({"column", "ids_column"}),
    ids="the column `ids_column`, or given: `ids`",
)
