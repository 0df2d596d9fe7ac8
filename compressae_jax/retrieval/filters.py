"""What a search leaves out, made of what users pass: `allow`, rows that all queries may get, and `exclude`, a query's.

Rows go by their ids where the index has some, else by their numbers. What searches by these forms is in `backends`.
"""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse
from jaxtyping import Bool, Int, Integer, Shaped

from compressae_jax.base import arrays
from compressae_jax.notation import InputError

# What looks up ids, given them and the name of the argument: which of them are there, by place, and their rows.
Find = Callable[[Any, str], tuple[Int[np.ndarray, " m"], Int[np.ndarray, " m"]]]

FEW = 2  # from so many rows to an allowed one, rows that have to be copied or decoded first are read one by one


class Without(NamedTuple):
    """Rows that queries must not get: those of query i are `rows[indptr[i]:indptr[i + 1]]`, rising, each once."""

    indptr: Integer[np.ndarray, " q_and_1"]
    rows: Integer[np.ndarray, " m"]


def nothing(q: int) -> Without:
    """No row for any of q queries."""
    return Without(np.zeros(q + 1, np.int64), np.empty(0, np.int64))


def cut(without: Without, start: int, stop: int) -> Without:
    """The rows of queries `start` to `stop`, in int64, as kernels take them."""
    indptr = without.indptr[start : stop + 1].astype(np.int64)
    return Without(indptr - indptr[0], without.rows[indptr[0] : indptr[-1]].astype(np.int64, copy=False))


def by_row(without: Without) -> tuple[Int[np.ndarray, " m"], Integer[np.ndarray, " m"]]:
    """All pairs of a query and a row that it must not get, by rising row."""
    order = np.argsort(without.rows, kind="stable")
    asked = np.repeat(np.arange(len(without.indptr) - 1), np.diff(without.indptr))
    return asked[order], without.rows[order]


def few(allowed: Bool[np.ndarray, " n"] | None) -> Int[np.ndarray, " m"] | None:
    """The numbers of the allowed rows, where they are so few that reading them alone pays, else None."""
    if allowed is None or FEW * np.count_nonzero(allowed) > len(allowed):
        return None
    return np.flatnonzero(allowed)


def among(without: Without | None, rows: Int[np.ndarray, " n"]) -> Without | None:
    """The same where only some rows, whose numbers rise, are searched: by their places among them."""
    if without is None or not len(rows):
        return None
    places = np.searchsorted(rows, without.rows)
    there = rows[np.minimum(places, len(rows) - 1)] == without.rows
    before = np.concatenate([[0], np.cumsum(there)])
    return Without(before[without.indptr], places[there])


def numbered(places: Int[np.ndarray, "q r"], rows: Int[np.ndarray, " n"]) -> Int[np.ndarray, "q r"]:
    """The row numbers of places among some rows; -1 stays."""
    return np.append(rows, -1)[places]


def allowed(allow: Any, n: int, find: Find | None = None) -> Bool[np.ndarray, " n"] | None:
    """Which of n rows all queries may get, of booleans (n,) or of ids, in whatever holds them; None without a filter.

    `find` looks ids up; without it they are row numbers. An id that no row has is no error, since what is not there
    cannot be found. An empty list allows nothing.

    Raises:
        InputError: booleans that are not n, row numbers outside 0..n-1, what is neither booleans nor ids.
    """
    if allow is None:
        return None
    given = _flat("allow", allow)
    if given.dtype == bool:
        if len(given) != n:
            raise InputError(f"allow must be {n:,} booleans, one a row, or ids, not {len(given):,} booleans")
        return given
    mask = np.zeros(n, bool)
    mask[_looked_up("allow", given, n, find)[1]] = True
    return mask


def without(exclude: Any, q: int, n: int, find: Find | None = None) -> Without | None:
    """The rows that each of q queries must not get, None without a filter.

    `exclude` is one list of ids a query (None where there is nothing to exclude), or a matrix (q, n), of SciPy in any
    format or of booleans, whose nonzeros are excluded; its columns are row numbers, also where rows have ids. An id
    that no row has excludes nothing; to name a row twice is no error.

    Raises:
        InputError: lists that are not q, a matrix of another shape, row numbers outside 0..n-1, what are no ids.
    """
    if exclude is None:
        return None
    if getattr(exclude, "ndim", 0) == 2 and not scipy.sparse.issparse(exclude):
        exclude = arrays.as_numpy(exclude)
    if scipy.sparse.issparse(exclude) or (isinstance(exclude, np.ndarray) and exclude.dtype == bool):
        return _of_matrix(exclude, q, n)
    lists = _lists(exclude, q)
    asked = np.repeat(np.arange(q), [len(one) for one in lists])
    there, rows = _looked_up("exclude", _joined([one for one in lists if len(one)]), n, find)
    return _sorted(asked[there], rows, q, n)


def _of_matrix(exclude: Any, q: int, n: int) -> Without:
    """Of CSR that has its columns in order and no zeros nothing is copied."""
    if exclude.shape != (q, n):
        raise InputError(
            f"exclude must be a matrix of {q:,} queries and {n:,} rows of the index, or one list of ids a query, not "
            f"of shape {exclude.shape}"
        )
    try:
        matrix = scipy.sparse.csr_array(exclude)
        matrix.check_format()
    except ValueError as error:
        raise InputError(f"exclude is no sound matrix: {error}") from None
    rows = matrix.indices[: matrix.nnz]
    rising = np.concatenate([[True], rows[1:] > rows[:-1], [True]])
    rising[matrix.indptr] = True  # where a query begins
    if rising.all() and matrix.data[: len(rows)].all():
        return Without(matrix.indptr, rows)
    used = matrix.data[: len(rows)] != 0
    asked = np.repeat(np.arange(q), np.diff(matrix.indptr))
    return _sorted(asked[used], rows[used], q, n)


def _sorted(asked: Int[np.ndarray, " pairs"], rows: Integer[np.ndarray, " pairs"], q: int, n: int) -> Without:
    """Of pairs of a query and a row in any order."""
    keys = asked * n + rows
    if not (keys[1:] > keys[:-1]).all():
        keys = np.unique(keys)
    return Without(np.searchsorted(keys, np.arange(q + 1) * n), keys % max(n, 1))


def _lists(exclude: Any, q: int) -> list[np.ndarray]:
    """The ids of each query."""
    if isinstance(exclude, (str, bytes)) or not isinstance(exclude, Iterable):
        raise InputError(f"exclude must be one list of ids a query, or a matrix (q, n), not {exclude!r:.80}")
    lists = [_flat("exclude", [] if one is None else one) for one in exclude]
    if len(lists) != q:
        raise InputError(f"exclude must be one list of ids a query, {q:,} of them, not {len(lists):,}")
    if any(one.dtype == bool for one in lists):
        raise InputError("exclude must be lists of ids, not of booleans; a matrix (q, n) may be of booleans")
    return lists


def _flat(argument: str, given: Any) -> Shaped[np.ndarray, " m"]:
    """Booleans, integers, or texts as objects; None, which is the id of no row, is left out.

    Raises:
        InputError: anything else.
    """
    if isinstance(given, (str, bytes)) or not isinstance(given, Iterable):
        wanted, hint = "a list of ids, or booleans", ""
        if argument == "exclude":
            wanted, hint = "lists of ids", "; for one query pass [ids]"
        raise InputError(f"{argument} must be {wanted}, not {given!r:.80}{hint}")
    if not hasattr(given, "__array__") and not hasattr(given, "to_numpy"):
        given = list(given)  # of a set, too
        if any(isinstance(one, str) for one in given):  # in an array each would take the room of the longest
            given = np.fromiter(given, object, len(given))
    try:
        array = arrays.as_numpy(given)
    except (ValueError, TypeError) as error:
        raise InputError(f"{argument} must be ids, integers or texts: {error}") from None
    if array.dtype.kind in "OU":
        array = _of_objects(array.astype(object, copy=False))
    if array.ndim != 1:
        raise InputError(f"{argument} must be ids in one dimension, not of shape {array.shape}")
    if not len(array):
        return np.empty(0, np.int64)
    if array.dtype.kind not in "biuO":
        raise InputError(f"{argument} must be ids, integers or texts, or booleans, not {array.dtype}")
    return array


def _of_objects(array: Shaped[np.ndarray, "..."]) -> Shaped[np.ndarray, "..."]:
    """The objects but None, as integers or booleans where they are no texts."""
    array = array[np.array([one is not None for one in array.reshape(-1)], bool).reshape(array.shape)]
    return array if all(isinstance(one, str) for one in array) else np.array(array.tolist())


def _joined(lists: list[np.ndarray]) -> Shaped[np.ndarray, " m"]:
    """The ids of all queries that have some.

    Raises:
        InputError: integers and texts, or numbers that no integers of 64 bits hold together.
    """
    kinds = {one.dtype.kind for one in lists}
    if "O" in kinds and len(kinds) > 1:
        raise InputError("exclude must be integers or texts, not both")
    if kinds == {"i", "u"}:
        if any(one.dtype.kind == "i" and one.min() < 0 for one in lists):
            raise InputError("exclude must be signed or unsigned integers, not both")
        lists = [one.astype(np.uint64) for one in lists]
    return np.concatenate(lists) if lists else np.empty(0, np.int64)


def _looked_up(
    argument: str, ids: Shaped[np.ndarray, " m"], n: int, find: Find | None
) -> tuple[Int[np.ndarray, " there"], Int[np.ndarray, " there"]]:
    """Which of the ids are there, by place, and their rows."""
    if not len(ids):
        return np.empty(0, np.int64), np.empty(0, np.int64)
    if find is not None:
        return find(ids, argument)
    if ids.dtype == object:
        raise InputError(f"{argument} must be row numbers, since the index has no ids, not the text {ids[0]!r:.80}")
    outside = (ids < 0) | (ids >= n)
    if outside.any():
        raise InputError(f"{argument} holds the row {ids[outside.argmax()]}, which is outside 0..{n - 1}")
    return np.arange(len(ids)), ids.astype(np.int64)
