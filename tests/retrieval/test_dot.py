"""Indexes that compare inner products: scores are cosines times both lengths, in every space, backend and storage."""

import numpy as np
import pytest
from compression.test_to_folder import make_vectors, make_weights
from numpy.testing import assert_allclose, assert_array_equal

import compressae_jax as cs
from compressae_jax import compression
from compressae_jax.codes.spaces import SPACES
from compressae_jax.data import open_source
from compressae_jax.notation import FolderError, InputError
from compressae_jax.retrieval import folder_changes
from compressae_jax.retrieval.found import merge
from compressae_jax.retrieval.index import Index, open_index

N, Q, TOP = 60, 5, 9
MODEL = cs.Model(make_weights())


def vectors(n=N, seed=1):
    """Vectors of lengths from 1/32 to 32."""
    x = make_vectors(n, seed=seed)
    return x * np.exp2(np.random.default_rng(seed).uniform(-5, 5, (n, 1))).astype(np.float32)


def lengths(x):
    return np.linalg.norm(x.astype(np.float64), axis=1)


def indexes(storage, space):
    """The same rows with lengths and without."""
    made = {"space": space, "storage": storage, "progress": False}
    return MODEL.index(vectors(), similarity="dot", **made), MODEL.index(vectors(), **made)


@pytest.mark.parametrize("storage", ["float16", "float32"])
@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("backend", ["host", "scan", "bcoo"])
def test_scores_are_cosines_times_both_lengths(storage, space, backend):
    dot, cosine = indexes(storage, space)
    queries, by_row = vectors(Q, seed=2), np.empty((Q, N))
    scores, rows = cosine.search(queries, N, backend)
    np.put_along_axis(by_row, rows, scores.astype(np.float64), axis=1)
    wanted = by_row * lengths(queries)[:, None] * lengths(vectors())
    found = dot.search(queries, N, backend)
    assert_allclose(found.scores, np.take_along_axis(wanted, found.rows, axis=1), rtol=1e-4, atol=1e-6)
    assert (np.diff(found.scores, axis=1) <= 0).all()
    assert found.scores.max() > 1  # nothing is clipped
    assert dot.similarity == "dot" and "inner products" in repr(dot) and cosine.similarity == "cosine"


@pytest.mark.parametrize("backend", ["host", "scan", "bcoo"])
def test_packed_values_have_the_lengths_in_them(backend):
    dot, queries = indexes("packed4", "dense_query")[0], vectors(Q, seed=2)
    z = MODEL.reconstruct(dot.codes).astype(np.float64)
    found = dot.search(queries, N, backend)
    exact = queries.astype(np.float64) @ z.T
    assert_allclose(found.scores, np.take_along_axis(exact, found.rows, axis=1), rtol=1e-4, atol=1e-5)
    # ⟨x, z⟩ is ‖x‖² n^1.5 with n the cosine of x to z, but for the rounding of short rows to levels for all.
    x = vectors().astype(np.float64)
    n = (x * z).sum(axis=1) / lengths(x) / lengths(z)
    long = lengths(x) > np.median(lengths(x))
    assert_allclose(((x * z).sum(axis=1) / lengths(x) ** 2)[long], n[long] ** 1.5, rtol=0.2)


def test_packed_rows_in_the_sparse_space_are_not_divided_by_their_length():
    dot, queries = indexes("packed4", "sparse")[0], vectors(Q, seed=2)
    found = dot.search(queries, N)
    exact = dot.expander.expand(queries).astype(np.float64) @ dot.codes.to_dense().T.astype(np.float64)
    assert_allclose(found.scores, np.take_along_axis(exact, found.rows, axis=1), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("storages", [("packed4", "fast4"), ("float32", "float16")])
def test_another_storage_keeps_the_lengths(storages):
    here, there = storages
    for space in SPACES:
        index, queries = indexes(here, space)[0], vectors(Q, seed=2)
        other = index.stored_as(there)
        assert (other.codes.storage, other.codes.similarity) == (there, "dot")
        same = index if here == "packed4" else indexes(there, space)[0]  # as if it had been compressed so
        assert_array_equal(other.search(queries, N).scores, same.search(queries, N).scores)


def test_lists_have_the_lengths_too():
    dot = indexes("float16", "sparse")[0]
    queries = vectors(Q, seed=2)
    wanted, found = dot.search(queries, TOP), dot.with_lists().search(queries, TOP, "lists")
    assert_array_equal(found.rows, wanted.rows)
    assert_allclose(found.scores, wanted.scores, rtol=1e-5)


@pytest.mark.parametrize("storage", ["float16", "packed4"])
def test_lengths_cost_no_bytes(storage):
    dot, cosine = indexes(storage, "dense_query")
    assert dot.bytes_per_vector == cosine.bytes_per_vector


@pytest.mark.parametrize("storage", ["float16", "packed4", "fast4"])
def test_additions_removals_and_folders_keep_the_lengths(tmp_path, storage):
    whole = indexes(storage, "dense_query")[0]
    x, queries = vectors(), vectors(Q, seed=2)
    model = cs.Model(whole.weights)  # its levels are those of all rows
    index = model.index(x[:20], storage=storage, similarity="dot", progress=False)
    index.add(x[20:50])
    index.save(tmp_path / "index")
    index.add(x[50:])
    index.save(tmp_path / "index")
    for one in (index, Index.load(tmp_path / "index")):
        for mine, theirs in zip(one.search(queries, TOP), whole.search(queries, TOP), strict=True):
            assert_array_equal(mine, theirs)
    with pytest.raises(InputError, match="similarity dot, here cosine"):
        index.add(model.compress(x[:3], storage=storage, progress=False))
    index.remove([3, 4])
    index.compact()
    index.save(tmp_path / "index")
    assert Index.load(tmp_path / "index").similarity == "dot" and len(index) == N - 2


@pytest.mark.parametrize("storage", ["float16", "packed4"])
def test_folders_and_parts_hold_the_bytes_of_one_go(tmp_path, storage):
    weights, source = indexes(storage, "dense_query")[0].weights, open_source(vectors(9000))
    how = {"storage": storage, "similarity": "dot", "progress": False}
    compression.to_folder(weights, source, tmp_path / "whole", **how)
    for i in (1, 2):
        compression.to_folder(weights, source, tmp_path / f"part{i}", (i, 2), **how)
    compression.join([tmp_path / "part1", tmp_path / "part2"], tmp_path / "joined")
    for file in ["records.npy"] if storage == "packed4" else ["lengths.npy", "values.npy"]:
        assert (tmp_path / "joined" / file).read_bytes() == (tmp_path / "whole" / file).read_bytes()
    index = open_index(tmp_path / "joined", weights)
    assert index.similarity == "dot"
    arrays = compression.encode_arrays(weights, vectors(9000)[:100], "topk", storage, similarity="dot")
    for name, array in index.codes[:100].arrays().items():
        assert_array_equal(arrays[name], array)
    again = compression.rows_of_arrays(weights, arrays, None, "topk", storage, "dot")
    assert again.similarity == "dot" and len(again) == 100
    with pytest.raises(FolderError, match="is there already"):
        compression.to_folder(weights, source, tmp_path / "whole", storage=storage, progress=False)


def test_an_index_folder_is_begun_and_added_to(tmp_path):
    weights, x = make_weights(), vectors()
    source = open_source(x)
    folder_changes.begin(tmp_path / "index", weights, source, "dense_query", similarity="dot")
    folder_changes.add(tmp_path / "index", source, progress=False)
    index, wanted = Index.load(tmp_path / "index"), MODEL.index(x, similarity="dot", progress=False)
    assert_array_equal(index.search(x[:Q], TOP).scores, wanted.search(x[:Q], TOP).scores)


def test_shards_give_what_one_index_gives():
    x, queries = vectors(), vectors(Q, seed=2)
    whole = MODEL.index(x, similarity="dot", progress=False)
    shards = [MODEL.index(some, similarity="dot", progress=False) for some in (x[:25], x[25:])]
    u = whole.expander.expand(queries)
    merged = merge([shard.search_expanded(u, TOP) for shard in shards], [0, 25], TOP)
    found = whole.search(queries, TOP)
    assert_array_equal(merged.rows, found.rows)
    assert_array_equal(merged.scores, found.scores)


def test_rescoring_ranks_by_exact_inner_products():
    x, queries = vectors(), vectors(Q, seed=2)
    found = indexes("float16", "dense_query")[0].search(queries, TOP, rescore=x)
    exact = queries.astype(np.float64) @ x.T.astype(np.float64)
    rows = np.argsort(-exact, axis=1, kind="stable")[:, :TOP]
    assert_array_equal(found.rows, rows)
    assert_allclose(found.scores, np.take_along_axis(exact, rows, axis=1), rtol=1e-5)


def test_within_takes_inner_products():
    dot = indexes("float16", "dense_query")[0]
    queries = vectors(Q, seed=2)
    found, all_of_them = dot.within(queries, 2.5), dot.search(queries, N)
    for i in range(Q):
        mine = slice(*found.indptr[i : i + 2])
        assert_array_equal(found.rows[mine], all_of_them.rows[i][all_of_them.scores[i] >= 2.5])
    assert found.indptr[-1] > 0


def test_reconstructions_have_the_lengths():
    dot = indexes("float32", "dense_query")[0]
    assert_allclose(lengths(dot.reconstruct(range(N))), lengths(vectors()), rtol=1e-5)
    rows = MODEL.compress(vectors(), storage="float32", similarity="dot", progress=False)
    assert_allclose(lengths(MODEL.reconstruct(rows)), lengths(vectors()), rtol=1e-5)


def test_codes_as_queries_have_their_lengths_or_one():
    dot, queries = indexes("float32", "reconstructed")[0], vectors(Q, seed=2)
    with_lengths = MODEL.compress(queries, storage="float32", similarity="dot", progress=False)
    without = MODEL.compress(queries, storage="float32", progress=False)
    by_vector = dot.search(queries, TOP)
    assert_allclose(dot.search(with_lengths, TOP).scores, by_vector.scores, rtol=1e-5)
    unit = dot.search(without, TOP)
    assert_array_equal(unit.rows, by_vector.rows)
    assert_allclose(unit.scores * lengths(queries)[:, None], by_vector.scores, rtol=1e-5)


@pytest.mark.parametrize("storage", ["float16", "packed4"])
def test_lengths_out_of_range_are_named_before_they_are_stored(storage):
    x = vectors()
    x[9] *= np.float32(1e30) / np.linalg.norm(x[9])
    with pytest.raises(InputError, match=r"row 9 has the length 1e\+30.*multiply all vectors"):
        MODEL.index(x, storage=storage, similarity="dot", progress=False)
    with pytest.raises(InputError, match="queries: row 9 has the length"):
        indexes(storage, "dense_query")[0].search(x, TOP)


def test_a_similarity_that_the_rows_do_not_have_is_refused():
    rows = MODEL.compress(vectors(), progress=False)
    with pytest.raises(InputError, match="rows were made for similarity 'cosine', not 'dot'"):
        MODEL.index(rows, similarity="dot")
    with pytest.raises(InputError, match="similarity must be one of 'cosine', 'dot', not 'l2'"):
        MODEL.index(vectors(), similarity="l2", progress=False)
