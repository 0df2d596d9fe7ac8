"""One test for all baselines: same signature, bytes that are counted, exact search of the form that is stored."""

import itertools
import sys

import numpy as np
import pytest
import scipy.sparse
from numpy.testing import assert_allclose, assert_array_equal

from compressae_jax.baselines import (
    binary,
    dense,
    flat,
    int8,
    itq,
    lsq,
    matryoshka,
    opq,
    pca,
    pq,
    prq,
    rabitq,
    rq,
    sq,
    transform,
    truncation,
)
from compressae_jax.baselines.units import unit_rows
from compressae_jax.notation import InputError

D, N = 24, 301
FITS = {
    "dense": (dense.fit, dense.largest),
    "truncation": (truncation.fit, truncation.largest),
    "matryoshka": (matryoshka.fit, matryoshka.largest),
    "matryoshka_float16": (matryoshka.fit_float16, matryoshka.largest_float16),
    "matryoshka_int8": (matryoshka.fit_int8, matryoshka.largest_int8),
    "pca": (pca.fit, pca.largest),
    "pca_int8": (pca.fit_int8, pca.largest_int8),
    "pca_int4": (pca.fit_int4, pca.largest_int4),
    "transform": (transform.fit, transform.largest),
    "itq": (itq.fit, itq.largest),
    "int8": (int8.fit, int8.largest),
    "sq": (sq.fit, sq.largest),
    "binary": (binary.fit, binary.largest),
    "rabitq": (rabitq.fit, rabitq.largest),
    "pq": (pq.fit, pq.largest),
    "opq": (opq.fit, opq.largest),
    "rq": (rq.fit, rq.largest),
    "prq": (prq.fit, prq.largest),
    "lsq": (lsq.fit, lsq.largest),
}
LEARNED = ("pq", "opq", "rq", "prq", "lsq")  # one-byte codebooks
FAISS = (*LEARNED, "sq", "rabitq")
DRAWN = (*LEARNED, "rabitq", "binary", "itq", "matryoshka")  # take a seed


@pytest.fixture(scope="module", autouse=True)
def few_steps():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(matryoshka, "STEPS", 3)
        patch.setattr(matryoshka, "BATCH", 100)
        yield


def fit(name, *arguments, **options):
    if name in FAISS:
        pytest.importorskip("faiss")
    return FITS[name][0](*arguments, **options)


def embeddings(n, seed):
    spread = 1 / np.arange(1, D + 1)  # falling variances, and a mean
    return (np.random.default_rng(seed).normal(size=(n, D)) * spread + 0.1).astype(np.float32)


@pytest.fixture(scope="module")
def vectors():
    rows = embeddings(N, seed=0)
    rows[11] = 0
    return rows


@pytest.fixture(scope="module", params=FITS)
def baseline(request, vectors):
    return fit(request.param, vectors).add(vectors[:100]).add(vectors[100:])


def stored(baseline):
    return np.concatenate(baseline._stored)


def test_every_stored_byte_is_counted(baseline, vectors):
    encoded = baseline.encode(vectors)
    assert len(encoded) == len(baseline) == N
    assert encoded.nbytes == N * baseline.bytes_per_vector


@pytest.mark.parametrize("top", [1, 10, N])
def test_excluded_rows_are_never_found(baseline, top, monkeypatch):
    monkeypatch.setattr(flat, "ROWS", 60)
    monkeypatch.setattr(flat, "QUERIES", 2)
    queries = embeddings(5, seed=3)
    taken = np.random.default_rng(top).random((5, N)) < np.array([[0], [0.1], [0.5], [0.99], [1]])

    scores, rows = baseline.search(queries, top, exclude=scipy.sparse.csr_matrix(taken))

    for i, (all_scores, all_rows) in enumerate(zip(*baseline.search(queries, N), strict=True)):
        left = ~taken[i, all_rows]
        fill = top - min(top, left.sum())
        assert_array_equal(rows[i], np.pad(all_rows[left][:top], (0, fill), constant_values=-1))
        assert_array_equal(scores[i], np.pad(all_scores[left][:top], (0, fill), constant_values=-np.inf))


@pytest.mark.parametrize("top", [1, 10, N])
def test_search_is_exact_on_what_is_stored(baseline, vectors, top, monkeypatch):
    monkeypatch.setattr(flat, "ROWS", 64)  # blocks that neither the pieces nor n are multiples of
    monkeypatch.setattr(flat, "QUERIES", 4)
    queries = vectors[:9] * 3

    scores, rows = baseline.search(queries, top)

    unpacked = baseline.storage.unpack(stored(baseline))
    exact = baseline._reduce(queries).astype(np.float64) @ unpacked.T
    assert scores.dtype == np.float32 and rows.dtype == np.int64
    assert_allclose(scores, np.take_along_axis(exact, rows, axis=1), atol=1e-6)
    assert_allclose(scores, -np.sort(-exact, axis=1)[:, :top], atol=1e-6)
    assert all(len(set(row)) == top for row in rows)


def test_equal_rows_come_by_number(baseline, vectors):
    _, rows = baseline.search_stored(vectors[3:4], [stored(baseline)] * 2, 2 * N)
    place = np.argsort(rows[0])
    assert (place[:N] < place[N:]).all()


def test_the_full_form_finds_the_dense_neighbours(baseline, vectors):
    exact = unit_rows(vectors[:50]) @ unit_rows(vectors).T
    truth = np.argsort(-exact, axis=1)[:, :20]
    _, rows = baseline.search(vectors[:50], 20)
    share = np.mean([len(np.intersect1d(a, b)) / 20 for a, b in zip(rows, truth, strict=True)])
    floors = {"binary": 0.4, "PCA int4": 0.8, "ITQ": 0.8} | dict.fromkeys(("PQ", "OPQ", "RQ", "PRQ", "LSQ"), 0.5)
    assert share > floors.get(baseline.name, 0.95)


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
    if name in FAISS:
        pytest.importorskip("faiss")
    largest = FITS[name][1](D)
    with pytest.raises(InputError, match=f"budget must be an integer from .* to {largest}, not {largest + 1}"):
        fit(name, vectors, largest + 1)


@pytest.mark.parametrize(
    ("name", "budget"),
    [
        *itertools.product(
            ["truncation", "pca", "pca_int8", "matryoshka_float16", "pq", "opq", "transform"], [5, 10, 23]
        ),
        *itertools.product(["rq", "prq"], [5, 7]),  # stages cost the more the more there are: half a minute for 23
    ],
)  # no multiples of four, nor divisors of the width
def test_a_budget_is_kept_and_used(name, budget, vectors):
    step = {"truncation": 4, "pca": 4, "matryoshka_float16": 2}.get(name, 1)
    assert fit(name, vectors, budget).bytes_per_vector == budget - budget % step


@pytest.mark.parametrize(
    ("name", "budgets"),
    [
        ("pca_int8", (4, 8, 24)),
        ("pca_int4", (2, 4, 12)),
        ("sq", (12, 18, 24)),
        ("binary", (1, 2)),
        ("transform", (2, 4, 8)),
        ("itq", (2, 4, 12)),
        ("rabitq", (10, 23, 47)),
        *((name, (1, 2, 3)) for name in LEARNED),
    ],
)
def test_more_bytes_find_more_of_rows_not_trained_on(name, budgets):
    queries, rows = embeddings(40, seed=1), embeddings(500, seed=2)
    truth = np.argsort(-unit_rows(queries) @ unit_rows(rows).T, axis=1)[:, :20]

    def recall(budget):
        found = fit(name, embeddings(600, seed=3), budget).add(rows).search(queries, 20)[1]
        return sum(len(np.intersect1d(*pair)) for pair in zip(found, truth, strict=True)) / truth.size

    found = [recall(budget) for budget in budgets]
    assert (np.diff(found) > 0.01).all()


@pytest.mark.parametrize("name", DRAWN)
def test_a_seed_repeats_and_another_differs(name, vectors):
    budget = {"rabitq": 11, "matryoshka": 8}.get(name, 2)
    first, again, other = (fit(name, vectors, budget, seed=seed).encode(vectors) for seed in (0, 0, 1))
    assert_array_equal(first, again)
    assert (first != other).any()


@pytest.mark.parametrize("name", LEARNED)
def test_too_few_vectors(name, vectors):
    with pytest.raises(InputError, match=f"{name.upper()} must be trained on at least 256 vectors, not 255"):
        fit(name, vectors[:255], 8)


@pytest.mark.parametrize("name", FAISS)
def test_without_faiss_the_error_names_the_extra(name, vectors, monkeypatch):
    monkeypatch.setitem(sys.modules, "faiss", None)  # what an import finds where the package is missing
    with pytest.raises(InputError, match=rf"'{name}' needs faiss: pip install 'compressae_jax\[bench\]'"):
        FITS[name][0](vectors, D)


def test_rows_that_come_piece_by_piece_need_not_be_added(baseline, vectors):
    if baseline.name == "LSQ":
        pytest.skip("its code of a row depends on the rows that are encoded with it")
    pieces = (baseline.encode(vectors[start : start + 13]) for start in range(0, N, 13))
    (scores, rows), (wanted, others) = baseline.search_stored(vectors[:5], pieces, 10), baseline.search(vectors[:5], 10)
    assert_allclose(scores, wanted, rtol=1e-3)
    # Products of another number of rows may round otherwise, by which rows of equal codes change places.
    places = np.abs(np.diff(wanted, axis=1)) > 1e-6
    apart = np.pad(places, ((0, 0), (1, 0)), constant_values=True) & np.pad(places, ((0, 0), (0, 1)))
    assert apart.any(axis=1).all()
    assert_array_equal(rows[apart], others[apart])
