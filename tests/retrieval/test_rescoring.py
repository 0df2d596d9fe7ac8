import numpy as np
import pytest
from compression.test_to_folder import D, make_vectors
from numpy.testing import assert_allclose, assert_array_equal
from retrieval.test_segments import KINDS, N, make

from compressae_jax import compression
from compressae_jax.data import open_source
from compressae_jax.notation import InputError
from compressae_jax.retrieval import rescoring

Q, TOP = 7, 5


def exact(vectors, queries, rows):
    """The best of some rows by float64 cosines."""
    x, y = (
        a / np.linalg.norm(a, axis=1, keepdims=True) for a in (vectors.astype(np.float64), queries.astype(np.float64))
    )
    scores = np.take_along_axis(y @ x.T, rows, axis=1)
    order = np.argsort(-scores, axis=1, kind="stable")[:, :TOP]
    return np.take_along_axis(scores, order, axis=1), np.take_along_axis(rows, order, axis=1)


@pytest.mark.parametrize("where", ["array", "npy"])
def test_candidates_are_ranked_by_exact_cosines(tmp_path, where, monkeypatch):
    monkeypatch.setattr(rescoring, "NUMBERS", 3 * 12 * D)  # three queries at a time
    index, x, queries = make(range(N)), make_vectors(N), make_vectors(Q, seed=2)
    np.save(tmp_path / "x.npy", x)
    given = x if where == "array" else tmp_path / "x.npy"
    found = index.search(queries, TOP, rescore=given, candidates=12)
    scores, rows = exact(x, queries, index.search(queries, 12).rows)
    assert_array_equal(found.rows, rows)
    assert_allclose(found.scores, scores, atol=1e-6)
    everything = index.search(queries, TOP, rescore=given)  # 200 candidates: more than there are rows
    assert_array_equal(everything.rows, exact(x, queries, np.tile(np.arange(N), (Q, 1)))[1])


def test_rows_are_looked_up_by_id_where_both_have_ids():
    index, queries = make(range(N), "texts"), make_vectors(Q, seed=2)
    gone = [3, 4, 10]
    index.remove(KINDS["texts"](gone))
    index.compact()
    order = np.random.default_rng(0).permutation(N)
    source = open_source(make_vectors(N)[order], ids=KINDS["texts"](order))
    found = index.search(queries, TOP, rescore=source)
    rest = np.setdiff1d(np.arange(N), gone)
    wanted = exact(make_vectors(N), queries, np.tile(rest, (Q, 1)))[1]
    assert found.ids.tolist() == [[f"item {i}" for i in some] for some in wanted]
    some = open_source(make_vectors(N)[:9], ids=KINDS["texts"](range(9)))
    with pytest.raises(InputError, match="has no vector of row"):
        index.search(queries, TOP, rescore=some)


def test_filters_hold_and_places_without_a_row_stay_so():
    index, x, queries = make(range(N)), make_vectors(N), make_vectors(Q, seed=2)
    queries[2] = 0
    found = index.search(queries, TOP, rescore=x, allow=[7, 8, 9], exclude=[[7]] * Q)
    for i in range(Q):
        assert set(found.rows[i]) == ({-1} if i == 2 else {8, 9, -1})
        assert np.isneginf(found.scores[i][found.rows[i] < 0]).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rescore": make_vectors(N)[:9]}, "has 9 rows, the index 60"),
        ({"rescore": make_vectors(N)[:, :5]}, "width 5, the model was trained on 12"),
        ({"candidates": 9}, "give rescore="),
        ({"rescore": make_vectors(N), "candidates": TOP - 1}, f"candidates must be an integer from {TOP}"),
    ],
)
def test_what_cannot_be_rescored(options, message):
    with pytest.raises(InputError, match=message):
        make(range(N)).search(make_vectors(Q), TOP, **options)


def test_codes_have_no_dense_vector_to_compare():
    index = make(range(N))
    with pytest.raises(InputError, match="must be vectors, not codes"):
        index.search(compression.encode(index.weights, make_vectors(Q)), TOP, rescore=make_vectors(N))
