"""Columns to be carried along, read from a table: numbers, texts or moments beside the rows of an index, or None."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from compressae_jax.codes.ids import TextIds
from compressae_jax.data import columns, tables
from compressae_jax.data.opened import Watched
from compressae_jax.notation import InputError
from compressae_jax.retrieval.index import Index


def read(path: str | os.PathLike, index: Index, ids: str | None = None) -> dict[str, list[Any]]:
    """The columns of a .parquet, .csv or .tsv, in the order of `index.ids`.

    `ids` names the column that says whose row it is, which is looked up and not carried along; without it the rows are
    in the order of the index. What .csv has nothing in is None; a column of it is of numbers where all are numbers.

    Raises:
        InputError: another kind of file, a damaged one, no such column, rows that are not those of the index.
    """
    path, found = Path(os.path.expanduser(os.fspath(path))), table(path, ids)
    if ids is not None and ids not in found:
        raise InputError(f"{path} has no column {ids!r}; it has {', '.join(found)}")
    if ids is None:
        for name, values in found.items():
            if len(values) != len(index):
                raise InputError(
                    f"{path}: column {name!r} has {len(values):,} values, the index {len(index):,} rows; a column of "
                    "ids would say which are whose"
                )
        return found
    order = _order(path, found.pop(ids), index)
    return {name: [values[row] for row in order] for name, values in found.items()}


def table(path: str | os.PathLike, ids: str | None = None) -> dict[str, list[Any]]:
    """All columns of a .parquet, .csv or .tsv, that of `ids` as it is written; raises as `read`."""
    path = Path(os.path.expanduser(os.fspath(path)))
    return _of_parquet(path) if path.suffix.lower() == ".parquet" else _of_text(path, ids)


def _order(path: Path, named: list[Any], index: Index) -> list[int]:
    """The row of the table that each row of the index has."""
    numbers = [number for some, _ in index.pieces() for number in some.tolist()] if index.ids is None else None
    wanted = numbers if numbers is not None else list(index.ids)  # type: ignore[arg-type]
    kind = str if isinstance(index.ids, TextIds) else int
    rows: dict[Any, int] = {}
    for row, given in enumerate(named):
        try:
            one = kind(given)
        except (TypeError, ValueError):
            raise InputError(f"{path}: the id {given!r:.60} is no integer, as those of the index are") from None
        if one in rows:
            raise InputError(f"{path} has the id {one!r:.60} twice")
        rows[one] = row
    try:
        return [rows[kind(one)] for one in wanted]
    except KeyError as error:
        raise InputError(f"{path} has no row of the id {error.args[0]!r:.60}, which the index has") from None


def _of_parquet(path: Path) -> dict[str, list[Any]]:
    arrow = columns.pyarrow(".parquet")
    from pyarrow import parquet

    with tables.opened(path) as file:
        watched = Watched(file)
        try:
            table = parquet.read_table(watched)
        except (arrow.ArrowException, OSError) as error:
            if watched.error is not None:
                raise watched.error from None
            raise InputError(f"{path} is not a whole .parquet: {error}") from None
    if len(set(table.column_names)) < len(table.column_names):
        raise InputError(f"{path} has two columns of one name")
    return {name: table[name].to_pylist() for name in table.column_names}


def _of_text(path: Path, ids: str | None) -> dict[str, list[Any]]:
    table = tables.of_file(path)
    texts = {name: list(table.column(name)) for name in table.names}
    return {name: column if name == ids else _typed(column) for name, column in texts.items()}


def _typed(texts: list[str]) -> list[Any]:
    """Whole numbers of 64 bits, numbers or texts, None of nothing."""
    there = [text for text in texts if text]
    for kind in (int, float):
        try:
            numbers = [kind(text) for text in there]
        except ValueError:
            continue
        if kind is int and not all(-(2**63) <= number < 2**64 for number in numbers):
            break  # digits that no number holds stay what they are
        if kind is float and not np.isfinite(numbers).all():
            break
        if kind is int and any(text != str(number) for text, number in zip(there, numbers, strict=True)):
            break  # such as 007
        return [kind(text) if text else None for text in texts]
    return [text or None for text in texts]
