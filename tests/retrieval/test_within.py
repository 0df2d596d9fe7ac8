import numpy as np
import pytest
from compression.test_to_folder import make_vectors
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from retrieval.test_segments import KINDS, N, make

from compressae_jax.codes.spaces import SPACES
from compressae_jax.notation import InputError
from compressae_jax.retrieval.backends import within as backend


def wanted(index, queries, at_least, **options):
    """By a search for all rows."""
    scores, rows = index.search(queries, N, **options)
    kept = (scores >= at_least) & (rows >= 0)
    return np.concatenate([[0], np.cumsum(kept.sum(axis=1))]), scores[kept], rows[kept]


@pytest.mark.parametrize("storage", ["float16", "packed4", "fast4"])
@pytest.mark.parametrize("space", SPACES)
def test_all_rows_at_or_above_a_cosine(space, storage, monkeypatch):
    monkeypatch.setattr(backend, "PAIRS", 2**9)  # several chunks
    index = make(range(N), storage=storage, space=space)
    for q in (1, 3, 70):
        queries = make_vectors(q, seed=2)
        scores, _ = index.search(queries, N)
        for at_least in (-2, float(scores[0, 5]), float(np.median(scores)), 2):  # one of them a row's own score
            found = index.within(queries, at_least)
            for mine, theirs in zip(found, wanted(index, queries, at_least), strict=True):
                assert_array_equal(mine, theirs)
            assert len(found) == q and found.ids is None
            assert_array_equal(found.to_csr(N).toarray() != 0, _matrix(found, q) != 0)


def _matrix(found, q):
    dense = np.zeros((q, N), np.float32)
    for i in range(q):
        here = slice(*found.indptr[i : i + 2])
        dense[i, found.rows[here]] = found.scores[here]
    return dense


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(0, N - 1), unique=True), st.lists(st.integers(0, N - 1)))
def test_rows_that_are_gone_or_not_allowed_are_not_there(gone, allow):
    index, queries = make(range(N), "texts"), make_vectors(3, seed=2)
    index.remove(KINDS["texts"](gone))
    found = index.within(queries, 0.1, allow=KINDS["texts"](allow))
    for mine, theirs in zip(found, wanted(index, queries, 0.1, allow=KINDS["texts"](allow)), strict=True):
        assert_array_equal(mine, theirs)
    assert list(found.ids) == [f"item {row}" for row in found.rows]


def test_a_zero_query_finds_nothing_and_no_query_is_no_error():
    index, queries = make(range(N)), make_vectors(3, seed=2)
    queries[1] = 0
    assert np.diff(index.within(queries, -2).indptr).tolist() == [N, 0, N]
    indptr, scores, rows = index.within(queries[:0], 0)
    assert (indptr.tolist(), len(scores), len(rows)) == ([0], 0, 0)
    for at_least in (np.nan, np.inf, True):
        with pytest.raises(InputError, match="at_least must be a finite number"):
            index.within(queries, at_least)
