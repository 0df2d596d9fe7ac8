"""What is known of items beside their codes, by id: columns that answers carry, and conditions that searches filter by.

A condition is JSON, a column and what it must be, all of them together: `{"price": {"lt": 50}, "kind": ["a", "b"]}`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Bool, Int

from compressae_jax import data
from compressae_jax.codes.ids import TextIds
from compressae_jax.codes.lookup import check_unique
from compressae_jax.data import named
from compressae_jax.notation import InputError, check_choice
from compressae_jax.retrieval.index import Index
from compressae_jax.serving import payload as tables

COMPARED = {
    "lt": "less",
    "le": "less_equal",
    "gt": "greater",
    "ge": "greater_equal",
    "eq": "equal",
    "ne": "not_equal",
}
ID, TEXT = "id", "text"


class Payload:
    """A table of items, one row an id, in memory."""

    def __init__(self, table: Any) -> None:
        """`table`: of pyarrow, with a column `id`.

        Raises:
            InputError: no such column, ids that are neither integers nor texts, or one of two rows.
        """
        import pyarrow as pa

        if ID not in table.column_names:
            raise InputError(f"payload needs a column {ID!r}; it has {', '.join(table.column_names) or 'none'}")
        ids = table[ID].combine_chunks()
        if ids.null_count or not (pa.types.is_integer(ids.type) or _is_text(ids.type)):
            raise InputError(f"payload: {ID} must be integers or texts, none missing, not {ids.type}")
        self._table = table
        self._texts = _is_text(ids.type)
        named_by = ids.to_pylist()
        self._ids = TextIds.of(named_by) if self._texts else np.asarray(ids.to_numpy(zero_copy_only=False))
        check_unique(self._ids)
        self._places = {one: place for place, one in enumerate(named_by)}

    @property
    def columns(self) -> list[str]:
        """Their names, without the ids'."""
        return [name for name in self._table.column_names if name != ID]

    def __len__(self) -> int:
        return self._table.num_rows

    def of(self, ids: list[Any], column: str) -> list[Any]:
        """A column's values of some ids, None where there is no such item.

        Raises:
            InputError: no such column.
        """
        check_choice("fields", column, self.columns)
        places = [self._places.get(one) for one in ids]
        values = self._table[column].take([place for place in places if place is not None]).to_pylist()
        there = iter(values)
        return [None if place is None else next(there) for place in places]

    def allowed(self, where: Mapping[str, Any], index: Index) -> Bool[np.ndarray, " n"]:
        """Which rows of an index fulfil a condition; a row that the payload lacks fulfils none.

        Raises:
            InputError: a column that is not there, a comparison that is none or that its type has not.
        """
        import pyarrow as pa

        try:
            fulfilled = self._fulfilled(where)
        except (pa.ArrowException, OverflowError, TypeError, ValueError) as error:
            if isinstance(error, InputError):
                raise
            raise InputError(f"where: {error}") from None
        rows = self._rows(index)
        here = rows[np.flatnonzero(fulfilled)]
        allowed = np.zeros(len(index.codes), bool)
        allowed[here[here >= 0]] = True
        return allowed

    def _rows(self, index: Index) -> Int[np.ndarray, " m"]:
        """The row number of each item, -1 of one that the index has not."""
        if index.codes.ids is not None:
            return index.where(self._ids)
        if self._texts:
            raise InputError("payload goes by texts, the rows of this index by their numbers")
        numbers = np.asarray(self._ids).astype(np.int64)
        return np.where((numbers >= 0) & (numbers < len(index.codes)), numbers, -1)

    def _fulfilled(self, where: Mapping[str, Any]) -> Bool[np.ndarray, " m"]:
        import pyarrow as pa
        import pyarrow.compute as pc

        if not isinstance(where, Mapping):
            raise InputError(f"where must be an object of columns and what they must be, not {where!r:.80}")
        whole = np.ones(len(self), bool)
        for name, wanted in where.items():
            check_choice("where", name, self._table.column_names)
            column = self._table[name]
            conditions = wanted if isinstance(wanted, Mapping) else {"in" if isinstance(wanted, list) else "eq": wanted}
            for how, value in conditions.items():
                check_choice(f"where: the comparison of {name!r}", how, (*COMPARED, "in"))
                if how == "in":
                    if not isinstance(value, list):
                        raise InputError(f"where: {name!r} must be in a list, not {value!r:.80}")
                    some = pc.is_in(column, value_set=pa.array(value, column.type))
                else:
                    some = pc.call_function(COMPARED[how], [column, pa.scalar(value)])
                whole &= pc.fill_null(some, False).to_numpy()
        return whole

    def containing(self, part: str, limit: int) -> list[tuple[Any, str]]:
        """Items whose text (or id) has `part` in it, those that begin with it first; pairs of id and text."""
        import pyarrow.compute as pc

        column = self._table[TEXT] if TEXT in self.columns and _is_text(self._table[TEXT].type) else None
        if column is None:
            column = self._table[ID] if self._texts else pc.cast(self._table[ID], "string")
        found: list[int] = []
        for matches in (pc.starts_with, pc.match_substring):
            mask = matches(column, pattern=part, ignore_case=True)
            places = np.flatnonzero(pc.fill_null(mask, False).to_numpy())
            found += [place for place in places[: 2 * limit].tolist() if place not in found]
            if len(found) >= limit:
                break
        return [(self._id(place), str(column[place])) for place in found[:limit]]

    def _id(self, place: int) -> Any:
        one = self._ids[place]
        return one if isinstance(one, str) else int(one)


def read(path: str | os.PathLike, ids: str = ID) -> Payload:
    """The payload of a .parquet, .csv or .tsv file, whose column `ids` names the rows, or a dataset's names of its own.

    Raises:
        InputError: neither; a file that is damaged or has no such column; a dataset without names.
    """
    import pyarrow as pa

    if str(path) in named.ABOUT:
        items = data.load(str(path)).items
        if items is None:
            raise InputError(f"payload: {path} has no names of its rows")
        return Payload(pa.table({ID: np.arange(len(items)), TEXT: items}))
    columns = tables.table(path)
    if ids not in columns:
        raise InputError(f"payload: {path} has no column {ids!r}; it has {', '.join(columns) or 'none'}")
    columns = {ID: columns.pop(ids), **columns}
    try:
        return Payload(pa.table(columns))
    except pa.ArrowException as error:
        raise InputError(f"payload: {path} cannot be read: {error}") from None


def _is_text(kind: Any) -> bool:
    import pyarrow as pa

    return pa.types.is_string(kind) or pa.types.is_large_string(kind)
