"""What is special to Qdrant: ids and payload as points, filters, folders open in one process, parts of a query."""

import datetime
import json
import os
import shutil
import subprocess
import sys
import uuid
import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from retrieval.test_index import make_vectors, make_weights
from serving import servers

from compressae_jax import compression
from compressae_jax.notation import BusyError, FolderError, InputError
from compressae_jax.retrieval.index import Index
from compressae_jax.serving import comparing, qdrant, qdrant_edge

N = 60


@pytest.fixture(autouse=True)
def _installed():
    servers.need("qdrant_edge", "qdrant_client")


def make_index(ids=None, n=N, space="dense_query"):
    weights = make_weights()
    return Index(compression.encode(weights, make_vectors(n)), weights, space, ids)


@pytest.mark.parametrize(
    "ids",
    [
        np.arange(N, dtype=np.uint64) + np.uint64(2**64 - N),
        np.arange(N) - N // 2,
        ["", "a.b", "NUL \0", "𝄞", "x" * 5000, *map(str, range(N - 5))],
    ],
    ids=["beyond 63 bits", "below 0", "texts"],
)
def test_ids_come_back_as_they_are(ids, tmp_path):
    index, queries = make_index(ids), make_vectors(3, seed=2)
    qdrant.upload(index, tmp_path / "t")
    with_edge = qdrant.Engine(tmp_path / "t", index.expander).search(queries, N).ids
    assert_array_equal(with_edge, index.search(queries, N).ids)
    assert {type(one) for one in with_edge.flat} == {str if isinstance(ids, list) else int}


def test_point_ids():
    assert [qdrant.point_id(one) for one in (0, np.uint64(2**64 - 1))] == [0, 2**64 - 1]
    assert qdrant.point_id("item") == uuid.uuid5(uuid.NAMESPACE_OID, "item") != qdrant.point_id(-1)
    with pytest.raises(InputError, match="ids must be texts that Qdrant holds"):
        qdrant.point_id("\udc80")


def test_payload_is_json(tmp_path):
    index, day = make_index(n=3), datetime.date(2026, 11, 26)
    payload = {
        "a": [None, np.float32(0.5), np.int64(3)],
        "b": np.array(["x", "ß", ""]),
        "c": [[1, "two"], {"d": None}, (True,)],
        "a.b": np.array([1, 2, 3], np.uint8),
        "day": [day] * 3,
        "at": np.array(["2026-11-26T21:00"] * 3, "datetime64[ns]"),
    }
    qdrant.upload(index, tmp_path / "t", payload)
    edge = qdrant_edge.Edge(tmp_path / "t")
    records = edge._held.shard.retrieve([0, 1, 2], True, False)
    there = {one.id: {k: v for k, v in one.payload.items() if k != "digest"} for one in records}
    one = {"day": "2026-11-26", "at": "2026-11-26T21:00:00"}
    assert there[0] == {"a": None, "b": "x", "c": [1, "two"], "a.b": 1, **one}
    assert there[1] == {"a": 0.5, "b": "ß", "c": {"d": None}, "a.b": 2, **one}
    assert there[2] == {"a": 3, "b": "", "c": [1], "a.b": 3, **one}
    kinds = {path: str(info.data_type).split(".")[1] for path, info in edge._held.shard.info().payload_schema.items()}
    assert kinds == {"a": "Float", "b": "Keyword", '"a.b"': "Integer", "day": "Datetime", "at": "Datetime"}
    for wrong in (float("nan"), 2**64, b"x", "\ud800", {1: 2}, object()):
        with pytest.raises(InputError, match="payload: 'a' of id 1 must be what JSON holds"):
            qdrant.upload(index, tmp_path / "t", {"a": [1, wrong, 1]})
    for name in ("digest", "Digest", "a\\b"):
        with pytest.raises(InputError, match="payload: a column must have a name"):
            qdrant.upload(index, tmp_path / "t", {name: [1, 1, 1]})


def test_filters_in_their_json_form(tmp_path):
    edge = pytest.importorskip("qdrant_edge")
    index, queries = make_index([f"i{i}" for i in range(N)]), make_vectors(1, seed=2)
    number = np.arange(N)
    payload = {"n": number, "word": [("red", "blue", None)[i % 3] for i in range(N)], "a.b": number % 2 == 0}
    payload["day"] = [datetime.datetime(2026, 1, 1) + datetime.timedelta(i) for i in range(N)]
    qdrant.upload(index, tmp_path / "t", payload)
    opened, collection = qdrant.Engine(tmp_path / "t", index.expander), qdrant.Collection(_client(), "filters")
    qdrant.upload(index, collection, payload)
    double = qdrant.Engine(collection, index.expander)

    for given, kept in (
        ({"must": [{"key": "n", "range": {"gte": 10, "lt": 20}}]}, (number >= 10) & (number < 20)),
        ({"must": {"key": "word", "match": {"any": ["red", "blue"]}}}, number % 3 < 2),
        ({"must": [{"key": "word", "match": {"except": ["red"]}}]}, number % 3 == 1),
        ({"must_not": [{"is_empty": {"key": "word"}}]}, number % 3 < 2),
        ({"must": [{"is_null": {"key": "word"}}]}, number % 3 == 2),
        ({"must": [{"has_id": [str(qdrant.point_id(f"i{i}")) for i in (3, 4)]}]}, np.isin(number, [3, 4])),
        ({"must": [{"key": '"a.b"', "match": {"value": True}}]}, number % 2 == 0),
        ({"must": [{"key": "id", "match": {"value": "i7"}}]}, number == 7),
        ({"must": [{"key": "day", "range": {"lt": "2026-01-11T00:00:00Z"}}]}, number < 10),
        (
            {"should": [{"key": "n", "match": {"value": 1}}, {"must_not": [{"key": "n", "range": {"gt": 0}}]}]},
            number < 2,
        ),
    ):
        ours = index.search(queries, N, allow=np.flatnonzero(kept).tolist() and [f"i{i}" for i in np.flatnonzero(kept)])
        for engine in (opened, double):
            assert_array_equal(engine.search(queries, N, filter=given).ids, ours.ids, err_msg=str(given))
    native = edge.Filter(must=[edge.FieldCondition("n", range=edge.RangeFloat(lt=5.0))])
    assert set(opened.search(queries, 5, native).ids[0]) == {f"i{i}" for i in range(5)}
    refused = {"wrong": []}, "n < 5", {"must": [{"key": "n", "match": {"value": 1}, "geo": 2}]}
    for engine, some in ((opened, [*refused, {}, {"must": [{"key": "n"}]}]), (double, refused)):
        for wrong in some:
            with pytest.raises(InputError, match="Qdrant refused the query, filter="):
                engine.search(queries, 5, filter=wrong)


def test_few_terms_and_rescoring(tmp_path):
    index, queries = make_index(n=300), make_vectors(5, seed=2)
    qdrant.upload(index, tmp_path / "t")
    collection = qdrant.Collection(_client(), "terms")
    qdrant.upload(index, collection)
    for place in (tmp_path / "t", collection):
        opened = qdrant.Engine(place, index.expander)
        alone, helped = (opened.search(queries, 10, terms=4, rescored=rescored) for rescored in (10, 200))
        recalls = [comparing.compare(index, found, queries).recall[10] for found in (alone, helped)]
        assert recalls[0] < recalls[1]
        ours = index.search(queries, 300)
        for name, score in zip(helped.ids[1], helped.scores[1], strict=True):  # scores are exact, whoever is found
            assert_allclose(score, ours.scores[1][list(ours.rows[1]).index(name)], rtol=1e-5)
        with pytest.raises(InputError, match="rescored is for answers by a part of the query"):
            opened.search(queries, 10, rescored=100)
        with pytest.raises(InputError, match="rescored must be an integer of at least top=10"):
            opened.search(queries, 10, terms=4, rescored=9)


def test_many_terms_go_in_several_requests(tmp_path, monkeypatch):
    index, queries = make_index(), make_vectors(7, seed=2)
    queries[3] = 0
    qdrant.upload(index, tmp_path / "t")
    monkeypatch.setattr(qdrant, "ASKED", 2 * index.codes.h)
    found = qdrant.Engine(tmp_path / "t", index.expander).search(queries, 5)
    assert_array_equal(found.ids[[0, 1, 2, 4, 5, 6]], index.search(queries, 5).rows[[0, 1, 2, 4, 5, 6]])
    assert all(one is None for one in found.ids[3])


def test_only_what_changed_is_written_and_an_upload_goes_on(tmp_path, monkeypatch):
    index, put, written = make_index(), qdrant_edge.Edge.put, []

    def counting(self, points):
        written.append([point.id for point in points])
        put(self, points)
        if len(written) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(qdrant_edge.Edge, "put", counting)
    with pytest.raises(KeyboardInterrupt):
        qdrant.upload(index, tmp_path / "t", batch=20)
    for _ in range(2):
        qdrant.upload(index, tmp_path / "t", batch=20)
    assert written == [list(range(20)), list(range(20, 40)), list(range(40, 60))]
    prices = np.zeros(N)
    qdrant.upload(index, tmp_path / "t", {"price": prices}, batch=N)
    prices[7] = 1
    qdrant.upload(index, tmp_path / "t", {"price": prices}, batch=N)
    assert written[3:] == [list(range(N)), [7]]


def test_one_process_has_a_folder_open(tmp_path):
    index, folder = make_index(), tmp_path / "t"
    qdrant.upload(index, folder)
    qdrant.Engine(folder, index.expander).close()
    code = f"import qdrant_edge\nheld = qdrant_edge.EdgeShard.load({str(folder / 'shard')!r})\nprint('open')\ninput()"
    with subprocess.Popen(
        [sys.executable, "-uc", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout.readline() == "open\n"
        for refused in (lambda: qdrant.upload(index, folder), lambda: qdrant.Engine(folder, index.expander)):
            with pytest.raises(BusyError, match="is open in another process"):
                refused()
        other.communicate("\n")
    one, other = (qdrant.Engine(folder, index.expander) for _ in range(2))  # of one process, any number
    one.close()
    with pytest.raises(FolderError, match="was closed: open it anew"):
        one.search(make_vectors(1), 1)
    assert other.search(make_vectors(1), 1).ids[0, 0] is not None


def test_a_forked_process_is_told_so(tmp_path):
    """Where the threads of what it inherits are missing, it would wait for ever."""
    index, folder = make_index(), tmp_path / "t"
    qdrant.upload(index, folder)
    opened = qdrant.Engine(folder, index.expander)
    with warnings.catch_warnings(action="ignore"):  # of JAX's threads, which it does not need
        child = os.fork()
    if not child:
        told = 0
        for refused in (lambda: opened.search(make_vectors(1), 1), lambda: qdrant.Engine(folder, index.expander)):
            try:
                refused()
            except BusyError as error:
                told += "forked from" in str(error)
        os._exit(told)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 2
    assert opened.search(make_vectors(1), 1).ids[0, 0] is not None


def test_a_disk_that_is_nearly_full_is_refused(tmp_path, monkeypatch):
    """Edge ends the process there, by a signal."""
    index, folder, room = make_index(), tmp_path / "t", qdrant_edge.ROOM
    monkeypatch.setattr(qdrant_edge, "ROOM", 2**60)
    with pytest.raises(OSError, match=r"needs 1,099,511,627,776 MiB on the disk, where"):
        qdrant.upload(index, folder)
    monkeypatch.setattr(qdrant_edge, "ROOM", room)
    qdrant.upload(index, folder)
    monkeypatch.setattr(qdrant_edge, "ROOM", 2**60)
    with pytest.raises(OSError, match="make room, and the same again goes on"):
        qdrant.Engine(folder, index.expander)


def test_a_folder_that_was_made_anew_is_another(tmp_path):
    index, folder = make_index(), tmp_path / "t"
    qdrant.upload(index, folder)
    opened = qdrant.Engine(folder, index.expander)
    shutil.rmtree(folder)
    index.remove([index.search(make_vectors(1), 1).rows[0, 0]])
    qdrant.upload(index, folder)
    assert opened.search(make_vectors(1), N).ids[0, -1] is not None  # what it has open
    opened.close()
    found = qdrant.Engine(folder, index.expander).search(make_vectors(1), N).ids[0]
    assert_array_equal(found[:-1], index.search(make_vectors(1), N - 1).rows[0])


def test_folders_that_are_none_of_ours_or_damaged(tmp_path):
    index = make_index()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "mine.txt").write_text("kept")
    with pytest.raises(FolderError, match="holds other files"):
        qdrant.upload(index, tmp_path / "other")
    with pytest.raises(FolderError, match="is missing"):
        qdrant.Engine(tmp_path / "other", index.expander)
    folder = tmp_path / "t"
    qdrant.upload(index, folder)
    (folder / "shard" / "edge_config.json").write_text("{")
    with pytest.raises(FolderError, match="remove it and upload the index again"):
        qdrant.Engine(folder, index.expander)
    meta = json.loads((folder / qdrant_edge.META).read_text())
    (folder / qdrant_edge.META).write_text(json.dumps({**meta, "fingerprint": "0"}))
    with pytest.raises(FolderError, match="damaged"):
        qdrant.upload(index, folder)


def test_an_upload_that_was_killed_before_the_first_row_goes_on(tmp_path, monkeypatch):
    index, folder = make_index(), tmp_path / "t"

    def stopping(edge):
        raise KeyboardInterrupt

    monkeypatch.setattr(qdrant_edge, "_config", stopping)
    with pytest.raises(KeyboardInterrupt):
        qdrant.upload(index, folder)
    monkeypatch.undo()
    with pytest.raises(FolderError, match="did not end"):
        qdrant.Engine(folder, index.expander)
    qdrant.upload(index, folder)
    assert qdrant.Engine(folder, index.expander).search(make_vectors(1), 1).ids[0, 0] is not None


def test_servers_that_do_not_answer_and_collections_of_others(tmp_path):
    models = pytest.importorskip("qdrant_client").models
    index, client = make_index(), _client()
    with pytest.raises(OSError, match="Qdrant does not answer, of collection 'items'"):
        qdrant.upload(index, "http://127.0.0.1:9#items")
    with pytest.raises(InputError, match="must end in # and its name"):
        qdrant.Engine("http://127.0.0.1:9", index.expander)
    client.create_collection("mine", sparse_vectors_config={"code": models.SparseVectorParams()})
    for refused in (lambda: qdrant.upload(index, qdrant.Collection(client, "mine")), lambda: _opened(client, index)):
        with pytest.raises(FolderError, match="did not make"):
            refused()


def _opened(client, index):
    return qdrant.Engine(qdrant.Collection(client, "mine"), index.expander)


def _client():
    from qdrant_client import QdrantClient

    return QdrantClient(":memory:")
