"""`allow` and `exclude` of an index: the results of a search of all rows, masked afterwards, whatever the backend."""

import numpy as np
import pytest
import scipy.sparse
from compression.test_to_folder import make_vectors
from numpy.testing import assert_array_equal
from retrieval.test_index import N, Q, make_index

from compressae_jax.notation import InputError
from compressae_jax.retrieval import index as index_module

RNG = np.random.default_rng(0)
NAMES = [f"item {row}" for row in range(N)]


def masked(index, queries, top, allowed, taken, backend="auto"):
    """Of all rows."""
    scores, rows = index.search(queries, N, backend)
    left = allowed[rows] & ~np.take_along_axis(taken, rows, axis=1) & (rows >= 0)
    order = np.argsort(~left, axis=1, kind="stable")[:, :top]
    there = np.take_along_axis(left, order, axis=1)
    found = (np.take_along_axis(each, order, axis=1) for each in (scores, rows))
    return tuple(np.where(there, each, fill) for each, fill in zip(found, (-np.inf, -1), strict=True))


@pytest.mark.parametrize("backend", ["auto", "host", "scan", "bcoo", "lists"])
@pytest.mark.parametrize("share", [0.02, 0.5])
def test_search_is_masking_afterwards(backend, share, monkeypatch):
    monkeypatch.setattr(index_module, "QUERIES", 2)  # several blocks, each with its own part of `exclude`
    index, queries = make_index("sparse").with_lists(), make_vectors(Q, seed=2)
    queries[1] = 0
    allowed, taken = RNG.random(N) < share, RNG.random((Q, N)) < 0.4
    for given in (allowed, np.flatnonzero(allowed)):
        found = index.search(queries, 20, backend, allow=given, exclude=scipy.sparse.csr_matrix(taken))
        for ours, wanted in zip(found, masked(index, queries, 20, allowed, taken, backend), strict=True):
            assert_array_equal(ours, wanted)
    u = index.expander.expand(queries)
    expanded = index.search_expanded(u, 20, backend, allow=allowed, exclude=[np.flatnonzero(one) for one in taken])
    assert_array_equal(expanded.rows, found.rows)


@pytest.mark.parametrize("ids", [NAMES, np.arange(N) * 7 + 2**40, np.arange(N, dtype=np.uint64) + 2**63])
def test_by_ids(ids):
    index, queries = make_index(ids=ids), make_vectors(Q, seed=2)
    ids = np.asarray(ids)
    allowed, taken = RNG.random(N) < 0.3, RNG.random((Q, N)) < 0.4
    found = index.search(queries, 20, allow=ids[allowed], exclude=[ids[one].tolist() for one in taken])
    for ours, wanted in zip(found, masked(index, queries, 20, allowed, taken), strict=True):
        assert_array_equal(ours, wanted)
    unknown = ["no such item"] if ids.dtype.kind == "U" else [5]
    assert (index.search(queries, 3, allow=unknown).rows == -1).all()
    assert_array_equal(index.search(queries, 3, exclude=[unknown] * Q).rows, index.search(queries, 3).rows)


def test_the_next_page_is_what_is_found_without_the_first():
    index, queries = make_index(ids=NAMES), make_vectors(Q, seed=2)
    all_ = index.search(queries, N)
    first = index.search(queries, 250)
    second = index.search(queries, 100, exclude=first.ids)
    assert_array_equal(second.rows[:, : N - 250], all_.rows[:, 250:])
    assert (second.ids[:, N - 250 :] == None).all()  # noqa: E711
    assert (
        index.search(queries, 3, exclude=[[*a, *b] for a, b in zip(first.ids, second.ids, strict=True)]).rows < 0
    ).all()


def test_no_queries():
    index = make_index()
    assert index.search(make_vectors(0), 3, allow=[1], exclude=[]).rows.shape == (0, 3)


@pytest.mark.parametrize(
    ("filters", "message"),
    [
        ({"allow": np.ones(N - 1, bool)}, f"allow must be {N} booleans"),
        ({"allow": [N]}, rf"allow holds the row {N}, which is outside 0\.\.{N - 1}"),
        ({"exclude": [[1]]}, f"exclude must be one list of ids a query, {Q} of them, not 1"),
        ({"exclude": scipy.sparse.csr_matrix((Q, N - 1))}, f"exclude must be a matrix of {Q} queries and {N} rows"),
    ],
)
def test_filters_that_do_not_fit_are_refused_before_anything_is_searched(filters, message, monkeypatch):
    index, queries = make_index(), make_vectors(Q, seed=2)
    monkeypatch.setattr(index_module.host, "search", None)
    with pytest.raises(InputError, match=message):
        index.search(queries, 3, "host", **filters)
