"""Judgements in memory: a dict of dicts, a data frame, rows of query, item and grade."""

from collections.abc import Mapping
from typing import Any

from compressae_jax.data import tables
from compressae_jax.data.judged import table as of_columns
from compressae_jax.data.judged.judged import Judged, of_pairs
from compressae_jax.notation import InputError

NAME = "judgements"


def of_objects(given: Any) -> Judged:
    """Of {query: {item: grade}}, of rows (query, item, grade), or of a table with such columns.

    Raises:
        InputError: none of these.
    """
    if isinstance(given, Mapping) and given and all(isinstance(one, Mapping) for one in given.values()):
        return _of_triples([(query, item, grade) for query, items in given.items() for item, grade in items.items()])
    if (found := tables.in_memory(given, NAME)) is not None:
        return of_columns.of_table(found)
    try:
        rows = [tuple(row) for row in given]
    except TypeError:
        rows = []
    if not rows or any(len(row) != 3 for row in rows):
        raise InputError(
            f"{NAME} must be {{query: {{item: grade}}}}, rows of query, item and grade, a table with these columns, a "
            f"sparse matrix, or a path, not {type(given).__name__}" + (" with nothing in it" if not rows else "")
        )
    return _of_triples(rows)


def _of_triples(rows: list[tuple[Any, Any, Any]]) -> Judged:
    queries, items, grades = zip(*rows, strict=True) if rows else ((), (), ())
    return of_pairs(NAME, queries, items, grades)
