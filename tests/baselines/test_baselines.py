"""One test for all baselines: same signature, bytes that are counted, exact search of the form that is stored."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from compressae_jax.baselines import dense, flat, int8, pca, pq, truncation
from compressae_jax.baselines.units import unit_rows
from compressae_jax.notation import InputError

D, N = 24, 301
FITS = {
    "dense": (dense.fit, dense.largest),
    "truncation": (truncation.fit, truncation.largest),
    "pca": (pca.fit, pca.largest),
    "pca_int8": (pca.fit_int8, pca.largest_int8),
    "int8": (int8.fit, int8.largest),
    "pq": (pq.fit, pq.largest),
}


@pytest.fixture(scope="module")
def vectors():
    rng = np.random.default_rng(0)
    spread = 1 / np.arange(1, D + 1)  # falling variances, and a mean, as embeddings have them
    rows = (rng.normal(size=(N, D)) * spread + 0.1).astype(np.float32)
    rows[7] = rows[3]
    rows[11] = 0
    return rows


@pytest.fixture(scope="module", params=FITS)
def baseline(request, vectors):
    if request.param == "pq":
        pytest.importorskip("faiss")
    return FITS[request.param][0](vectors).add(vectors[:100]).add(vectors[100:])


def test_every_stored_byte_is_counted(baseline, vectors):
    stored = baseline.encode(vectors)
    assert len(stored) == len(baseline) == N
    assert stored.nbytes == N * baseline.bytes_per_vector


@pytest.mark.parametrize("top", [1, 10, N])
def test_search_is_exact_on_what_is_stored(baseline, vectors, top, monkeypatch):
    monkeypatch.setattr(flat, "ROWS", 64)  # blocks that neither the pieces nor n are multiples of
    monkeypatch.setattr(flat, "QUERIES", 4)
    queries = vectors[:9] * 3

    scores, rows = baseline.search(queries, top)

    unpacked = baseline._storage.unpack(baseline.encode(vectors))
    exact = baseline._reduce(queries).astype(np.float64) @ unpacked.T
    assert scores.dtype == np.float32 and rows.dtype == np.int64
    assert_allclose(scores, np.take_along_axis(exact, rows, axis=1), atol=1e-6)
    assert_allclose(scores, -np.sort(-exact, axis=1)[:, :top], atol=1e-6)
    assert all(len(set(row)) == top for row in rows)


def test_equal_rows_come_by_number(baseline, vectors):
    _, rows = baseline.search(vectors[3:4], N)
    place = rows[0].tolist().index
    assert place(3) < place(7)


def test_the_full_form_finds_the_dense_neighbours(baseline, vectors):
    exact = unit_rows(vectors[:50]) @ unit_rows(vectors).T
    truth = np.argsort(-exact, axis=1)[:, :20]
    _, rows = baseline.search(vectors[:50], 20)
    share = np.mean([len(np.intersect1d(a, b)) / 20 for a, b in zip(rows, truth, strict=True)])
    assert share > (0.5 if baseline.name == "PQ" else 0.95)


def test_no_queries(baseline):
    scores, rows = baseline.search(np.zeros((0, D), np.float32), 3)
    assert scores.shape == rows.shape == (0, 3)


@pytest.mark.parametrize("top", [0, N + 1])
def test_refuses_a_top_out_of_range(baseline, vectors, top):
    with pytest.raises(InputError, match=rf"top must be an integer from 1 to {N}, not {top}"):
        baseline.search(vectors, top)


def test_refuses_another_width(baseline, vectors):
    with pytest.raises(InputError, match=f"queries must have width {D}, as fitted, not {D - 1}"):
        baseline.search(vectors[:, 1:], 1)
    with pytest.raises(InputError, match=f"vectors must have width {D}"):
        baseline.add(vectors[:, 1:])


@pytest.mark.parametrize("name", FITS)
def test_refuses_a_budget_that_is_too_large(name, vectors):
    fit, largest = FITS[name]
    with pytest.raises(InputError, match=f"budget must be an integer from .* to {largest(D)}, not {largest(D) + 1}"):
        fit(vectors, largest(D) + 1)


@pytest.mark.parametrize("name", ["truncation", "pca", "pca_int8", "pq"])
@pytest.mark.parametrize("budget", [5, 10, 23])  # no multiples of four, nor divisors of the width
def test_a_budget_is_kept_and_used(name, budget, vectors):
    if name == "pq":
        pytest.importorskip("faiss")
    step = 4 if name in ("truncation", "pca") else 1
    assert FITS[name][0](vectors, budget).bytes_per_vector == budget - budget % step


def test_rows_that_come_piece_by_piece_need_not_be_added(baseline, vectors):
    pieces = (baseline.encode(vectors[start : start + 13]) for start in range(0, N, 13))
    streamed = baseline.search_stored(vectors[:5], pieces, 10)
    assert_array_equal(streamed[1], baseline.search(vectors[:5], 10)[1])
