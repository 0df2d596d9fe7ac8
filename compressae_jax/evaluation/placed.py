"""Judgements placed on what is searched: queries by number among those that are asked, items by the number of a row."""

import re
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import scipy.sparse
from jaxtyping import Int

from compressae_jax.codes.ids import Ids, TextIds
from compressae_jax.codes.lookup import Lookup, of_kind
from compressae_jax.data.judged import Judged
from compressae_jax.data.purchases import Purchases
from compressae_jax.evaluation import rankings
from compressae_jax.notation import InputError, check_choice

UNKNOWN = ("stop", "keep", "drop")
HOW = "unknown='keep' lets them count as never found, as trec_eval does, 'drop' leaves them out"
NUMBER = re.compile(r"\s*-?[0-9]{1,18}\s*")

Numbers = Int[np.ndarray, " m"]


class Side(NamedTuple):
    """The queries, or the rows that are searched, as judgements name them; `remedy` is how a user gives them ids."""

    what: str  # 'queries' or 'items'
    n: int
    like: Ids | None  # some ids of its kind; None where it has none, and goes by numbers
    find: Callable[[Ids], Numbers] | None  # the numbers of ids, -1 of one that is not here
    remedy: str


class Placed(NamedTuple):
    """Judged queries with what they want; unknown ones are told by their counts.

    `wanted` (judged, n + unknown items) has the items that no row is in its last columns. `queries` are numbers, -1 of
    a query that is not asked; `places` are those in `Judged.queries`.
    """

    places: Int[np.ndarray, " judged"]
    query_ids: Ids
    queries: Int[np.ndarray, " judged"]
    wanted: scipy.sparse.csr_matrix
    unknown_queries: int
    unknown_items: int


def side(what: str, ids: Ids | None, n: int, remedy: str) -> Side:
    """Of queries or rows that have ids, or go by their numbers."""
    return Side(what, n, None if ids is None else ids[:1], None if ids is None else finder(ids, what), remedy)


def finder(ids: Ids, what: str) -> Callable[[Ids], Numbers]:
    """What finds ids among others."""
    lookup = Lookup(ids)

    def find(asked: Ids) -> Numbers:
        places, given = of_kind(asked, ids, f"judged {what}")
        which, rows = lookup.find(given)
        found = np.full(len(asked), -1)
        found[places[which]] = rows
        return found

    return find


def place(judged: Judged, queries: Side, items: Side, unknown: str = "stop") -> Placed:
    """The judgements that a ranking can be scored by: of queries that want something.

    `unknown` ids: 'stop', 'keep' (a query that is not asked finds nothing, an item that is not there is never found),
    or 'drop'.

    Raises:
        InputError: unknown ids, unless they are to be kept or dropped; none that is known; judgements by name of what
            has no ids; nothing that is relevant.
    """
    check_choice("unknown", unknown, UNKNOWN)
    wanted = scipy.sparse.csr_matrix(judged.grades > 0)
    asked = np.flatnonzero(rankings.count(wanted))
    if not len(asked):
        raise InputError(f"{judged.name}: no grade is above 0, so nothing is relevant")
    relevant = np.unique(wanted.indices)
    query_ids, item_ids = judged.queries[asked], judged.items[relevant]
    query_rows = numbers(judged, query_ids, queries, judged.all_queries)
    item_rows = numbers(judged, item_ids, items, judged.all_items)
    lost = int((query_rows < 0).sum()), int((item_rows < 0).sum())
    _check_known(judged.name, "judged queries", query_ids, query_rows, queries, unknown)
    _check_known(judged.name, "relevant items", item_ids, item_rows, items, unknown)
    if unknown == "drop":
        there = query_rows >= 0
        asked, query_ids, query_rows = asked[there], query_ids[there], query_rows[there]
    columns = np.full(len(judged.items), -1)
    columns[relevant] = np.where(item_rows >= 0, item_rows, items.n + np.cumsum(item_rows < 0) - 1)
    coo = judged.grades[asked].tocoo()
    kept = (coo.data > 0) & ((unknown != "drop") | (columns[coo.col] < items.n))
    shape = (len(asked), items.n + (0 if unknown == "drop" else lost[1]))
    matrix = scipy.sparse.csr_matrix((coo.data[kept], (coo.row[kept], columns[coo.col[kept]])), shape=shape)
    return Placed(asked, query_ids, query_rows, matrix, *lost)


class Bought(NamedTuple):
    """Purchases by row number, users x n, and in `test` the later ones of items that no row is in columns behind."""

    train: scipy.sparse.csr_matrix
    test: scipy.sparse.csr_matrix
    unknown: int


def of_purchases(bought: Purchases, items: Side, unknown: str = "stop") -> Bought:
    """Purchases placed on the rows that are searched; unknown items as in `place`, earlier ones add to no profile.

    Raises:
        InputError: unknown items, unless they are to be kept or dropped; none that is known; names of what has no ids.
    """
    check_choice("unknown", unknown, UNKNOWN)
    judged = Judged(bought.name, bought.users, bought.items, bought.test, bought.by_row)
    rows = numbers(judged, bought.items, items, None)
    lost = int((rows < 0).sum())
    _check_known(bought.name, "items", bought.items, rows, items, unknown)
    train = _moved(bought.train, rows, items.n)
    if unknown != "keep":
        return Bought(train, _moved(bought.test, rows, items.n), lost)
    behind = np.where(rows >= 0, rows, items.n + np.cumsum(rows < 0) - 1)
    return Bought(train, _moved(bought.test, behind, items.n + lost), lost)


def _moved(matrix: scipy.sparse.csr_matrix, columns: Numbers, n: int) -> scipy.sparse.csr_matrix:
    """The matrix with its columns at others; those at -1 are left out."""
    coo = matrix.tocoo()
    kept = columns[coo.col] >= 0
    return scipy.sparse.csr_matrix(
        (coo.data[kept], (coo.row[kept], columns[coo.col[kept]])), shape=(matrix.shape[0], n)
    )


def _check_known(name: str, what: str, ids: Ids, rows: Numbers, where: Side, unknown: str) -> None:
    """Raise InputError for unknown ids that stop, and where all are unknown."""
    lost = int((rows < 0).sum())
    if lost and (unknown == "stop" or lost == len(ids)):
        first = ids[int((rows < 0).argmax())]
        told = "none of them is known" if lost == len(ids) else HOW
        raise InputError(
            f"{name}: {lost:,} of {len(ids):,} {what} are not among the {where.n:,} {where.what} given, first "
            f"{first!r}; {told}"
        )


def numbers(judged: Judged, ids: Ids, where: Side, every: Callable[[], Ids] | None) -> Numbers:
    """The numbers of judged ids, -1 of those that are not there; `every` reads all ids that the source tells.

    Raises:
        InputError: names of what has no ids, and is not as many as the source tells.
    """
    if judged.by_row:
        return _in_range(ids, where.n)
    if where.find is not None:
        wanted = ids if isinstance(where.like, TextIds) else integers(judged.name, ids, "those given are integers")
        return where.find(wanted)
    if every is not None and len(in_order := every()) == where.n:
        return finder(in_order, where.what)(ids)
    counted = f"; {judged.name} tells of {len(in_order):,}" if every is not None else ""
    why = f"the {where.n:,} {where.what} given have no ids{counted}: {where.remedy}"
    return _in_range(integers(judged.name, ids, why), where.n)


def integers(name: str, ids: Ids, why: str) -> Ids:
    """Ids that a text file gave, as the integers that they say.

    Raises:
        InputError: the first that says none; the message ends with `why` integers are wanted.
    """
    if not isinstance(ids, TextIds):
        return ids
    other = next((text for text in ids if not NUMBER.fullmatch(text)), None)
    if other is not None:
        raise InputError(f"{name}: the id {other[:40]!r} is no integer, and {why}")
    return np.array([int(text) for text in ids], np.int64)


def _in_range(given: Ids, count: int) -> Numbers:
    found = np.asarray(given)
    return np.where((found >= 0) & (found < count), found, -1).astype(np.int64)
