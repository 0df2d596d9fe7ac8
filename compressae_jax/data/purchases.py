"""A table of purchases (user, item, time), split into earlier and later ones; how these are scored is evaluation's."""

import datetime
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse

from compressae_jax.codes.ids import Ids, TextIds
from compressae_jax.data import tables
from compressae_jax.data.judged.judged import distinct, ids
from compressae_jax.data.tables import Table
from compressae_jax.notation import InputError

COLUMNS = ("user", "item", "time")
LAST = "last"


class Purchases(NamedTuple):
    """Earlier purchases and later ones, users x items of ones; a user who is not tested has an empty row of `test`."""

    name: str
    users: Ids
    items: Ids
    train: scipy.sparse.csr_matrix
    test: scipy.sparse.csr_matrix
    by_row: bool = False  # items are row numbers


def of_matrices(train: Any, test: Any) -> Purchases:
    """Two sparse matrices, users x items by row number.

    Raises:
        InputError: matrices that are not sound, or of unlike users or items.
    """
    earlier, later = (_matrix(name, one) for name, one in (("train", train), ("test", test)))
    if earlier.shape != later.shape:
        raise InputError(f"train {earlier.shape} and test {later.shape} must be of the same users and items")
    users, items = (np.arange(size, dtype=np.int64) for size in earlier.shape)
    return Purchases("purchases", users, items, earlier, later, by_row=True)


def drawn(interactions: scipy.sparse.csr_matrix, share: float, seed: int = 0) -> Purchases:
    """Items that users took at times unknown: a share of every user's, rounded down, drawn by seed, counts as later."""
    taken = _matrix("interactions", interactions)
    counts = np.diff(taken.indptr)
    users = np.repeat(np.arange(len(counts)), counts)
    order = np.lexsort((np.random.default_rng(seed).random(taken.nnz), users))
    later = np.zeros(taken.nnz, bool)
    later[order] = np.arange(taken.nnz) - taken.indptr[users] < (share * counts).astype(np.int64)[users]
    parts = (
        scipy.sparse.csr_matrix((taken.data[some], (users[some], taken.indices[some])), taken.shape)
        for some in (~later, later)
    )
    return of_matrices(*parts)


def open_purchases(given: Any, split: Any = "last", names: Sequence[str] = ("user", "item", "time")) -> Purchases:
    """A pair of sparse matrices, the earlier and the later purchases, or a table, see `read`."""
    if isinstance(given, (tuple, list)) and len(given) == 2 and all(map(scipy.sparse.issparse, given)):
        return of_matrices(*given)
    return read(given, split, names)


def read(given: Any, split: Any = LAST, names: Sequence[str] = COLUMNS) -> Purchases:
    """The purchases of a .csv, .tsv or .parquet, of a data frame or a dict of columns; `names` are its three columns.

    What a user bought several times counts the first time. `split`: 'last' (each user's last new item is the later one;
    of equal times the one that stands last in the table), a share like 0.8 (later are those from the moment on before
    which this share of all lines lies), or a moment (a date, or a number where times are numbers). Users without an
    earlier purchase are not tested. Nothing is drawn.

    Raises:
        InputError: no such table or column, times that are no times, a split that leaves nothing earlier or later.
    """
    table = _table(given)
    if len(names) != 3:
        raise InputError(f"columns must be three names, of user, item and time, not {tuple(names)}")
    user, item, time = (table.pick(role, (name,)) for role, name in zip(COLUMNS, names, strict=True))
    users, who = distinct(ids(f"{table.name}: {user}", table.column(user)))
    items, what = distinct(ids(f"{table.name}: {item}", table.column(item)))
    when = times(f"{table.name}: {time}", table.column(time))
    if not (len(who) == len(what) == len(when)) or not len(who):
        raise InputError(f"{table.name} must have purchases, its columns of one length, not {len(who)} and {len(when)}")
    order = np.lexsort((np.arange(len(when)), when))
    _, first = np.unique(who[order].astype(np.int64) * len(items) + what[order], return_index=True)
    kept = order[np.sort(first)]  # the first purchase of every pair, by time
    later = _is_last(who[kept]) if split == LAST else when[kept] >= _moment(table.name, split, when)
    earlier = np.bincount(who[kept][~later], minlength=len(users)) > 0
    parts = kept[~later], kept[later & earlier[who[kept]]]
    if not all(map(len, parts)):
        sizes = f"{len(parts[0]):,} earlier and {len(parts[1]):,} later ones of users with earlier ones"
        raise InputError(f"{table.name}: split {split!r} leaves {sizes}; choose another")
    shape = (len(users), len(items))
    matrices = (scipy.sparse.csr_matrix((np.ones(len(p), np.int8), (who[p], what[p])), shape=shape) for p in parts)
    return Purchases(table.name, users, items, *matrices)


def times(name: str, column: Ids) -> np.ndarray:
    """Times as numbers that can be compared: numbers, moments, texts of either (ISO 8601)."""
    if not isinstance(column, TextIds):
        return column.astype(tables.DATE).astype(np.int64) if column.dtype.kind == "M" else _finite(name, column)
    texts = list(column)
    try:
        return _finite(name, np.array(texts, dtype=np.float64))
    except ValueError as error:
        if isinstance(error, InputError):
            raise
    try:
        return np.array([_date(text) for text in texts], tables.DATE).astype(np.int64)
    except ValueError as error:
        raise InputError(
            f"{name} must hold numbers or dates as in 2011-12-09 or 2011-12-09T08:26:00: {error}"
        ) from None


def _matrix(name: str, given: Any) -> scipy.sparse.csr_matrix:
    try:
        matrix = scipy.sparse.csr_matrix(given)
        matrix.check_format(full_check=True)
    except (ValueError, TypeError) as error:
        raise InputError(f"{name} is no sound sparse matrix: {error}") from None
    return matrix


def _table(given: Any) -> Table:
    if isinstance(given, (str, os.PathLike)):
        return tables.of_file(Path(given).expanduser())
    if (table := tables.in_memory(given, "purchases")) is None:
        raise InputError(f"purchases must be a table or the path of one, not {type(given).__name__}")
    return table


def _finite(name: str, numbers: np.ndarray) -> np.ndarray:
    if not np.isfinite(numbers).all():
        raise InputError(f"{name} must hold finite numbers")
    return numbers


def _date(given: Any) -> datetime.datetime:
    found = given if isinstance(given, datetime.datetime) else datetime.datetime.fromisoformat(str(given))
    return found if found.tzinfo is None else found.astimezone(datetime.UTC).replace(tzinfo=None)


def _is_last(who: np.ndarray) -> np.ndarray:
    """Whether a purchase, of those by time, is its user's last."""
    last = np.zeros(len(who), bool)
    last[len(who) - 1 - np.unique(who[::-1], return_index=True)[1]] = True
    return last


def _moment(name: str, split: Any, when: np.ndarray) -> Any:
    """The time from which on purchases are later ones."""
    try:
        share = float(split)
    except (TypeError, ValueError):
        share = None
    if share is not None and 0 < share < 1:
        return np.sort(when)[int(share * len(when))]
    if share is not None and when.dtype.kind in "iuf":
        return share
    try:
        return np.array(_date(split), tables.DATE).astype(np.int64)
    except ValueError:
        raise InputError(f"split (of {name}) must be 'last', a share such as 0.8, or a moment, not {split!r}") from None
