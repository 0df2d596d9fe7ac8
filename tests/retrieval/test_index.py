import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from retrieval.test_compress import D, H, K, make_vectors, make_weights

from compressae_jax.codes import folder
from compressae_jax.codes.codes import Codes
from compressae_jax.codes.spaces import SPACES
from compressae_jax.codes.storage.packed import Packed, Packing, pack, packed_width
from compressae_jax.data import open_source
from compressae_jax.notation import FolderError, InputError
from compressae_jax.retrieval import compress
from compressae_jax.retrieval.backends import host, lists
from compressae_jax.retrieval.index import Index, open_folder, open_index, search_source

N, Q = 300, 5


def make_index(space="reconstructed", n=N, **options):
    weights, x = make_weights(), make_vectors(n)
    x[4] = 0
    return Index(*compress.encode(weights, x), space, weights, **options)


def cosines(a, b):
    a, b = (x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-30) for x in (a, b))
    return a @ b.T


def brute_force(index, queries):
    """All cosines in the index's space, float64."""
    decoder = index.weights.params["decoder_w"].astype(np.float64)
    s_y = index.codes.to_dense().astype(np.float64)
    if index.space == "dense_query":
        return cosines(queries.astype(np.float64), s_y @ decoder)
    s_q = compress.encode(index.weights, queries, str(index.codes.values.dtype))[0].to_dense().astype(np.float64)
    return cosines(s_q, s_y) if index.space == "sparse" else cosines(s_q @ decoder, s_y @ decoder)


@pytest.mark.parametrize("backend", ["auto", "host", "scan", "bcoo"])
@pytest.mark.parametrize("space", SPACES)
def test_scores_are_the_cosines_of_the_space(space, backend):
    index, queries = make_index(space), make_vectors(Q, seed=2)
    scores, rows = index.search(queries, top=N, backend=backend)
    exact = brute_force(index, queries)
    assert scores.dtype == np.float32 and rows.dtype == np.int64
    assert_allclose(scores, np.take_along_axis(exact, rows, axis=1), atol=1e-6)
    assert_array_equal(np.sort(rows, axis=1), np.tile(np.arange(N), (Q, 1)))
    assert (np.diff(scores, axis=1) <= 0).all()
    assert_array_equal(scores[rows == 4], 0)  # the zero row


@pytest.mark.parametrize("space", ["sparse", "reconstructed"])
def test_vectors_and_their_codes_ask_the_same(space):
    index, queries = make_index(space), make_vectors(70, seed=2)
    codes, _ = compress.encode(index.weights, queries)
    for asked in (codes, Codes(jnp.asarray(codes.values), jnp.asarray(codes.columns), H)):
        scores, rows = index.search(asked, 20)
        wanted_scores, wanted_rows = index.search(queries, 20)
        assert_array_equal(rows, wanted_rows)
        assert_allclose(scores, wanted_scores, atol=1e-6)


def test_codes_ask_as_reconstructions_in_dense_query():
    weights, x = make_weights(), make_vectors(N)
    codes, norms = compress.encode(weights, x, "float32")
    scores, rows = Index(codes, norms, "dense_query", weights).search(codes[:Q], 1)
    assert_array_equal(rows[:, 0], np.arange(Q))
    assert_allclose(scores, 1, atol=1e-6)


@pytest.mark.parametrize("q", [1, 8, 9, 65, 1025])
def test_a_query_is_answered_alike_in_any_company(q):
    index, queries = make_index("dense_query"), make_vectors(q, seed=3)
    scores, _ = index.search(queries, 7)
    alone = np.concatenate([index.search(queries[i : i + 1], 7)[0] for i in sorted({0, q - 1})])
    assert_allclose(scores[sorted({0, q - 1})], alone, atol=1e-6)


def test_other_forms_of_queries():
    index, queries = make_index(), make_vectors(Q, seed=2).astype(np.float16)
    wanted = index.search(queries.astype(np.float32))
    for form in (queries, queries.astype(np.float64), jnp.asarray(queries), queries.astype(float).tolist()):
        assert_array_equal(index.search(form)[1], wanted[1])


def test_size_counts_values_columns_and_one_scale():
    index = make_index()
    assert len(index) == N and index.bytes_per_vector == K * (2 + 2) + 4 and index.nbytes == N * index.bytes_per_vector
    assert index.name == "CompresSAE k=4, reconstructed"


def test_prefix_is_the_index_of_a_smaller_budget():
    index, queries = make_index(), make_vectors(Q, seed=2)
    small = index.prefix(2)
    assert small.bytes_per_vector == 2 * (2 + 2) + 4
    decoder = index.weights.params["decoder_w"].astype(np.float64)
    s_q = compress.encode(index.weights, queries)[0].prefix(2).to_dense()  # queries get the budget of the rows
    exact = cosines(s_q @ decoder, index.codes.prefix(2).to_dense() @ decoder)
    assert_allclose(small.search(queries, 1)[0][:, 0], exact.max(axis=1), atol=1e-6)


def test_other_space_of_the_same_codes():
    queries = make_vectors(Q, seed=2)
    for space in SPACES:
        index = make_index("sparse").in_space(space)
        assert_array_equal(index.search(queries)[1], make_index(space).search(queries)[1])


def test_lists_answer_as_host_does():
    index, queries = make_index("sparse"), make_vectors(17, seed=2)
    listed = index.with_lists()
    assert index.lists is None and listed.codes is index.codes
    assert listed.nbytes == index.nbytes + listed.lists.nbytes == len(index) * listed.bytes_per_vector
    for found, wanted in zip(listed.search(queries, N, "lists"), index.search(queries, N, "host"), strict=True):
        assert_allclose(found, wanted, atol=1e-6)
    for backend in ("host", "scan", "bcoo"):
        assert_array_equal(listed.search(queries, backend=backend)[1], index.search(queries, backend=backend)[1])


@pytest.mark.parametrize(("q", "share", "used"), [(1, 1, True), (8, 1, True), (9, 1, False), (1, 0.01, False)])
def test_lists_are_used_where_they_are_faster(q, share, used, monkeypatch):
    index, calls = make_index("sparse").with_lists(), []
    monkeypatch.setattr(lists, "TOUCHED", share)
    monkeypatch.setattr(
        lists, "search", lambda *parts: calls.append(len(parts[2])) or host.search(index.codes, *parts[1:])
    )
    index.search(make_vectors(q, seed=2))
    assert calls == ([q] if used else [])


def test_lists_belong_to_one_space_and_budget_and_stay_in_memory(tmp_path):
    index = make_index("sparse").with_lists()
    index.save(tmp_path / "index")
    for other in (index.in_space("reconstructed"), index.in_space("sparse"), index.prefix(2)):
        assert other.lists is None
    assert Index.load(tmp_path / "index").lists is None
    mapped = Index.load(tmp_path / "index").with_lists()
    for found, wanted in zip(mapped.search(make_vectors(Q)), index.search(make_vectors(Q)), strict=True):
        assert_array_equal(found, wanted)


def test_indexes_that_have_no_lists():
    with pytest.raises(InputError, match="not 'reconstructed'"):
        make_index("reconstructed").with_lists()
    with pytest.raises(InputError, match="not of packed codes"):
        make_packed_index("sparse").with_lists()
    with pytest.raises(InputError, match=r"index\.with_lists\(\)"):
        make_index("sparse").search(make_vectors(1), backend="lists")


@pytest.mark.parametrize("ids", [None, np.arange(N) + 7, [f"item {i}" for i in range(N)]])
@pytest.mark.parametrize("verify", [True, False])
def test_round_trip_of_a_folder(tmp_path, ids, verify):
    index, queries = make_index("sparse", ids=ids), make_vectors(Q, seed=2)
    index.save(tmp_path / "index")
    index.save(tmp_path / "index")  # replaces its like
    again = Index.load(tmp_path / "index", verify=verify)
    assert [path.name for path in tmp_path.iterdir()] == ["index"]
    assert (again.space, again.weights.fingerprint) == ("sparse", index.weights.fingerprint)
    assert again.codes.files.maps
    for found, wanted in zip(again.search(queries), index.search(queries), strict=True):
        assert_array_equal(found, wanted)
    assert (again.ids is None) if ids is None else (list(again.ids) == list(ids))


LEVELS = tuple(float(np.float32(level)) for level in np.linspace(0.1, 2, 8))


def make_packed_index(space, **options):
    """Packed rows whose values are first divided by the length of their reconstruction, as compression folds it in."""
    weights, x = make_weights(), make_vectors(N)
    x[4] = 0
    codes, norms = compress.encode(weights, x, "float32")
    folded = codes.values / np.where(norms[:, 1:] > 0, norms[:, 1:], 1)
    return Index(pack(Codes(folded, codes.columns, H), Packing(H, K, 4, LEVELS)), None, space, weights, **options)


@pytest.mark.parametrize("backend", ["auto", "host", "scan", "bcoo"])
@pytest.mark.parametrize("space", SPACES)
def test_packed_rows_score_as_what_they_unpack_to(space, backend):
    index, queries = make_packed_index(space), make_vectors(Q, seed=2)
    rows = index.codes.unpack().to_dense().astype(np.float64)
    asked, _ = compress.encode(index.weights, queries, "float32")
    decoder = index.weights.params["decoder_w"].astype(np.float64)
    s_q = asked.to_dense().astype(np.float64)
    vectors = {"sparse": s_q, "reconstructed": s_q @ decoder, "dense_query": queries.astype(np.float64)}[space]
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    # The scale is in the values, so what is left is a product; of codes alone the cosine is computed.
    exact = cosines(s_q, rows) if space == "sparse" else unit @ (rows @ decoder).T
    scores, found = index.search(queries, top=N, backend=backend)
    assert_allclose(scores, np.take_along_axis(exact, found, axis=1), atol=1e-6)
    assert_allclose(scores, -np.sort(-exact, axis=1), atol=1e-6)
    assert_array_equal(scores[found == 4], 0)
    assert_array_equal(index.in_space("sparse").search(queries)[1], make_packed_index("sparse").search(queries)[1])


@pytest.mark.parametrize("space", SPACES)
def test_a_packed_vector_costs_its_record(tmp_path, space):
    index = make_packed_index(space)
    index.save(tmp_path / "index")
    assert index.bytes_per_vector == packed_width(H, K, 4) == index.codes.packing.width
    assert index.bytes_per_vector == ((tmp_path / "index" / "codes" / "records.npy").stat().st_size - 128) / N
    assert index.norms is None and index.name == f"CompresSAE k=4, {space}"
    for held in vars(index).values():  # no array with a number for each row
        assert not isinstance(held, np.ndarray) or held.strides == (0,)


@pytest.mark.parametrize("ids", [None, [f"item {i}" for i in range(N)]])
@pytest.mark.parametrize("verify", [True, False])
def test_round_trip_of_a_packed_folder(tmp_path, ids, verify):
    index, queries = make_packed_index("reconstructed", ids=ids), make_vectors(Q, seed=2)
    index.save(tmp_path / "index")
    again = Index.load(tmp_path / "index", verify=verify)
    assert isinstance(again.codes, Packed) and again.codes.files.maps
    opened = open_index(tmp_path / "index" / "codes", index.weights, "reconstructed")
    for other in (again, opened):
        for found, wanted in zip(other.search(queries), index.search(queries), strict=True):
            assert_array_equal(found, wanted)
    assert (again.ids is None) if ids is None else (list(again.ids) == list(ids))


def test_packed_rows_ask_as_what_they_unpack_to():
    index = make_packed_index("reconstructed")
    asked = index.codes[:3]
    for found, wanted in zip(index.search(asked), index.search(asked.unpack()), strict=True):
        assert_array_equal(found, wanted)


def test_packed_rows_have_no_prefix_and_no_norms():
    index = make_packed_index("sparse")
    with pytest.raises(InputError, match=r"a set without an order.*compress again with a smaller k"):
        index.prefix(2)
    with pytest.raises(InputError, match="norms must be None of packed codes"):
        Index(index.codes, np.ones((N, 2), np.float32), "sparse", index.weights)
    floats = make_index()
    with pytest.raises(InputError, match=r"norms must be \(n, 2\)"):
        Index(floats.codes, None, "sparse", floats.weights)
    damaged = Packed(np.full_like(index.codes.records, 255), index.codes.packing)
    with pytest.raises(InputError, match="record of row 0"):
        Index(damaged, None, "sparse", index.weights)


def test_a_foreign_folder_is_not_replaced(tmp_path):
    (tmp_path / "index").mkdir()
    (tmp_path / "index" / "thesis.tex").touch()
    with pytest.raises(FolderError, match=r"thesis\.tex"):
        make_index().save(tmp_path / "index")


@pytest.mark.parametrize("name", ["index.json", "codes/columns.npy", "model/params.safetensors"])
def test_a_damaged_folder_is_refused(tmp_path, name):
    make_index().save(tmp_path / "index")
    path = tmp_path / "index" / name
    path.write_bytes(path.read_bytes()[:-1] + b"\xff")
    with pytest.raises(FolderError, match=path.name.replace(".", r"\.")):
        Index.load(tmp_path / "index")


def test_open_folder_takes_either_kind(tmp_path):
    index, queries = make_index("sparse"), make_vectors(Q, seed=2)
    index.save(tmp_path / "index")
    codes, model = tmp_path / "index" / "codes", tmp_path / "index" / "model"
    assert open_folder(tmp_path / "index").space == "sparse"
    assert open_folder(tmp_path / "index", space="dense_query").space == "dense_query"
    assert open_folder(codes, model).space == "reconstructed"
    assert_array_equal(open_folder(codes, model, "sparse").search(queries)[1], index.search(queries)[1])
    with pytest.raises(InputError, match="give its model"):
        open_folder(codes)


def test_queries_of_a_source_are_read_in_batches():
    index, queries = make_index(), make_vectors(Q, seed=2)
    for batch in (1, 2, Q):
        assert_array_equal(search_source(index, open_source(queries), 9, batch=batch)[1], index.search(queries, 9)[1])
    queries[3] = 0
    with pytest.raises(InputError, match="row 3 is zero"):
        search_source(index, open_source(queries), 9, batch=2)


def test_codes_of_another_model_are_refused(tmp_path):
    index, other = make_index(), make_weights(seed=9)
    header = {"fingerprint": index.weights.fingerprint}
    folder.write(tmp_path / "codes", index.codes, index.norms, d=D, header=header)
    with pytest.raises(FolderError, match=f"{index.weights.fingerprint}.*{other.fingerprint}"):
        open_index(tmp_path / "codes", other, "sparse")
    assert len(open_index(tmp_path / "codes", index.weights, "sparse")) == N


@pytest.mark.parametrize(
    ("queries", "message"),
    [
        (make_vectors(1)[0], r"shape \(q, 12\), not \(12,\); for one query pass query\[None\]"),
        (np.ones((2, 9), np.float32), "width 9, the model was trained on 12 .*fingerprint"),
        (np.ones((2, D), np.int64), "floats, not int64"),
        (np.ones((0, D), np.float32), "empty"),
        (np.where(np.arange(2)[:, None], np.nan, np.ones((2, D), np.float32)), "not finite, first in row 1"),
        (np.where(np.arange(3)[:, None] == 1, 0, np.ones((3, D), np.float32)), r"1 zero rows.*\(the first: 1\)"),
        (Codes(np.ones((1, 2), np.float32), np.zeros((1, 2), np.uint16), 41), "h=41, the index has h=40"),
        (Codes(np.ones((1, 2), np.float32), np.full((1, 2), 40, np.uint16), 40), r"outside 0\.\.39"),
    ],
)
def test_queries_that_cannot_be_answered(queries, message):
    with pytest.raises(InputError, match=message):
        make_index().search(queries)


@pytest.mark.parametrize(
    ("options", "message"),
    [({"top": 0}, "top .* 1 to 300"), ({"top": N + 1}, "top"), ({"backend": "hots"}, "did you mean 'host'")],
)
def test_options_out_of_range(options, message):
    with pytest.raises(InputError, match=message):
        make_index().search(make_vectors(1), **options)


def test_parts_that_do_not_belong_together():
    index = make_index()
    with pytest.raises(InputError, match="did you mean 'sparse'"):
        index.in_space("sparce")
    with pytest.raises(InputError, match="norms must be 300"):
        Index(index.codes, index.norms[1:], "sparse", index.weights)
    with pytest.raises(InputError, match="h=41, the model 40"):
        Index(Codes(index.codes.values, index.codes.columns, 41), index.norms, "sparse", index.weights)
    with pytest.raises(InputError, match=r"outside 0\.\.39"):  # the host backend would read past the query
        Index(Codes(index.codes.values, index.codes.columns + np.uint16(40), H), index.norms, "sparse", index.weights)
