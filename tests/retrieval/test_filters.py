"""What users pass as `allow` and `exclude`, in whatever holds it."""

import hypothesis
import numpy as np
import pytest
import scipy.sparse
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from compressae_jax.codes.ids import TextIds
from compressae_jax.notation import InputError
from compressae_jax.retrieval import filters
from compressae_jax.retrieval.filters import Without

N = 6
ALLOWED = [False, True, False, False, True, False]


class Column:
    """As a table's column shows itself."""

    def __init__(self, values, dtype=None):
        self._values = np.array(values, dtype)

    def __iter__(self):
        return iter(self._values)

    def to_numpy(self):
        return self._values


NAMES = {"apple": 0, "bread": 1, "coffee": 2, "dates": 3, "eggs": 4, "figs": 5}
LARGE = {2**63 + row: row for row in range(N)}


def lookup(table):
    """Finds ids by a dict."""

    def find(ids, argument):
        places = [place for place, one in enumerate(ids) if one in table]
        return np.array(places, np.int64), np.array([table[ids[place]] for place in places], np.int64)

    return find


def matrix(without, n=N):
    """Of the rows of each query, which rise."""
    taken = np.zeros((len(without.indptr) - 1, n), bool)
    for i, row in enumerate(taken):
        some = without.rows[without.indptr[i] : without.indptr[i + 1]]
        assert (np.diff(some) > 0).all()
        row[some] = True
    return taken


@pytest.mark.parametrize(
    "given",
    [
        [1, 4],
        (4, 1, 4),
        {1, 4},
        np.array([4, 1], np.uint8),
        Column([1, 4]),
        range(1, 5, 3),
        (row for row in (1, 4)),
        np.array([1, None, 4], object),
        np.array(ALLOWED),
        ALLOWED,
        Column(ALLOWED),
    ],
    ids=lambda given: type(given).__name__,
)
def test_allow(given):
    assert_array_equal(filters.allowed(given, N), ALLOWED)


@pytest.mark.parametrize("form", [list, np.array, TextIds.of, Column, set])
def test_allow_by_ids(form):
    assert_array_equal(filters.allowed(form(["eggs", "no such", "bread"]), N, lookup(NAMES)), ALLOWED)


def test_no_filter_and_one_that_allows_nothing():
    assert filters.allowed(None, N) is None and filters.without(None, 3, N) is None
    for given in ([], np.zeros(0), set(), ["no such"]):
        assert not filters.allowed(given, N, lookup(NAMES)).any()
    assert not matrix(filters.without([[], None, ["no such"]], 3, N, lookup(NAMES))).any()
    assert filters.without([], 0, N).indptr.tolist() == [0]


TAKEN = np.array([[0, 1, 0, 0, 1, 0], [0, 0, 0, 0, 0, 0], [1, 1, 1, 1, 1, 1]], bool)


@pytest.mark.parametrize(
    "given",
    [
        [[4, 1, 1], [], list(range(6))],
        [{1, 4}, None, np.arange(6)],
        (np.array([1, 4]), Column([], int), range(6)),
        Column([[1, 4], [], [5, 4, 3, 2, 1, 0]], object),
        np.array([[1, 4, None, None, None, None], [None] * 6, range(6)], object),
        TAKEN,
        scipy.sparse.csr_matrix(TAKEN),
        scipy.sparse.csr_array(TAKEN.astype(np.float32) * -2),
        scipy.sparse.coo_array(TAKEN),
        scipy.sparse.csc_matrix(TAKEN),
        scipy.sparse.lil_matrix(TAKEN),
    ],
    ids=lambda given: type(given).__name__,
)
def test_exclude(given):
    assert_array_equal(matrix(filters.without(given, 3, N)), TAKEN)


def test_exclude_by_ids():
    given = [["eggs", "bread", "no such"], [], list(NAMES)]
    assert_array_equal(matrix(filters.without(given, 3, N, lookup(NAMES))), TAKEN)
    # NumPy makes floats of signed and unsigned integers together.
    given = [[2**63 + 4, 2**63 + 1], [7], np.arange(6, dtype=np.uint64) + 2**63]
    assert_array_equal(matrix(filters.without(given, 3, N, lookup(LARGE))), TAKEN)


def test_columns_of_a_matrix_are_rows_though_these_have_ids():
    assert_array_equal(matrix(filters.without(scipy.sparse.csr_matrix(TAKEN), 3, N, lookup(NAMES))), TAKEN)


def test_a_matrix_in_order_is_not_copied():
    given = scipy.sparse.csr_matrix(TAKEN)
    assert np.shares_memory(filters.without(given, 3, N).rows, given.indices)


@hypothesis.given(st.integers(0, 2**16), st.booleans())
def test_csr_in_any_state(seed, tell):
    """Columns out of order or twice, explicit zeros, room behind the nonzeros, flags that lie; it is not changed."""
    rng = np.random.default_rng(seed)
    indptr = np.concatenate([[0], np.cumsum(rng.integers(0, 9, 4))]).astype(np.int32)
    columns, data = (
        rng.integers(0, N, indptr[-1] + 3).astype(np.int32),
        rng.integers(0, 2, indptr[-1] + 3).astype(np.int8),
    )
    given = scipy.sparse.csr_matrix((data[: indptr[-1]], columns[: indptr[-1]], indptr), (4, N))
    given.data, given.indices = data, columns
    if tell:
        given.has_canonical_format = True
    before = columns.copy()
    wanted = np.zeros((4, N), bool)
    for i in range(4):
        here = slice(indptr[i], indptr[i + 1])
        wanted[i, columns[here][data[here] != 0]] = True
    assert_array_equal(matrix(filters.without(given, 4, N)), wanted)
    assert_array_equal(given.indices, before)


def test_cut_is_of_some_queries():
    without = filters.without([[1, 2], [], [3], [0, 5]], 4, N)
    assert_array_equal(matrix(filters.cut(without, 1, 4)), matrix(without)[1:])
    some = filters.cut(Without(without.indptr.astype(np.int32), without.rows.astype(np.int32)), 2, 3)
    assert some.indptr.dtype == some.rows.dtype == np.int64 and some.rows.tolist() == [3]


def test_pairs_by_row():
    asked, rows = filters.by_row(filters.without([[5, 1], [], [3, 1]], 3, N))
    assert list(zip(asked.tolist(), rows.tolist(), strict=True)) == [(0, 1), (2, 1), (2, 3), (0, 5)]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (np.ones(5, bool), "allow must be 6 booleans, one a row, or ids, not 5 booleans"),
        ([0, 6], r"allow holds the row 6, which is outside 0\.\.5"),
        ([-1], r"allow holds the row -1, which is outside 0\.\.5"),
        (["bread"], "allow must be row numbers, since the index has no ids, not the text 'bread'"),
        ([1.5], "allow must be ids, integers or texts, or booleans, not float64"),
        (["bread", 1], "allow must be ids, integers or texts"),
        ("bread", "allow must be a list of ids, or booleans, not 'bread'"),
        (3, "allow must be a list of ids, or booleans, not 3"),
        ([[1], [2]], r"allow must be ids in one dimension, not of shape \(2, 1\)"),
        ([[1], [2, 3]], "allow must be ids"),
    ],
)
def test_allow_that_is_none(given, message):
    with pytest.raises(InputError, match=message):
        filters.allowed(given, N)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([[1], [2]], "exclude must be one list of ids a query, 3 of them, not 2"),
        ([1, 2, 3], r"exclude must be lists of ids, not 1; for one query pass \[ids\]"),
        (["bread", "eggs", "figs"], "exclude must be lists of ids, not 'bread'; for one query"),
        ("bread", "exclude must be one list of ids a query, or a matrix"),
        (7, "exclude must be one list of ids a query, or a matrix"),
        ([[0], [6], []], r"exclude holds the row 6, which is outside 0\.\.5"),
        ([[0], [-1], []], r"exclude holds the row -1, which is outside 0\.\.5"),
        ([[0], ["bread"], []], "exclude must be integers or texts, not both"),
        ([[0], [2.5], []], "exclude must be ids, integers or texts, or booleans, not float64"),
        ([[True] * 6, [False] * 6, [True] * 6], "exclude must be lists of ids, not of booleans; a matrix"),
        ([[-5], [2**63], []], "exclude must be signed or unsigned integers, not both"),
        (TAKEN.T, r"exclude must be a matrix of 3 queries and 6 rows of the index.* not of shape \(6, 3\)"),
        (scipy.sparse.csr_matrix(TAKEN[:2]), "exclude must be a matrix of 3 queries and 6 rows of the index"),
        (np.ones(6, bool), "exclude must be a matrix of 3 queries and 6 rows of the index"),
    ],
)
def test_exclude_that_is_none(given, message):
    with pytest.raises(InputError, match=message):
        filters.without(given, 3, N)


@pytest.mark.parametrize(
    ("indptr", "column"), [([0, 1, 2, 3], N), ([0, 1, 2, 3], -1), ([0, 3, 2, 3], 1), ([0, 1, 2, 9], 1)]
)
def test_a_csr_matrix_that_points_outside(indptr, column):
    given = scipy.sparse.csr_matrix(np.eye(3, N))
    given.indices[1], given.indptr[:] = column, indptr
    with pytest.raises(InputError, match="exclude is no sound matrix"):
        filters.without(given, 3, N)
