import dataclasses
import itertools
import os
import pickle
import threading
from concurrent.futures import ThreadPoolExecutor

import jax.numpy as jnp
import numpy as np
import pytest
from compression.test_to_folder import D, H, K, make_vectors, make_weights
from numpy.testing import assert_allclose, assert_array_equal

from compressae_jax import compression
from compressae_jax.base import progress, sealed
from compressae_jax.codes import folder
from compressae_jax.codes.codes import Codes
from compressae_jax.codes.rows import MadeBy
from compressae_jax.codes.spaces import SPACES
from compressae_jax.codes.storage.packed import Packed, Packing, pack, packed_width
from compressae_jax.data import open_source
from compressae_jax.model import encoders
from compressae_jax.notation import FolderError, InputError
from compressae_jax.retrieval.backends import host, lists
from compressae_jax.retrieval.found import merge
from compressae_jax.retrieval.index import Index, open_folder, open_index, search_source

N, Q = 300, 5


def make_index(space="reconstructed", n=N, **options):
    weights, x = make_weights(), make_vectors(n)
    x[4] = 0
    rows = compression.encode(weights, x, encoder=options.get("encoder", "topk"))
    return Index(rows, weights, space, **options)


def cosines(a, b):
    a, b = (x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-30) for x in (a, b))
    return a @ b.T


def brute_force(index, queries):
    """All cosines in the index's space, float64."""
    decoder = index.weights.params["decoder_w"].astype(np.float64)
    s_y = index.codes.to_dense().astype(np.float64)
    if index.space == "dense_query":
        return cosines(queries.astype(np.float64), s_y @ decoder)
    s_q = compression.encode(index.weights, queries, index.codes.storage).to_dense().astype(np.float64)
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
    codes = compression.encode(index.weights, queries)
    for asked in (codes, Codes(jnp.asarray(codes.values), jnp.asarray(codes.columns), H)):
        scores, rows = index.search(asked, 20)
        wanted_scores, wanted_rows = index.search(queries, 20)
        assert_array_equal(rows, wanted_rows)
        assert_allclose(scores, wanted_scores, atol=1e-6)


def test_codes_ask_as_reconstructions_in_dense_query():
    weights, x = make_weights(), make_vectors(N)
    codes = compression.encode(weights, x, "float32")
    scores, rows = Index(codes, weights).search(codes[:Q], 1)
    assert_array_equal(rows[:, 0], np.arange(Q))
    assert_allclose(scores, 1, atol=1e-6)


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("q", [2, 9, 65, 1025])
def test_a_query_gets_the_same_bits_in_any_company(space, q):
    index, queries = make_index(space), make_vectors(q, seed=3)
    together = index.search(queries, 7)
    for i in (0, q - 1):
        for found, wanted in zip(index.search(queries[i : i + 1], 7), together, strict=True):
            assert_array_equal(found[0], wanted[i])


def test_other_forms_of_queries():
    index, queries = make_index(), make_vectors(Q, seed=2).astype(np.float16)
    wanted = index.search(queries.astype(np.float32))
    torch, ma = pytest.importorskip("torch"), np.ma.masked_array(queries, np.zeros_like(queries, bool))
    forms = [queries, queries.astype(np.float64), jnp.asarray(queries), queries.astype(float).tolist(), ma]
    for form in (*forms, torch.tensor(queries), [torch.tensor(one).float().numpy() for one in queries]):
        assert_array_equal(index.search(form)[1], wanted[1])


def test_size_counts_values_columns_and_one_scale():
    index = make_index()
    assert len(index) == N and index.bytes_per_vector == K * (2 + 2) + 4 and index.nbytes == N * index.bytes_per_vector
    assert index.name == "published one-pass codes, reconstructed, k=4"


def test_prefix_is_the_index_of_a_smaller_budget():
    index, queries = make_index(), make_vectors(Q, seed=2)
    small = index.prefix(2)
    assert small.bytes_per_vector == 2 * (2 + 2) + 4
    decoder = index.weights.params["decoder_w"].astype(np.float64)
    s_q = compression.encode(index.weights, queries).prefix(2).to_dense()  # queries get the budget of the rows
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

    def search(_, space, u, top, **options):
        calls.append(len(u))
        return host.search(index.codes, space, u, top, **options)

    monkeypatch.setattr(lists, "search", search)
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
    assert not again.codes.values.flags.writeable and again.codes.verified == verify
    for found, wanted in zip(again.search(queries), index.search(queries), strict=True):
        assert_array_equal(found, wanted)
    assert (again.ids is None) if ids is None else (list(again.ids) == list(ids))


LEVELS = tuple(float(np.float32(level)) for level in np.linspace(0.1, 2, 8))


def make_packed_index(space, **options):
    """Packed rows whose values are first divided by the length of their reconstruction, as compression folds it in."""
    weights, x = make_weights(), make_vectors(N)
    x[4] = 0
    codes = compression.encode(weights, x, "float32")
    norms = codes.norms
    folded = codes.values / np.where(norms[:, 1:] > 0, norms[:, 1:], 1)
    return Index(pack(Codes(folded, codes.columns, H), Packing(H, K, 4, LEVELS)), weights, space, **options)


@pytest.mark.parametrize("backend", ["auto", "host", "scan", "bcoo"])
@pytest.mark.parametrize("space", SPACES)
def test_packed_rows_score_as_what_they_unpack_to(space, backend):
    index, queries = make_packed_index(space), make_vectors(Q, seed=2)
    rows = index.codes.to_dense().astype(np.float64)
    asked = compression.encode(index.weights, queries, "float32")
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
    records = tmp_path / "index" / "segments" / "000001" / "records.npy"
    assert index.bytes_per_vector == (records.stat().st_size - 128) / N
    assert index.name == f"topk codes, packed4, {space}, k=4"
    assert not any(isinstance(held, np.ndarray) for held in vars(index).values())  # no number for each row


@pytest.mark.parametrize("ids", [None, [f"item {i}" for i in range(N)]])
@pytest.mark.parametrize("verify", [True, False])
def test_round_trip_of_a_packed_folder(tmp_path, ids, verify):
    index, queries = make_packed_index("reconstructed", ids=ids), make_vectors(Q, seed=2)
    index.save(tmp_path / "index")
    again = Index.load(tmp_path / "index", verify=verify)
    assert isinstance(again.codes, Packed) and not again.codes.records.flags.writeable
    opened = open_index(tmp_path / "index" / "segments" / "000001", index.weights, "reconstructed")
    for other in (again, opened):
        for found, wanted in zip(other.search(queries), index.search(queries), strict=True):
            assert_array_equal(found, wanted)
    assert (again.ids is None) if ids is None else (list(again.ids) == list(ids))


def test_packed_rows_ask_as_what_they_unpack_to():
    index = make_packed_index("reconstructed")
    asked = index.codes[:3]
    for found, wanted in zip(index.search(asked), index.search(asked.codes()), strict=True):
        assert_array_equal(found, wanted)


def test_packed_rows_have_no_prefix():
    index = make_packed_index("sparse")
    with pytest.raises(InputError, match=r"a set without an order.*compress again with a smaller k"):
        index.prefix(2)
    damaged = Packed(np.full_like(index.codes.records, 255), index.codes.packing)
    with pytest.raises(InputError, match="record of row 0"):
        Index(damaged, index.weights)


def test_a_foreign_folder_is_not_replaced(tmp_path):
    (tmp_path / "index").mkdir()
    (tmp_path / "index" / "thesis.tex").touch()
    with pytest.raises(FolderError, match=r"thesis\.tex"):
        make_index().save(tmp_path / "index")


@pytest.mark.parametrize("name", ["index.json", "segments/000001/columns.npy", "model/params.safetensors"])
def test_a_damaged_folder_is_refused(tmp_path, name):
    make_index().save(tmp_path / "index")
    path = tmp_path / "index" / name
    path.write_bytes(path.read_bytes()[:-1] + b"\xff")
    with pytest.raises(FolderError, match=path.name.replace(".", r"\.")):
        Index.load(tmp_path / "index")


def test_open_folder_takes_either_kind(tmp_path):
    index, queries = make_index("sparse"), make_vectors(Q, seed=2)
    index.save(tmp_path / "index")
    codes, model = tmp_path / "index" / "segments" / "000001", tmp_path / "index" / "model"
    assert open_folder(tmp_path / "index").space == "sparse"
    assert open_folder(tmp_path / "index", space="dense_query").space == "dense_query"
    assert open_folder(codes, model).space == "dense_query"
    assert_array_equal(open_folder(codes, model, "sparse").search(queries)[1], index.search(queries)[1])
    with pytest.raises(InputError, match="give its model"):
        open_folder(codes)
    with pytest.raises(InputError, match="nothing is there"):
        open_folder(tmp_path / "absent")


def test_queries_of_a_source_are_read_in_batches():
    index, queries = make_index(), make_vectors(Q, seed=2)
    queries[3] = 0
    for batch in (1, 2, Q):
        assert_array_equal(search_source(index, open_source(queries), 9, batch=batch)[1], index.search(queries, 9)[1])
    with pytest.raises(InputError, match="batch must be"):
        search_source(index, open_source(queries), 9, batch=0)


@pytest.mark.parametrize("shown", [True, False])
def test_a_search_of_a_source_shows_how_far_it_is(monkeypatch, capsys, shown):
    monkeypatch.setattr(progress, "FIRST", 0.0)
    monkeypatch.delenv(progress.VARIABLE, raising=False)
    search_source(make_index(), open_source(make_vectors(Q, seed=2)), 9, batch=2, progress=shown)
    said = capsys.readouterr().err
    assert (f"search: 100% {Q} of {Q} queries" in " ".join(said.split())) == shown and bool(said) == shown


def test_codes_of_another_model_are_refused(tmp_path):
    index, other = make_index(), make_weights(seed=9)
    header = {"fingerprint": index.weights.fingerprint}
    folder.write(tmp_path / "codes", index.codes, d=D, header=header)
    with pytest.raises(FolderError, match=f"{index.weights.fingerprint}.*{other.fingerprint}"):
        open_index(tmp_path / "codes", other, "sparse")
    assert len(open_index(tmp_path / "codes", index.weights, "sparse")) == N


@pytest.mark.parametrize(
    ("queries", "message"),
    [
        (make_vectors(1)[0], r"shape \(q, 12\), not \(12,\); for one query pass query\[None\]"),
        (np.ones((2, 9), np.float32), "width 9, the model was trained on 12 .*fingerprint"),
        (np.ones((2, D), np.int64), "floats, not int64"),
        (np.where(np.arange(2)[:, None], np.nan, np.ones((2, D), np.float32)), "not finite, first in row 1"),
        (np.ma.masked_array(make_vectors(2), np.arange(2 * D).reshape(2, D) == D), "hide values .* row 1"),
        (Codes(np.ones((1, 2), np.float32), np.zeros((1, 2), np.uint16), 41), "h=41, the index has h=40"),
        (Codes(np.ones((1, 2), np.float32), np.full((1, 2), 40, np.uint16), 40), r"outside 0\.\.39"),
    ],
)
def test_queries_that_cannot_be_answered(queries, message):
    with pytest.raises(InputError, match=message):
        make_index().search(queries)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"top": 0}, "top must be an integer from 1"),
        ({"top": 10**9}, "top must be an integer from 1 to 65536"),
        ({"chunk": 0}, "chunk must be an integer from 1"),
        ({"backend": "hots"}, "did you mean 'host'"),
    ],
)
def test_options_out_of_range(options, message):
    with pytest.raises(InputError, match=message):
        make_index().search(make_vectors(1), **options)


def test_parts_that_do_not_belong_together():
    index = make_index()
    with pytest.raises(InputError, match="did you mean 'sparse'"):
        index.in_space("sparce")
    rows = index.codes
    with pytest.raises(InputError, match="norms must be \\(300, 2\\)"):
        Index(dataclasses.replace(rows, norms=rows.norms[1:], verified=False), index.weights)
    with pytest.raises(InputError, match="ids must be 300"):
        Index(rows, index.weights, ids=range(9))
    with pytest.raises(InputError, match="h=41, the model 40"):
        Index(Codes(rows.values, rows.columns, 41), index.weights)
    with pytest.raises(InputError, match=r"outside 0\.\.39"):  # the host backend would read past the query
        Index(Codes(rows.values, rows.columns + np.uint16(40), H), index.weights)


def made_by(index, fingerprint, encoder):
    return dataclasses.replace(index.codes, made_by=MadeBy(fingerprint, encoder))


@pytest.mark.parametrize("packed", [True, False])
def test_rows_of_another_model_or_encoder_are_refused_wherever_they_meet_one(packed):
    index = make_packed_index("sparse") if packed else make_index()
    mine, other = index.weights, make_weights(seed=9)
    foreign = made_by(index, other.fingerprint, "topk")
    for meet in (lambda: Index(foreign, mine), lambda: index.search(foreign[:2])):
        with pytest.raises(InputError, match=f"{other.fingerprint}.*{mine.fingerprint}"):
            meet()
    rows = made_by(index, mine.fingerprint, "pursuit")
    assert Index(rows, mine).encoder == "pursuit" == Index(rows, mine, encoder="pursuit").encoder
    with pytest.raises(InputError, match="'pursuit', not by 'topk'"):
        Index(rows, mine, encoder="topk")


@pytest.mark.parametrize("backend", ["host", "scan", "bcoo", "lists"])
def test_places_without_a_row(backend):
    """A zero query finds nothing, nor does anyone beyond the last row; neither costs another query its results."""
    index, queries = make_index("sparse", n=9, ids=np.arange(9) + 7).with_lists(), make_vectors(5, seed=2)
    queries[3] = 0
    found = index.search(queries, 11, backend)
    asked = np.array([0, 1, 2, 4])
    assert_array_equal(found.rows[asked, :9], index.search(queries[asked], 9, backend).rows)
    for scores, rows, ids in (
        (found.scores[3], found.rows[3], found.ids[3]),
        (one[:, 9:] for one in (*found, found.ids)),
    ):
        assert np.isneginf(scores).all() and (rows == -1).all() and (ids == None).all()  # noqa: E711
    assert_array_equal(found.ids[asked, :9].astype(int), found.rows[asked, :9] + 7)


@pytest.mark.parametrize("none", [np.empty((0, D), np.float32), [], Codes(np.ones((0, 2)), np.zeros((0, 2), int), H)])
def test_no_queries_give_an_empty_result(none):
    scores, rows = make_index().search(none, 4)
    assert scores.shape == rows.shape == (0, 4) and (scores.dtype, rows.dtype) == (np.float32, np.int64)


@pytest.mark.parametrize("space", ["sparse", "reconstructed"])
def test_cosines_are_not_above_one(space):
    index = make_index(space)
    scores, _ = index.search(index.codes[5:], 3)
    assert scores.max() == 1 and np.isfinite(np.arccos(scores)).all()


@pytest.mark.parametrize("space", SPACES)
def test_queries_that_were_expanded_elsewhere(space):
    index, queries = make_index(space), make_vectors(3, seed=2)
    elsewhere = pickle.loads(pickle.dumps(index.expander))
    for found, wanted in zip(
        index.search_expanded(elsewhere.expand(queries), 9), index.search(queries, 9), strict=True
    ):
        assert_array_equal(found, wanted)
    for u, message in ((np.ones(H, np.float32), "shape"), (np.full((2, H), np.nan, np.float32), "first in row 0")):
        with pytest.raises(InputError, match=message):
            index.search_expanded(u)


def test_shards_that_are_merged_are_one_index():
    weights, x = make_weights(), np.tile(make_vectors(50), (3, 1))  # ties across shards
    codes = compression.encode(weights, x)
    ids = np.arange(150) + 1000
    whole, cuts = Index(codes, weights, ids=ids), (0, 20, 70, 150)
    shards = [Index(codes[a:b], weights, ids=ids[a:b]) for a, b in itertools.pairwise(cuts)]
    queries = make_vectors(Q, seed=2)
    queries[1] = 0
    for top in (7, 30, 160):
        wanted = whole.search(queries, top)
        parts = [pickle.loads(pickle.dumps(shard.search(queries, top))) for shard in shards]
        merged = merge(parts, cuts[:-1], top)
        for found, one in zip((*merged, merged.ids), (*wanted, wanted.ids), strict=True):
            assert_array_equal(found, one)


def test_opening_holds_no_number_for_each_row(tmp_path):
    make_index().save(tmp_path / "index")
    index = Index.load(tmp_path / "index", verify=False)
    index.search(make_vectors(2))
    held = [one for holder in (index, index.codes) for one in vars(holder).values() if isinstance(one, np.ndarray)]
    assert held and all(_is_mapped(one) for one in held)


def _is_mapped(array):
    while isinstance(array, np.ndarray):
        array = array.base
    return array is not None


@pytest.mark.parametrize(
    ("name", "value"), [("fingerprint", "0" * 16), ("encoder", "pursuit"), ("space", "spares"), ("space", None)]
)
def test_an_index_whose_parts_do_not_belong_together_is_refused(tmp_path, name, value):
    make_index().save(tmp_path / "index")
    fields = sealed.read(tmp_path / "index" / "index.json", 2, "")
    sealed.write(tmp_path / "index" / "index.json", {**fields, name: value})
    with pytest.raises(FolderError, match=f"index.json.*{name}"):
        Index.load(tmp_path / "index")


def test_a_link_stays_one_and_neighbours_stay(tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "index").symlink_to(tmp_path / "disk")
    for name in ("index.partial", "index.old"):
        (tmp_path / name).mkdir()
    index = make_index()
    for _ in range(2):
        index.save(tmp_path / "index")
    assert (tmp_path / "index").is_symlink() and (tmp_path / "disk" / "index.json").is_file()
    assert sorted(one.name for one in tmp_path.iterdir()) == ["disk", "index", "index.old", "index.partial"]
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "codes").mkdir()  # a name of ours, but no index of ours
    with pytest.raises(FolderError, match="not replaced"):
        index.save(tmp_path / "mine")


@pytest.mark.parametrize("encoder", encoders.ENCODERS)
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning", "ignore:.*fork:RuntimeWarning")
def test_threads_and_a_forked_process_search_one_index(encoder):
    index, queries = make_index("reconstructed", encoder=encoder), make_vectors(64, seed=2)
    wanted = index.search(queries)
    with ThreadPoolExecutor(8) as pool:
        for found in pool.map(lambda _: index.search(queries), range(16), timeout=60):
            assert_array_equal(found[1], wanted[1])
    child = os.fork()
    if not child:
        threading.Timer(20, os._exit, [2]).start()  # a search that waits for threads it does not have
        os._exit(int(not np.array_equal(index.search(queries)[1], wanted[1])))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_the_line_that_a_notebook_shows():
    assert repr(make_index()) == "<Index of 300 rows, 20 bytes each: k=4 of h=40, float16 by topk, reconstructed>"


def test_where_ids_stand_and_which_are_not_there():
    index = make_index(n=6, ids=[f"id-{i}" for i in range(6)])
    index.remove(["id-3"])
    assert index.where(["id-4", "gone", "id-3", "id-0"]).tolist() == [4, -1, -1, 0]
    assert make_index(n=6).where([2, 0]).tolist() == [2, 0]
