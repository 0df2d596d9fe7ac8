"""Columns of a small table, by name: .csv and .tsv with a heading, .parquet, a data frame; vectors are no matter of it.

A column is an array of numbers or of moments (datetime64), or texts as `TextIds`.
"""

import csv
import datetime
import io
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from compressae_jax.base import files
from compressae_jax.codes.ids import Ids, TextIds
from compressae_jax.data import columns
from compressae_jax.data.opened import Watched
from compressae_jax.notation import InputError

DATE = "datetime64[us]"
DELIMITERS = {".csv": ",", ".tsv": "\t"}


class Table(NamedTuple):
    """A table whose columns are given out when they are asked for."""

    name: str
    names: tuple[str, ...]
    column: Callable[[str], Ids]

    def pick(self, role: str, accepted: Sequence[str]) -> str:
        """The column that has one of the accepted names.

        Raises:
            InputError: none has, or two have.
        """
        found = [name for name in accepted if name in self.names]
        if len(found) != 1:
            wanted = " or ".join(map(repr, accepted))
            raise InputError(f"{self.name} needs one column for the {role}, {wanted}; it has {', '.join(self.names)}")
        return found[0]


def of_file(path: Path) -> Table:
    """The table of a .csv, .tsv or .parquet.

    Raises:
        InputError: another suffix, no file, a damaged one, a line of another number of fields than the heading has.
    """
    kind = path.suffix.lower()
    if kind not in KINDS:
        raise InputError(f"{path} must be a table, {', '.join(KINDS)}, not {path.suffix or 'nothing'!r}")
    return KINDS[kind](path)


def in_memory(given: Any, name: str = "table") -> Table | None:
    """The table of a data frame (pandas, polars, pyarrow) or a dict of columns; None of what is neither."""
    names = getattr(given, "column_names", None)  # pyarrow, datasets
    names = getattr(given, "columns", None) if names is None else names
    if names is None and isinstance(given, Mapping) and all(_is_column(one) for one in given.values()):
        names = list(given)
    if names is None or not hasattr(given, "__getitem__"):
        return None
    return Table(name, tuple(map(str, names)), lambda column: _plain(f"{name}: column {column!r}", given[column]))


def _is_column(given: Any) -> bool:
    return isinstance(given, (list, tuple, np.ndarray)) or hasattr(given, "to_numpy")


def _plain(name: str, given: Any) -> Ids:
    """A column as numbers, moments or texts."""
    if hasattr(given, "combine_chunks"):
        given = _of_arrow(name, given)
    elif hasattr(given, "to_numpy"):
        given = given.to_numpy()
    if isinstance(given, TextIds):
        return given
    array = given if isinstance(given, np.ndarray) else None
    if array is None or array.dtype == object or array.dtype.kind in "UT":
        values = list(given)
        if all(isinstance(one, str) for one in values):
            return TextIds.of(values)
        if any(one is None or one != one for one in values):
            raise InputError(f"{name} has empty values")
        if all(isinstance(one, datetime.date) for one in values):
            return np.array([_in_utc(one) for one in values], DATE)
        array = np.array(values)
    if array.ndim != 1 or array.dtype.kind not in "iufM":
        raise InputError(f"{name} must hold numbers, texts or moments, not {array.dtype} of shape {array.shape}")
    return array


def _in_utc(moment: datetime.date) -> datetime.date:
    """A moment without a zone: of UTC, where it had one."""
    zoned = isinstance(moment, datetime.datetime) and moment.tzinfo is not None
    return moment.astimezone(datetime.UTC).replace(tzinfo=None) if zoned else moment  # type: ignore[attr-defined]


def _of_arrow(name: str, column: Any) -> Any:
    from pyarrow import types

    if column.null_count:
        raise InputError(f"{name} has empty values")
    kind = column.type.value_type if types.is_dictionary(column.type) else column.type
    if types.is_string(kind) or types.is_large_string(kind):
        return columns.ids_of(name, getattr(column, "chunks", [column]))
    numbers = types.is_integer, types.is_floating, types.is_timestamp, types.is_date
    return column.to_numpy() if any(one(column.type) for one in numbers) else column.to_pylist()


def _of_delimited(path: Path) -> Table:
    rows = csv.reader(io.StringIO(_text(path), newline=""), delimiter=DELIMITERS[path.suffix.lower()])
    try:
        heading = tuple(next(rows, ()))
        if len(set(heading)) < len(heading) or not heading:
            raise InputError(f"{path} must begin with the names of its columns, each once, not {', '.join(heading)}")
        lines = [row for row in rows if row]
    except csv.Error as error:
        raise InputError(f"{path}, line {rows.line_num}: {error}") from None
    short = next((i for i, row in enumerate(lines) if len(row) != len(heading)), None)
    if short is not None:
        raise InputError(f"{path}: row {short} has {len(lines[short])} fields, the heading {len(heading)}")
    return Table(str(path), heading, lambda name: TextIds.of([row[heading.index(name)] for row in lines]))


def _of_parquet(path: Path) -> Table:
    pyarrow = columns.pyarrow(".parquet")
    from pyarrow import parquet

    with opened(path) as file:
        watched = Watched(file)
        try:
            table = parquet.read_table(watched)
        except (pyarrow.ArrowException, OSError) as error:
            if watched.error is not None:
                raise watched.error from None
            raise InputError(f"{path} is not a whole .parquet: {error}") from None
    found = in_memory(table, str(path))
    assert found is not None
    return found


KINDS: dict[str, Callable[[Path], Table]] = {".csv": _of_delimited, ".tsv": _of_delimited, ".parquet": _of_parquet}


def opened(path: str | os.PathLike) -> Any:
    """A regular file, open.

    Raises:
        InputError: it is not there.
    """
    path = Path(path).expanduser()
    try:
        return files.open_regular(path)
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        raise InputError(f"there is no file {path}") from None


def _text(path: Path) -> str:
    """A file as text; a mark of its order of bytes, as Windows writes it, is no part of it."""
    with opened(path) as file:
        try:
            return file.read().decode("utf-8-sig")
        except UnicodeDecodeError as error:
            byte = f"byte {error.start} is {error.object[error.start]:#x}"
            raise InputError(f"{path} must be UTF-8, but {byte}") from None


def lines(path: str | os.PathLike) -> list[str]:
    """The lines of a text, those that only white space stands in left out."""
    return [line for line in _text(Path(path)).replace("\r\n", "\n").split("\n") if line.strip()]


def whole(name: str, values: Iterable[Any], what: str = "grades") -> np.ndarray:
    """Numbers, or texts of them, as int64.

    Raises:
        InputError: one that is no whole number of 64 bits.
    """
    try:
        given = np.array(list(values)) if isinstance(values, TextIds) else np.asarray(values)
        numbers = given.astype(np.float64) if given.dtype.kind in "UO" else given
        if numbers.dtype.kind == "b" or numbers.dtype.kind in "iu" or not given.size:
            return numbers.astype(np.int64)
        if numbers.dtype.kind == "f" and (numbers == np.round(numbers)).all() and (abs(numbers) < 2**53).all():
            return numbers.astype(np.int64)
    except (ValueError, TypeError) as error:
        raise InputError(f"{name}: {what} must be whole numbers ({error})") from None
    raise InputError(f"{name}: {what} must be whole numbers, not {numbers.dtype}")
