"""Which items are relevant to which queries, by ids or by row numbers; files of it are the neighbours of this one."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse
from jaxtyping import Int64

from compressae_jax.codes.ids import Ids, TextIds, as_ids
from compressae_jax.data import tables
from compressae_jax.data.pairs import once
from compressae_jax.notation import InputError


class Judged(NamedTuple):
    """Grades of items for queries: above 0 relevant, 0 and below not.

    `queries` and `items` are the ids that are judged, each once, `grades` a matrix of them. `by_row` says that the ids
    are row numbers. `all_queries` and `all_items` read the ids of everything there is, judged or not, in its order,
    where the source tells them.
    """

    name: str
    queries: Ids
    items: Ids
    grades: scipy.sparse.csr_matrix
    by_row: bool = False
    all_queries: Callable[[], Ids] | None = None
    all_items: Callable[[], Ids] | None = None


def of_pairs(name: str, queries: Any, items: Any, grades: Any, by_row: bool = False) -> Judged:
    """Of three columns of one length: query, item, grade. A pair that stands twice with one grade counts once.

    Raises:
        InputError: columns of unlike lengths, no pair, ids that are neither texts nor integers, grades that are not
            whole numbers, a pair with two grades, row numbers below 0.
    """
    if not (len(queries) == len(items) == len(grades)):
        sizes = f"{len(queries)}, {len(items)} and {len(grades)}"
        raise InputError(f"{name}: queries, items and grades must be of one length, not {sizes}")
    if not len(queries):
        raise InputError(f"{name} holds no judgement")
    values = tables.whole(name, grades)
    query_ids, query = distinct(ids(f"{name}: queries", queries, by_row))
    item_ids, item = distinct(ids(f"{name}: items", items, by_row))
    keep = once(name, query, item, values, lambda one: f"query {query_ids[query[one]]} and item {item_ids[item[one]]}")
    shape = (len(query_ids), len(item_ids))
    matrix = scipy.sparse.csr_matrix((values[keep], (query[keep], item[keep])), shape=shape)
    return Judged(name, query_ids, item_ids, matrix, by_row)


def ids(name: str, given: Any, by_row: bool = False) -> Ids:
    """A column of ids.

    Raises:
        InputError: neither texts nor integers; row numbers that are none.
    """
    try:
        found = as_ids(given if isinstance(given, (np.ndarray, TextIds)) else list(given), len(given))
    except InputError as error:
        raise InputError(f"{name}: {error}") from None
    if not by_row:
        return found
    rows = tables.whole(name, found, "row numbers")
    if len(rows) and rows.min() < 0:
        raise InputError(f"{name}: row number {rows.min()} lies below 0")
    return rows


def distinct(given: Ids) -> tuple[Ids, Int64[np.ndarray, " m"]]:
    """The ids that are there, each once, and the place of every one among them: integers rising, texts as first met."""
    if not isinstance(given, TextIds):
        found, places = np.unique(given, return_inverse=True)
        return found, places.astype(np.int64)
    numbers: dict[str, int] = {}
    places = np.fromiter((numbers.setdefault(text, len(numbers)) for text in given), np.int64, len(given))
    return TextIds.of(list(numbers)), places
