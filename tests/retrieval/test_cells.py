import os
import pickle
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from compression.test_to_folder import make_vectors, make_weights
from numpy.testing import assert_array_equal

from compressae_jax import compression
from compressae_jax.base import threads
from compressae_jax.codes import on_host
from compressae_jax.codes.spaces import SPACES
from compressae_jax.codes.storage import kinds
from compressae_jax.model import encoders
from compressae_jax.notation import FolderError, InputError
from compressae_jax.retrieval import folder_changes
from compressae_jax.retrieval.backends import cells as backend
from compressae_jax.retrieval.index import Index

N, Q, TOP, CELLS = 700, 9, 7, 12
STORAGES = ("float16", "float32", "packed3", "packed4", "fast4")


def make(storage="fast4", space="dense_query", similarity="cosine", n=N, ids=None):
    weights, encoder = make_weights(), "topk"
    vectors = make_vectors(n) * (np.linspace(0.5, 3, n)[:, None] if similarity == "dot" else 1)
    if storage in kinds.PACKINGS:
        encoders.learn_levels(weights, encoder, storage, lambda: vectors, similarity=similarity)
    rows = compression.encode(weights, vectors, storage, encoder, similarity=similarity)
    return Index(rows, weights, space, ids)


def with_cells(**how):
    return make(**how).with_cells(CELLS, progress=False)


def cells_of(index):
    return np.concatenate([part.grouping.cells_of for part in index._segments.parts])


def probed(index, queries, probes):
    """The oracle: which rows lie in the cells that are nearest by dense products, or are spilled into them."""
    decoder_w = index.weights.params["decoder_w"]
    units = on_host.unit_rows(on_host.reconstruct(index._segments.cells.centroids, decoder_w))
    directions = (
        queries
        if index.space == "dense_query"
        else on_host.reconstruct(compression.encode(index.weights, queries), decoder_w)
    )
    nearest = np.argsort(-(directions @ units.T), axis=1, kind="stable")[:, :probes]
    return np.stack([np.isin(cells_of(index), some).any(axis=1) for some in nearest])


@pytest.mark.parametrize("similarity", ["cosine", "dot"])
@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("storage", STORAGES)
def test_all_cells_are_the_exact_answer_bit_for_bit(storage, space, similarity):
    index, queries = with_cells(storage=storage, space=space, similarity=similarity), make_vectors(Q, seed=2)
    index.add(make_vectors(30, seed=3))
    index.remove([5, 6, 701])
    u, segments = index.expander.expand(queries), index._segments
    parts = [
        backend.Grouped(part.rows, part.grouping, first)
        for part, first in zip(segments.parts, segments.firsts, strict=False)
    ]
    exact = index.search(queries, TOP)
    scores, rows = backend.search(
        segments.cells, parts, space, u, index._scorer(segments)._nearby(u), TOP, CELLS, allowed=segments.allowed
    )
    assert_array_equal(rows, exact.rows)
    assert_array_equal(index._scorer(segments).clipped(scores), exact.scores)
    assert_array_equal(index.search(queries, TOP, probes=CELLS).rows, exact.rows)


@pytest.mark.parametrize("space", ["dense_query", "reconstructed"])
@pytest.mark.parametrize("storage", ["float16", "packed4", "fast4"])
def test_the_best_rows_of_the_nearest_cells_are_found(storage, space):
    index, queries = with_cells(storage=storage, space=space), make_vectors(Q, seed=2)
    found = index.search(queries, TOP, probes=4)
    for i, there in enumerate(probed(index, queries, 4)):
        wanted = index.search(queries[i : i + 1], TOP, allow=there)
        assert_array_equal(found.rows[i], wanted.rows[0])
        assert_array_equal(found.scores[i], wanted.scores[0])


@pytest.mark.parametrize("similarity", ["cosine", "dot"])
def test_rows_lie_in_the_cell_of_the_nearest_centroid_and_are_spilled_where_the_error_is_another(similarity):
    index = with_cells(similarity=similarity)
    decoder_w = index.weights.params["decoder_w"]
    units = on_host.unit_rows(on_host.reconstruct(index._segments.cells.centroids, decoder_w)).astype(np.float64)
    rows = on_host.unit_rows(on_host.reconstruct(index.codes.codes(), decoder_w)).astype(np.float64)
    nearest = (rows @ units.T).argmax(axis=1)
    assert_array_equal(cells_of(index)[:, 0], nearest)
    assert len(np.unique(nearest)) > CELLS // 2
    errors = rows[:, None] - units
    first = errors[np.arange(N), nearest]
    along = np.einsum("ncd,nd->nc", errors, first / np.linalg.norm(first, axis=1, keepdims=True))
    costs = (errors**2).sum(axis=2) + along**2
    costs[np.arange(N), nearest] = np.inf
    assert_array_equal(cells_of(index)[:, 1], costs.argmin(axis=1))


def test_one_cell_alone_has_every_row_once():
    index = make().with_cells(1, progress=False)
    assert_array_equal(cells_of(index), 0)
    assert len(index._segments.parts[0].grouping.order) == N
    assert_array_equal(
        index.search(make_vectors(3, seed=2), TOP, probes=1).rows, index.search(make_vectors(3, seed=2), TOP).rows
    )


def test_equal_rows_come_by_their_numbers_wherever_they_were_added():
    index = with_cells(storage="float16")
    index.add(index.codes[:40])  # each of them twice
    found = index.search(make_vectors(40), 2, probes=2)
    assert (found.scores[:, 0] == found.scores[:, 1]).any()
    equal = found.scores[:, 0] == found.scores[:, 1]
    assert (found.rows[equal, 0] < found.rows[equal, 1]).all()


def test_a_query_finds_the_same_in_any_company_and_with_any_threads(monkeypatch):
    index, queries = with_cells(), make_vectors(Q, seed=2)
    whole = index.search(queries, TOP, probes=3)
    for number in ("1", "3"):
        monkeypatch.setenv(threads.VARIABLE, number)
        assert_array_equal(index.search(queries, TOP, probes=3).rows, whole.rows)
        again = make().with_cells(CELLS, progress=False)
        assert_array_equal(cells_of(again), cells_of(index))
        assert again._segments.cells.digest == index._segments.cells.digest
    for i in range(Q):
        assert_array_equal(index.search(queries[i : i + 1], TOP, probes=3).scores[0], whole.scores[i])
    with ThreadPoolExecutor(4) as pool:
        for found in pool.map(lambda _: index.search(queries, TOP, probes=3), range(8)):
            assert_array_equal(found.rows, whole.rows)
    assert_array_equal(pickle.loads(pickle.dumps(index)).search(queries, TOP, probes=3).rows, whole.rows)


@pytest.mark.parametrize(("storage", "seed"), [("float16", 0), ("packed4", 1), ("fast4", 2)])
def test_batches_and_threads_change_no_bit(storage, seed, monkeypatch):
    rng = np.random.default_rng(seed)
    index = make(storage=storage).with_cells(int(rng.integers(2, 90)), seed=seed, progress=False)
    index.add(index.codes[:50])
    index.remove(rng.choice(N, 100, replace=False))
    queries = make_vectors(16, seed=4)
    how = {"probes": int(rng.integers(1, index.cells)), "allow": np.isin(np.arange(N + 50) % 5, [0, 1, 3])}
    whole = index.search(queries, TOP, **how)
    for count, size in (("1", 16), ("2", 7), ("5", 1)):
        monkeypatch.setenv(threads.VARIABLE, count)
        parts = [index.search(queries[start : start + size], TOP, **how) for start in range(0, 16, size)]
        assert_array_equal(np.concatenate([part.rows for part in parts]), whole.rows)
        assert_array_equal(np.concatenate([part.scores for part in parts]), whole.scores)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_process_finds_the_same():
    index, queries = with_cells(), make_vectors(Q, seed=2)
    wanted = index.search(queries, TOP, probes=3).rows
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # JAX takes no part in it
        child = os.fork()
    if not child:
        os._exit(0 if (index.search(queries, TOP, probes=3).rows == wanted).all() else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_filters_and_rescoring_work_within_cells():
    index, queries = with_cells(), make_vectors(Q, seed=2)
    allow = np.arange(N) % 2 == 0
    found = index.search(queries, TOP, allow=allow, probes=3)
    assert (found.rows % 2 == 0).all()
    taken = index.search(queries, TOP, probes=3).rows[:, :2].tolist()
    left = index.search(queries, TOP, exclude=taken, probes=3)
    assert not any(set(some) & set(others) for some, others in zip(taken, left.rows.tolist(), strict=True))
    assert (left.rows >= 0).all()  # more cells are searched until enough are left
    few = np.arange(N) < 20
    assert_array_equal(index.search(queries, TOP, allow=few, probes=2).rows, index.search(queries, TOP, allow=few).rows)
    rescored = index.search(make_vectors(5), 1, rescore=make_vectors(N), probes=3)
    assert_array_equal(rescored.rows[:, 0], np.arange(5))


def test_so_many_cells_are_searched_that_they_hold_enough_rows():
    index, queries = with_cells(), make_vectors(Q, seed=2)
    found = index.search(queries, 300, probes=1)
    assert (found.rows >= 0).all()
    assert_array_equal(np.sort(index.search(queries, N, probes=1).rows), np.tile(np.arange(N), (Q, 1)))


def test_cells_cost_ten_bytes_a_row_and_their_centroids():
    plain, index = make(), with_cells()
    centroids = index._segments.cells.nbytes
    assert index.nbytes - plain.nbytes == 10 * N + 8 * (2 * CELLS + 1) + centroids
    assert index.cells == CELLS
    assert plain.cells == 0


def test_additions_removals_and_compaction_keep_the_cells():
    index = with_cells(storage="float16")
    index.add(make_vectors(900, seed=1)[N:])
    whole = Index(index.codes, index.weights)
    assert_array_equal(cells_of(index)[:N], cells_of(with_cells(storage="float16")))
    index.remove(range(100, 200))
    kept = np.delete(cells_of(index), range(100, 200), axis=0)
    index.compact()
    assert_array_equal(cells_of(index), kept)
    assert len(whole) == 900
    index.remove(range(len(index)))
    index.compact()
    index.add(make_vectors(40))
    assert (index.search(make_vectors(3), 2, probes=1).rows >= 0).all()


@pytest.mark.parametrize("storage", ["float16", "packed4", "fast4"])
def test_a_folder_keeps_the_cells_and_writes_only_what_is_new(tmp_path, storage):
    index, queries = with_cells(storage=storage), make_vectors(Q, seed=2)
    index.save(tmp_path / "index")
    again = Index.load(tmp_path / "index")
    assert_array_equal(again.search(queries, TOP, probes=3).rows, index.search(queries, TOP, probes=3).rows)
    assert again.nbytes == index.nbytes
    again.add(make_vectors(30, seed=3))
    again.remove([1, 2])
    again.save(tmp_path / "index")
    assert sorted(os.listdir(tmp_path / "index" / "cells")) == ["000001-1.npy", "000002-2.npy", "centroids-1"]
    third = Index.load(tmp_path / "index", verify=False)
    assert_array_equal(third.search(queries, TOP, probes=3).rows, again.search(queries, TOP, probes=3).rows)
    folder_changes.compact(tmp_path / "index", progress=False)
    assert_array_equal(cells_of(Index.load(tmp_path / "index")), np.delete(cells_of(again), [1, 2], axis=0))
    other = third.with_cells(5, progress=False)
    other.save(tmp_path / "other")
    assert Index.load(tmp_path / "other").cells == 5


def test_an_index_without_cells_has_the_older_version(tmp_path):
    make().save(tmp_path / "index")
    text = (tmp_path / "index" / "index.json").read_text()
    assert '"format_version": 2' in text
    assert '"cells"' not in text
    index = Index.load(tmp_path / "index").with_cells(CELLS, progress=False)
    index.save(tmp_path / "index")  # cells alone are new
    assert '"format_version": 3' in (tmp_path / "index" / "index.json").read_text()
    assert Index.load(tmp_path / "index").cells == CELLS


@pytest.mark.parametrize("name", ["000001-1.npy", "centroids-1/values.npy", "centroids-1/meta.json"])
@pytest.mark.parametrize("damage", ["missing", "shorter", "another"])
def test_a_damaged_or_missing_file_of_cells_is_an_error(tmp_path, name, damage):
    with_cells().save(tmp_path / "index")
    path = tmp_path / "index" / "cells" / name
    content = path.read_bytes()
    path.unlink()
    if damage != "missing":
        path.write_bytes(content[:-1] if damage == "shorter" else content[:-3] + b"\x07" + content[-2:])
    with pytest.raises(FolderError, match=str(path.parent) if "/" in name else str(path)):
        Index.load(tmp_path / "index")


def test_recall_is_that_of_the_rows_and_enough_probes_reach_it():
    index, queries = with_cells(), make_vectors(40, seed=2)
    curve = index.recall(queries, TOP, [1, 4, CELLS])
    assert curve[1].mean < curve[4].mean < curve[CELLS].mean == 1
    exact, some = index.search(queries, TOP).rows, index.search(queries, TOP, probes=4).rows
    share = np.mean([len(set(a) & set(b)) / TOP for a, b in zip(exact.tolist(), some.tolist(), strict=True)])
    assert index.recall(queries, TOP, 4).mean == pytest.approx(share)
    assert curve[4].low < share < curve[4].high
    enough = index.probes_for(queries, 0.8, TOP)
    assert index.recall(queries, TOP, enough).mean >= 0.8 > index.recall(queries, TOP, enough - 1).mean
    assert list(index.recall(queries, TOP)) == [1, 2, 4, 8]


def test_what_is_not_possible_is_refused():
    index, queries = with_cells(), make_vectors(Q, seed=2)
    with pytest.raises(InputError, match=r"with_cells\(\)"):
        make().search(queries, probes=3)
    with pytest.raises(InputError, match=r"with_cells\(\)"):
        make().recall(queries, probes=3)
    for probes in (0, CELLS + 1):
        with pytest.raises(InputError, match="probes"):
            index.search(queries, probes=probes)
    for name in ("scan", "bcoo"):
        with pytest.raises(InputError, match="host"):
            index.search(queries, backend=name, probes=3)
    for cells in (0, N + 1):
        with pytest.raises(InputError, match="cells"):
            make().with_cells(cells)
    with pytest.raises(InputError, match="rows"):
        Index(make().codes[:0], make_weights()).with_cells()
    with pytest.raises(InputError, match="recall"):
        index.probes_for(queries, 1.5)
    with pytest.raises(InputError, match="probes"):
        index.recall(queries, probes=[])
