"""Bulk files and bodies of searches, and what Lucene itself ranks by them; `lucene` stands in for a server."""

import datetime
import functools
import json
import os

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from retrieval.test_index import make_vectors, make_weights
from serving.test_engines import make_index

from benchmarks import lucene
from compressae_jax import compression
from compressae_jax.codes.spaces import SPACES
from compressae_jax.notation import FolderError, InputError
from compressae_jax.retrieval.index import Index
from compressae_jax.serving import comparing, elasticsearch, terms
from compressae_jax.serving.elasticsearch import Engine, send, upload

N, BATCH = 150, 64


@functools.cache
def missing():
    return None if lucene.jar() else "Lucene's jar and javac: launch/test_engines.sh brings the one, JDK 11 the other"


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    if missing():
        if os.environ.get("COMPRESSAE_ENGINES"):
            pytest.fail(missing())
        pytest.skip(missing())
    with lucene.running(tmp_path_factory.mktemp("lucene")) as server:
        yield server


@pytest.fixture
def server(running):
    """One without an index."""
    running.forget()
    running.requests.clear()
    return running


def lines(folder):
    """All files as actions in their order."""
    for path in sorted(folder.glob("bulk-*.ndjson")):
        rows = iter(path.read_text().splitlines())
        for row in rows:
            ((action, said),) = json.loads(row).items()
            yield action, said["_id"], json.loads(next(rows)) if action == "index" else None


def after(folder):
    """What a server has that was sent all files."""
    there = {}
    for action, one, document in lines(folder):
        if action == "index":
            there[one] = document
        else:
            del there[one]
    return there


@pytest.mark.parametrize("similarity", ["cosine", "dot"])
@pytest.mark.parametrize("field", elasticsearch.FIELDS)
def test_lucene_finds_our_answers_in_every_space(server, field, similarity, tmp_path):
    queries = make_vectors(6, seed=2)
    queries[2] = 0
    for space in SPACES:
        index = make_index(space, similarity=similarity)
        name = "sparse" if space == "sparse" else "both"
        if space != "dense_query":
            server.forget()
            upload(index, tmp_path / name, batch=BATCH, field=field, url=f"{server.url}/{name}")
        found = Engine(f"{server.url}/{name}", index).search(queries, 10)
        judged = comparing.compare(index, found, queries)
        assert judged.recall == {10: 1} and judged.unknown == judged.short == 0
        assert_allclose(found.scores, index.search(queries, 10).scores, rtol=1e-5, atol=1e-6)
        assert all(one is None for one in found.ids[2])
    assert len(list(tmp_path.glob("both/bulk-*"))) == 3  # one a batch, of two spaces


def test_the_positive_side_alone_loses_answers_that_rescoring_brings_back(server, tmp_path):
    index, queries = make_index(), make_vectors(20, seed=2)
    upload(index, tmp_path / "t", url=f"{server.url}/items")
    opened = Engine(f"{server.url}/items", index)
    recalls = [comparing.compare(index, opened.search(queries, 10, rescored=r), queries).recall[10] for r in (10, 100)]
    assert recalls[0] < 0.98 < recalls[1]


@pytest.mark.parametrize("ids", ["texts", "numbers", None])
def test_additions_removals_and_payload_follow(server, ids, tmp_path):
    index, queries, place = make_index(ids=ids), make_vectors(4, seed=2), tmp_path / "t"
    url = f"{server.url}/items"
    prices = [None if i == 7 else i for i in range(N)]
    upload(index, place, {"price": prices, "kind": ["a", "b'"] * (N // 2)}, batch=BATCH, url=url)
    opened = Engine(url, index)
    where = [{"range": {"price": {"lt": 90}}}, {"term": {"kind": "b'"}}]
    names = np.arange(N) if ids is None else index.ids
    kept = names[[i for i in range(90) if i % 2 and i != 7]]
    found = opened.search(queries, 20, where=where)
    ours = index.search(queries, 20, allow=kept)
    assert_array_equal(found.ids, ours.rows if ids is None else ours.ids)
    gone = list(found.ids[0, :3])
    index.remove(gone)
    index.add(make_vectors(9, seed=3), ids=None if ids is None else _more(ids))
    payload = {"price": np.arange(len(index)) % 50, "kind": ["c"] * len(index)}
    for turn in range(2):
        upload(index, place, payload, batch=BATCH, url=url)
        files = sorted(path.name for path in place.glob("bulk-*"))
        assert turn == 0 or files == before  # nothing changed
        before = files
        found, ours = opened.search(queries, 20), index.search(queries, 20)
        assert_array_equal(found.ids, ours.rows if ids is None else ours.ids)
    assert after(place) == server.documents and len(server.documents) == len(index)
    assert [path for _, path in server.requests].count("/items/_bulk") == len(before)  # each once
    assert (opened.search(queries, 3, where={"term": {"kind": "a"}}).scores == -np.inf).all()
    index.remove(index.search(queries[:1], len(index)).rows[0] if ids is None else index.ids)
    upload(index, place, {"price": [], "kind": []}, url=url)
    assert not server.documents and (opened.search(queries, 3).scores == -np.inf).all()


def test_ids_beyond_63_bits(server, tmp_path):
    index, queries = make_index(), make_vectors(3, seed=2)
    index = Index(index.codes.with_ids(None), index.weights, ids=np.arange(N, dtype=np.uint64) + np.uint64(2**63))
    upload(index, tmp_path / "t", url=f"{server.url}/items")
    found = Engine(f"{server.url}/items", index).search(queries, 10)
    assert_array_equal(found.ids, index.search(queries, 10).ids)


def _more(ids):
    return [f"new {i}" for i in range(9)] if ids == "texts" else np.arange(9) + 1


def test_files_without_a_server(tmp_path):
    """Documents are the split rows; again, another file has what changed, and deletions."""
    index, place = make_index(), tmp_path / "t"
    upload(index, place, {"price": np.arange(N)}, batch=BATCH)
    mapping = json.loads((place / "mapping.json").read_text())["mappings"]
    assert mapping["properties"] == {"code": {"type": "rank_features"}, "price": {"type": "long"}}
    assert mapping["dynamic"] == "strict"
    there = after(place)
    u = index.expander.expand(make_vectors(1, seed=2))[0]
    ours = index.search_expanded(u[None], N)
    by_id = dict(zip(ours.ids[0], ours.scores[0], strict=True))
    for one, document in there.items():  # as many columns as any row, all positive, the product with both sides ours
        sides = sum(v * (u[int(c) // 2] if int(c) % 2 == 0 else -u[int(c) // 2]) for c, v in document["code"].items())
        assert min(document["code"].values()) > 0 and abs(sides - by_id[one]) < 1e-6
    gone, changed = index.ids[0], index.ids[5]
    index.remove([gone, changed])
    index.add(make_vectors(1, seed=3), ids=[changed])
    (place / "bulk-000001.ndjson").unlink()  # that was sent
    upload(index, place, {"price": [*range(1, 5), *range(6, N), 5]})
    new = [(action, one) for action, one, _ in lines(place)][N - BATCH :]
    assert new == [("index", changed), ("delete", gone)]


def test_types_of_payload(tmp_path):
    index, moment = make_index(), datetime.datetime(2026, 1, 2, 3, 4, 5)
    payload = {
        "whole": np.arange(N, dtype=np.int32),
        "number": [1, 2.5] * (N // 2),
        "text": np.array(["ß"] * N),
        "yes": np.arange(N) > 3,
        "when": np.array([moment] * N, "datetime64[ns]"),
        "day": [moment.date(), None] * (N // 2),
        "none": [None] * N,
    }
    upload(index, tmp_path / "t", payload=payload)
    properties = json.loads((tmp_path / "t" / "mapping.json").read_text())["mappings"]["properties"]
    wanted = ["long", "double", "keyword", "boolean", "date", "date"]
    assert [one["type"] for one in properties.values()] == ["rank_features", *wanted]
    document = after(tmp_path / "t")[index.ids[1]]
    del document["code"]
    assert document == {"whole": 1, "number": 2.5, "text": "ß", "yes": False, "when": "2026-01-02T03:04:05"}


def test_a_killed_upload_goes_on(tmp_path, monkeypatch):
    index, place = make_index(), tmp_path / "t"
    replace, done = elasticsearch.Path.replace, []

    def stopping(self, target):
        if "bulk-" in self.name:
            if len(done) == 1:
                raise KeyboardInterrupt  # the state has it, the folder not yet
            done.append(target)
        return replace(self, target)

    with monkeypatch.context() as patched:
        patched.setattr(elasticsearch.Path, "replace", stopping)
        with pytest.raises(KeyboardInterrupt):
            upload(index, place, batch=BATCH)
    assert len(list(place.glob("bulk-*"))) == 1
    first = done[0].stat().st_mtime_ns
    upload(index, place, batch=BATCH)
    assert done[0].stat().st_mtime_ns == first and len(after(place)) == N
    assert sorted(path.name for path in place.iterdir() if not path.name.startswith("bulk")) == [
        "mapping.json",
        "state.sqlite",
    ]
    (place / ".compressae-bulk-000009.ndjson").write_text("of a kill before the state had it")
    upload(index, place, batch=BATCH)
    assert len(list(place.glob("*bulk-*"))) == len(list(place.glob(".*bulk-*"))) + 3 == 3


def test_sending_goes_on_where_it_stopped(server, tmp_path, monkeypatch):
    index, place, url = make_index(), tmp_path / "t", f"{server.url}/items"
    upload(index, place, batch=BATCH)
    bulk, sent = elasticsearch.http.Place.bulk, []

    def stopping(self, content, name):
        if len(sent) == 2:
            raise KeyboardInterrupt
        sent.append(name)
        bulk(self, content, name)

    with monkeypatch.context() as patched:
        patched.setattr(elasticsearch.http.Place, "bulk", stopping)
        with pytest.raises(KeyboardInterrupt):
            send(place, url)
    (place / sent[0]).unlink()
    send(place, url)
    assert len(server.documents) == N and [path for _, path in server.requests].count("/items/_bulk") == 3
    server.forget()
    with pytest.raises(FolderError, match=r"bulk-000001.ndjson is gone, and .* has not got it"):
        send(place, url)


def test_bodies():
    u = np.zeros((1, 3000), np.float32)
    u[0, [4, 7, 9]] = 0.5, -2, 1e-45
    asked = elasticsearch.body(terms.largest(u)[0], 7, {"term": {"kind": "a"}})
    wanted = [{"rank_feature": {"field": f"code.{c}", "linear": {}, "boost": w}} for c, w in ((8, 16), (15, 64))]
    assert asked["query"]["bool"]["should"][:2] == wanted and asked["query"]["bool"]["filter"] == [
        {"term": {"kind": "a"}}
    ]
    assert asked["size"] == 7 and asked["_source"] is False and asked["query"]["bool"]["minimum_should_match"] == 1
    asked = elasticsearch.body(terms.largest(u, 2)[0], 7, field="sparse_vector")
    vector = {"field": "code", "query_vector": {"8": 16.0, "15": 64.0}, "prune": False}
    assert asked["query"] == {"bool": {"must": [{"sparse_vector": vector}]}}
    u[:] = 1
    with pytest.raises(InputError, match=r"max_clause_count\) must be an integer from 1 to 1024, not 3000"):
        elasticsearch.body(terms.largest(u)[0], 7)
    with pytest.raises(InputError, match="size must be an integer from 1 to 10000"):
        elasticsearch.body(terms.largest(u, 2)[0], 10_001)


def test_lucene_has_the_limits_that_are_ours(running):
    """So that they are those of the engines, and not more."""
    features = [f"{i}:1" for i in range(1025)]
    running.say("boosted 3 - " + " ".join(features[:1024]))
    with pytest.raises(lucene.RefusedError, match="1024"):
        running.say("boosted 3 - " + " ".join(features))
    running.say("weighted 3 - 1:64")
    with pytest.raises(lucene.RefusedError, match="64"):
        running.say("weighted 3 - 1:64.1")
    for value in (0.0, -1.0, float(np.float32(elasticsearch.SMALLEST) / 2)):
        with pytest.raises(lucene.RefusedError):
            running.say(f"add 00 1:{value!r}")


def test_what_cannot_be_held_is_refused(tmp_path):
    index = make_index()
    rows, weights = index.codes.with_ids(None), index.weights

    def named(first):
        return Index(rows, weights, ids=[first, *(str(i) for i in range(1, N))])

    for name, why in (("", "has 0 bytes"), ("ß" * 257, "has 514 bytes"), ("\ud800", "in UTF-8")):
        with pytest.raises(InputError, match=why):
            upload(named(name), tmp_path / f"t{len(name)}")
    upload(named("ß" * 256), tmp_path / "long")
    for values, why in (
        ([1.5, float("nan")] * 75, "has nan, which JSON does not hold"),
        ([1, "a"] * 75, "of one kind, not int, str"),
        ([2**63] * N, "integers have 64 bits"),
        ([[1]] * N, "not list"),
        (["\ud800"] * N, "in UTF-8"),
    ):
        with pytest.raises(InputError, match=why):
            upload(index, tmp_path / "p", payload={"a": values})
    for name in ("code", "_x", "a.b"):
        with pytest.raises(InputError, match="is no name for a field"):
            upload(index, tmp_path / "n", payload={name: [1] * N})
    small = Index(
        compression.encode(weights, make_vectors(5) * np.float32(1e-38), similarity="dot", storage="float32"), weights
    )
    with pytest.raises(InputError, match="which Lucene does not hold: multiply all"):
        upload(small, tmp_path / "small")
    with pytest.raises(InputError, match="field must be one of"):
        upload(index, tmp_path / "f", field="dense_vector")


def test_an_upload_of_another_kind_is_refused(tmp_path):
    index, place = make_index(), tmp_path / "t"
    upload(index, place, payload={"price": [1] * N, "later": [None] * N})
    upload(index, place, payload={"price": [2] * N, "later": [1.5] * N})
    upload(index, place, payload={"price": [2] * N, "later": [1] * N})  # which a server takes as 1.0
    for payload, why in (
        ({"price": [1.5] * N, "later": [1.5] * N}, "'price' must be long, as .* has it, not double"),
        ({"price": [1] * N}, "payload must have the columns that"),
        ({"price": [1] * N, "later": ["a"] * N}, "'later' must be double"),
    ):
        with pytest.raises(InputError, match=why):
            upload(index, place, payload=payload)
    with pytest.raises(InputError, match="holds vectors of model"):
        upload(index.in_space("sparse"), place)
    with pytest.raises(InputError, match="has field 'rank_features' and ids that are texts"):
        upload(index, place, payload={"price": [1] * N, "later": [1.5] * N}, field="sparse_vector")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "mine.txt").write_text("kept")
    with pytest.raises(FolderError, match="holds other files"):
        upload(index, tmp_path / "other")
    with pytest.raises(FolderError, match="is no folder that was uploaded to"):
        send(tmp_path / "other", "http://localhost:1/items")
    (place / "state.sqlite").write_bytes(b"no database" * 500)
    with pytest.raises(FolderError, match="is damaged"):
        upload(index, place)


def test_what_a_server_says_is_heard(server, tmp_path):
    index, queries, place, url = make_index(), make_vectors(2, seed=2), tmp_path / "t", f"{server.url}/items"
    with pytest.raises(FolderError, match="there is no such index; upload it with url=http"):
        Engine(url, index)
    upload(index, place, {"price": np.arange(N)}, url=url)
    opened = Engine(url.replace("http://", "http://me:secret@"), index)
    assert "secret" not in opened.place.name
    with pytest.raises(InputError, match=r"the server refused .*unknown query \[fuzzy\]"):
        opened.search(queries, where={"fuzzy": {}})
    with pytest.raises(InputError, match="rescored must be an integer of at least top=10"):
        opened.search(queries, rescored=9)
    with pytest.raises(InputError, match="top must be an integer from 1 to 10000"):
        opened.search(queries, top=10_001)
    with pytest.raises(InputError, match="the expander is for"):
        Engine(url, index.in_space("sparse"))
    other = Index(compression.encode(make_weights(seed=1), make_vectors(9)), make_weights(seed=1))
    with pytest.raises(InputError, match="the expander is for"):
        Engine(url, other)
    server.failed = 1
    with pytest.raises(OSError, match="answered for 1 of 2 shards only"):
        opened.search(queries)
    upload(index, tmp_path / "again", {"price": np.arange(N)})
    with pytest.raises(InputError, match="was sent from another folder"):
        send(tmp_path / "again", url)
    server.mapping = {"properties": {}}
    with pytest.raises(FolderError, match="holds something else"):
        opened.search(queries)
    for wrong in ("localhost:9200/items", "http://localhost:9200", "ftp://localhost/items"):
        with pytest.raises(InputError, match="url must name an index"):
            Engine(wrong, index)
    with pytest.raises(OSError, match="does not answer"):
        Engine("http://127.0.0.1:9/items", index)


def test_a_document_that_is_refused_is_no_silent_loss(server, tmp_path):
    index, place, url = make_index(), tmp_path / "t", f"{server.url}/items"
    upload(index, place)
    path = place / "bulk-000001.ndjson"
    path.write_text(path.read_text().replace('"code":{', '"other":1,"code":{', 1))
    with pytest.raises(InputError, match=r"refused .* of bulk-000001.ndjson: mapping set to strict"):
        send(place, url)
