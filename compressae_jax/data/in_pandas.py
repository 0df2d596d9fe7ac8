"""Data frames and series of pandas: a column of arrays or lists, or rows of floats.

The index of a frame is never taken for ids unasked, since most frames have one that nobody chose: `ids_column` may name
it, as it may name the column that it becomes in a Parquet file.
"""

from typing import Any

import numpy as np

from compressae_jax.codes.ids import Ids, as_ids
from compressae_jax.data.kind import Held, is_of
from compressae_jax.data.sources import InMemory, NoRowsError, Source
from compressae_jax.notation import InputError, check_choice

_ROWS = (list, tuple, np.ndarray)


def open_pandas(given: Any, column: str | None = None, ids_column: str | None = None) -> Source:
    """A frame, or a series of arrays or lists.

    Raises:
        InputError: no such column, several of them and none named, numbers that are no floats beside floats, empty
            values, rows of unlike widths.
    """
    if not hasattr(given, "columns"):
        if column or ids_column:
            raise InputError("column and ids_column are for frames, and vectors are a series of pandas already")
        return _named(InMemory(_stacked("series", given), "series"), None)
    ids = None if ids_column is None else _ids(given, ids_column)
    others = [name for name in given.columns if str(name) != ids_column]
    chosen = _choose(given, column, others)
    array = _side_by_side(given[others]) if chosen is None else _stacked(f"column {chosen!r}", given[chosen])
    return _named(InMemory(array, "frame"), ids)


def _choose(frame: Any, column: str | None, others: list[Any]) -> Any:
    """The column of rows; None where all columns are floats, which side by side are the rows."""
    if not frame.columns.is_unique:
        raise InputError("frame has two columns of one name")
    if not len(frame):
        raise NoRowsError("frame is empty: 0 rows")
    rows = [name for name in others if _holds_rows(frame[name])]
    if column is not None:
        column = _column("column", column, others)
        if column not in rows:
            raise InputError(
                f"column {column!r} of the frame must hold arrays or lists of floats, not {frame[column].dtype}"
            )
        return column
    if len(rows) == 1:
        return rows[0]
    floats = [name for name in others if getattr(frame[name].dtype, "kind", "O") == "f"]
    if not rows and others and len(floats) == len(others):
        return None
    found = ", ".join(map(str, rows)) or f"only {', '.join(f'{name} of {frame[name].dtype}' for name in others[:10])}"
    raise InputError(
        f"frame has {len(rows)} columns of arrays or lists ({found}); give the wanted one as column (open_source(…, "
        "column=…)), or a frame of which all columns are floats"
    )


def _column(argument: str, wanted: Any, names: list[Any]) -> Any:
    """The column of this name, which may be none of letters."""
    by_text = {str(name): name for name in names}
    check_choice(f"{argument} (frame)", str(wanted), by_text)
    return by_text[str(wanted)]


def _side_by_side(frame: Any) -> np.ndarray:
    """Columns of floats as rows; what is not there is NaN."""
    if all(isinstance(dtype, np.dtype) for dtype in frame.dtypes):
        return frame.to_numpy()
    return np.column_stack([frame[name].to_numpy(dtype=np.float64, na_value=np.nan) for name in frame])


def _holds_rows(series: Any) -> bool:
    """Whether the first value that is there is a row."""
    if getattr(series.dtype, "kind", "O") != "O":
        return False
    first = series.first_valid_index()
    return first is not None and isinstance(series.iloc[int(series.notna().to_numpy().argmax())], _ROWS)


def _stacked(name: str, series: Any) -> np.ndarray:
    """The rows of a series one under the other; integers in lists are numbers like others."""
    rows = series.to_numpy(dtype=object)
    if not len(rows):
        raise NoRowsError(f"{name} is empty: 0 rows")
    for number, row in enumerate(rows):
        if not isinstance(row, _ROWS):
            given = "is empty" if _is_empty(row) else f"is {type(row).__name__}"
            raise InputError(f"{name}: row {number} must be an array or a list of floats, but {given}")
        if len(row) != len(rows[0]):
            raise InputError(f"{name}: row {number} has width {len(row)}, the first row has {len(rows[0])}")
    try:
        array = np.array([np.asarray(row) for row in rows])
    except (ValueError, TypeError) as error:
        raise InputError(f"{name} must hold rows of numbers, not {error}") from None
    if array.dtype == object:
        empty = [number for number, row in enumerate(array) if any(map(_is_empty, row))]
        raise InputError(f"{name}: " + (f"row {empty[0]} has an empty value" if empty else "rows must hold numbers"))
    plain = not isinstance(rows[0], np.ndarray) and array.dtype.kind in "iu"
    return array.astype(np.float64) if plain else array


def _is_empty(value: Any) -> bool:
    return type(value).__name__ in ("NoneType", "NAType", "NaTType") or (isinstance(value, float) and value != value)


def _ids(frame: Any, name: str) -> Ids:
    levels = {each: frame.index.get_level_values(each) for each in frame.index.names if each is not None}
    name = _column("ids_column", name, [*frame.columns, *levels])
    values = frame[name] if name in frame.columns else levels[name]
    if values.isna().any():
        raise InputError(
            f"ids_column {name!r} of the frame has empty values, first in row {int(values.isna().argmax())}"
        )
    return as_ids(values.to_numpy(), len(frame))


def _named(source: Source, ids: Ids | None) -> Source:
    source.kind = "pandas"
    if ids is not None:
        source.ids = ids
    return source


HELD = Held(
    "pandas",
    is_of("pandas", "DataFrame", "Series"),
    open_pandas,
    "a frame: the one column of arrays or lists, or the one named `column`; or all columns, where all are floats; a "
    "series of arrays or lists",
    frozenset({"column", "ids_column"}),
    ids="the column, or the level of the index, `ids_column`, or given: `ids`; the index is not taken unasked",
)
