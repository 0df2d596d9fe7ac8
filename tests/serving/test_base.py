"""What engines get of an index, and what judges their answers, against dense products and our own search."""

import dataclasses
import datetime

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from retrieval.test_index import make_index, make_vectors, make_weights

from compressae_jax import compression
from compressae_jax.codes.codes import Codes
from compressae_jax.codes.spaces import SPACES
from compressae_jax.notation import InputError
from compressae_jax.retrieval.index import Index
from compressae_jax.serving import comparing, rescoring, signs, terms, uploaded
from compressae_jax.serving.stored import Stored, stored

N = 70


def dense(some: Stored, h: int) -> np.ndarray:
    matrix = np.zeros((len(some), h))
    matrix[np.repeat(np.arange(len(some)), np.diff(some.starts)), some.columns] = some.values
    return matrix


@pytest.mark.parametrize("similarity", ["cosine", "dot"])
@pytest.mark.parametrize("storage", ["float16", "packed4", "fast4"])
@pytest.mark.parametrize("space", SPACES)
def test_products_with_u_are_our_scores(space, storage, similarity):
    weights, x, queries = make_weights(), make_vectors(N), make_vectors(3, seed=2)
    index = Index(compression.encode(weights, x, storage=storage, similarity=similarity), weights, space)
    index.remove([0, 8])
    parts = list(stored(index, size=32))
    assert [len(part) for part in parts] == [30, 32, 6]
    u = index.expander.expand(queries)
    products = u @ np.concatenate([dense(part, index.codes.h) for part in parts]).T
    ours = index.search(queries, N - 2)
    numbers = np.concatenate([part.ids for part in parts])
    by_number = np.zeros((3, N), np.float32)
    by_number[:, numbers] = products
    assert_allclose(ours.scores, np.take_along_axis(by_number, ours.rows, axis=1), rtol=1e-5, atol=1e-5)
    for part in parts:
        assert part.values.all()
        for i in range(len(part)):
            assert (np.diff(part.columns[part.starts[i] : part.starts[i + 1]]) > 0).all()


def test_one_stored_vector_serves_both_accurate_spaces():
    (one,), (other,) = (list(stored(make_index(space), "drop")) for space in ("reconstructed", "dense_query"))
    assert all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))
    assert len(one) == 299 and 4 not in one.ids  # the zero row


def test_what_engines_would_take_silently_is_refused():
    weights = make_weights()
    with pytest.raises(InputError, match=r"id 4 has no nonzero.*zero_rows='drop'"):
        list(stored(make_index("sparse")))
    values, columns = np.ones((3, 2), np.float32), np.array([[0, 1], [2, 2], [3, 4]], np.uint16)
    ids = ["a", "b", "c"]
    with pytest.raises(InputError, match="id 'b' has a column twice"):
        list(stored(Index(Codes(values, columns, weights.h), weights, "sparse", ids)))
    columns[1] = 0, 5
    nan = Codes(values.copy(), columns, weights.h, norms=np.ones((3, 2), np.float32))
    nan.values[2, 1] = np.nan
    with pytest.raises(InputError, match="id 'c' has a number that is not finite"):
        list(stored(Index(nan, weights, "dense_query", ids, verify=False)))
    unused = Codes(np.array([[2.0, 0]], np.float32), np.array([[7, 7]], np.uint16), weights.h)
    (some,) = stored(Index(unused, weights, "sparse"))
    assert_array_equal(some.columns, [7])  # a place that a row does not use is no second one
    with pytest.raises(InputError, match="zero_rows"):
        list(stored(Index(unused, weights, "sparse"), "keep"))


def test_values_of_numpy_are_plain():
    for given, plain in (
        (np.float32(0.5), 0.5),
        (np.str_("a"), "a"),
        (np.datetime64("2026-11-26T21:00", "ns"), datetime.datetime(2026, 11, 26, 21)),
        (np.datetime64("2026-11-26"), datetime.date(2026, 11, 26)),
        (np.datetime64("NaT", "ns"), None),
        (None, None),
    ):
        found = uploaded.plain(given)
        assert found == plain and type(found) is type(plain)
    for given in (5, b"price < 5", ["price < 5"]):
        with pytest.raises(InputError, match="where must be a condition of SQL, a text, not"):
            uploaded.check_where(given)
    uploaded.check_where("price < 5")


def test_split_signs():
    rng = np.random.default_rng(0)
    row, query = rng.standard_normal(9).astype(np.float32), rng.standard_normal(9).astype(np.float32)
    columns = np.arange(9, dtype=np.uint16)

    def wide(columns, values):
        out = np.zeros(18)
        np.add.at(out, columns, values)
        return out

    stored_row = wide(*signs.split(columns, row))
    assert (stored_row >= 0).all()
    assert_allclose(stored_row @ wide(*signs.split_query(columns, query, signed=True)), row @ query, rtol=1e-5)
    positive = wide(*signs.split_query(columns, query, signed=False))
    assert (positive >= 0).all()
    same = row * query > 0
    assert_allclose(stored_row @ positive, (row * query)[same].sum(), rtol=1e-5)


def test_largest_terms():
    u = np.array([[0, -3, 2, 3, 0, -1], [0, 0, 0, 0, 0, 5]], np.float32)
    first, second = terms.largest(u, 2)
    assert_array_equal(first.columns, [1, 3])
    assert_array_equal(first.weights, [-3, 3])
    assert_array_equal(terms.largest(u, 1)[0].columns, [1])  # of equal magnitudes the lower column
    assert_array_equal(second.columns, [5])
    assert_array_equal(terms.largest(u)[0].columns, [1, 2, 3, 5])
    for wrong in (0, 7):
        with pytest.raises(InputError, match="terms must be an integer from 1 to 6"):
            terms.largest(u, wrong)


@pytest.mark.parametrize("named", [False, True])
def test_rescored_candidates_are_our_answers(named):
    index, queries = make_index("dense_query"), make_vectors(4, seed=2)
    queries[2] = 0
    if named:
        index = Index(index.codes, index.weights, index.space, [f"i{i}" for i in range(300)])
    u, ours = index.expander.expand(queries), index.search(queries, 6)
    wide = index.search(queries, 50)
    shuffled = wide.ids if named else wide.rows
    shuffled = shuffled[:, ::-1]
    found = rescoring.rescored(index, u, shuffled, 6)
    assert_array_equal(found.rows, ours.rows)
    assert_allclose(found.scores, ours.scores, atol=1e-6)
    assert (found.ids is None) == (not named)
    if named:
        assert_array_equal(found.ids, ours.ids)
    index.remove([ours.ids[0, 0] if named else int(ours.rows[0, 0])])
    assert_array_equal(rescoring.rescored(index, u, shuffled, 5).rows[0], ours.rows[0, 1:])


def test_compare_counts_what_is_missing_tied_and_unknown():
    index, queries = make_index("dense_query"), make_vectors(5, seed=2)
    index = Index(index.codes, index.weights, index.space, [f"i{i}" for i in range(300)])
    queries[3] = 0  # finds nothing, and counts nowhere
    ours = index.search(queries, 100)
    assert comparing.compare(index, ours, queries) == ({10: 1, 100: 1}, {10: 1, 100: 1}, 0, 0)
    worse = ours.ids.copy()
    worse[0, 0], worse[1, 0] = None, "gone"
    found = comparing.compare(index, worse, queries)
    assert_allclose([found.recall[10], found.recall[100]], [1 - 0.2 / 4, 1 - 0.02 / 4])
    assert (found.short, found.unknown) == (1, 1)
    twice = ours.ids.copy()
    twice[:, 1] = twice[:, 0]
    assert_allclose(comparing.compare(index, twice, queries).with_ties[10], 0.9)


def test_an_answer_with_a_tie_for_ours_counts_apart():
    index, queries = make_index("dense_query", 50), make_vectors(2, seed=2)
    rows = index.codes
    double = dataclasses.replace(
        rows,
        values=np.concatenate([rows.values] * 2),
        columns=np.concatenate([rows.columns] * 2),
        norms=np.concatenate([rows.norms] * 2),
    )
    index = Index(double, index.weights, index.space)
    ours = index.search(queries, 9)  # five rows, of which the last one's twin is left out
    swapped = ours.rows.copy()
    swapped[:, 8] = np.where(swapped[:, 8] < 50, swapped[:, 8] + 50, swapped[:, 8] - 50)
    found = comparing.compare(index, swapped, queries)
    assert_allclose([found.recall[9], found.with_ties[9]], [8 / 9, 1])
    with pytest.raises(InputError, match="found must be ids"):
        comparing.compare(index, ours.rows[:1], queries)
