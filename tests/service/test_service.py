"""The service on a real socket: answers are the index's, changes reach the folder, and the folder's the answers."""

import contextlib
import http.client
import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pyarrow as pa
import pytest
from compression.test_to_folder import D, make_vectors, make_weights

from compressae_jax import compression
from compressae_jax.base import files
from compressae_jax.codes import folder as codes_folder
from compressae_jax.data import open_source
from compressae_jax.model import weights as model_weights
from compressae_jax.notation import InputError
from compressae_jax.retrieval import folder_changes
from compressae_jax.retrieval.index import Index
from compressae_jax.service import catalogue as catalogue_module
from compressae_jax.service import running
from compressae_jax.service.app import Service
from compressae_jax.service.asked import Limits
from compressae_jax.service.catalogue import Catalogue
from compressae_jax.service.payload import Payload

uvicorn = pytest.importorskip("uvicorn")

N = 200
NAMES = [f"item/{i} ß" for i in range(N)]


def make_folder(path, ids=NAMES, space="dense_query"):
    weights = make_weights()
    Index(compression.encode(weights, make_vectors(N)), weights, space, ids).save(path)
    return path


def make_payload():
    prices = [float(i) if i % 10 else None for i in range(N)]
    return Payload(pa.table({"id": NAMES, "text": NAMES, "price": prices, "kind": ["a", "b"] * (N // 2)}))


class Client:
    """What asks a service; `raw` gives the status, too."""

    def __init__(self, port, **headers):
        self.port, self.headers = port, headers

    def raw(self, path, body=None, **headers):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            given = {"Content-Type": "application/json", **self.headers, **headers}
            told = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
            connection.request("GET" if body is None else "POST", path, told, given)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def __call__(self, path, body=None):
        status, told = self.raw(path, body)
        assert status == 200, told
        return json.loads(told)

    def refused(self, path, body=None, **headers):
        status, told = self.raw(path, body, **headers)
        assert status >= 400
        return status, json.loads(told)["error"]


@contextlib.contextmanager
def serving(catalogue, **options):
    service = Service(catalogue, **{"poll": 0.05, **options})
    server = uvicorn.Server(uvicorn.Config(service.app, log_level="error", lifespan="on"))
    listening = running.bound("127.0.0.1", 0)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    try:
        yield Client(listening.getsockname()[1])
    finally:
        server.should_exit = True
        thread.join(30)


def eventually(holds):
    for _ in range(200):
        if holds():
            return True
        time.sleep(0.05)
    return False


@pytest.mark.parametrize("ids", [NAMES, np.arange(N) * 10**12, None], ids=["texts", "integers", "numbers"])
def test_many_clients_get_the_answers_of_the_index(ids, tmp_path):
    path = make_folder(tmp_path / "index", ids)
    index, queries = Index.load(path), make_vectors(48, seed=3)
    with serving(Catalogue(path)) as ask, ThreadPoolExecutor(16) as pool:
        tops = [5 + i % 3 for i in range(48)]
        answers = list(
            pool.map(lambda i: ask("/search", {"vectors": [queries[i].tolist()], "top": tops[i]}), range(48))
        )
        found = index.search(queries, 7)
        names = found.rows if found.ids is None else found.ids
        for i, answer in enumerate(answers):
            assert answer["ids"] == [names[i, : tops[i]].tolist()]
            assert np.allclose(answer["scores"], found.scores[i, : tops[i]], atol=1e-6)
        _, text = ask.raw("/metrics")
        assert f'compressae_requests_total{{path="/search",status="200"}} {48.0}' in text.decode()
        assert f"compressae_rows {float(N)}" in text.decode()


def test_filters_exclusions_and_fields(tmp_path):
    path, payload = make_folder(tmp_path / "index"), make_payload()
    index, queries = Index.load(path), make_vectors(2, seed=3)
    with serving(Catalogue(path, payload=payload)) as ask:
        body = {"vectors": queries.tolist(), "top": 50, "fields": ["price"]}
        where = {"price": {"ge": 20, "lt": 120}, "kind": ["b"]}
        fulfil = [name for i, name in enumerate(NAMES) if 20 <= i < 120 and i % 2 and i % 10]
        answer = ask("/search", body | {"where": where})
        assert answer["ids"] == index.search(queries, 50, allow=fulfil).ids[:, : len(fulfil)].tolist()
        assert answer["fields"]["price"][0] == [float(NAMES.index(one)) for one in answer["ids"][0]]
        allow, exclude = NAMES[:60], [NAMES[:5], []]
        answer = ask("/search", body | {"where": where, "allow": [*allow, "gone"], "exclude": exclude})
        both = [one for one in fulfil if one in allow]
        ours = index.search(queries, 50, allow=both, exclude=exclude).ids
        assert answer["ids"] == [[one for one in some if one is not None] for some in ours]
        assert len(answer["ids"][0]) < 50  # places of none are left out
        assert ask("/search", body | {"where": {"price": {"ne": 3}}})["ids"]  # None fulfils nothing
        for where, told in (
            ({"prize": 3}, "did you mean 'price'"),
            ({"price": {"under": 3}}, "the comparison of 'price'"),
            ({"price": {"lt": "three"}}, "where: "),
            ({"price": {"lt": {"a": [1]}}}, "where: "),
            ({"price": ["three"]}, "where: "),
            ({"kind": 2**64 - 1}, "where: "),
            ({"price": {"in": 3}}, "must be in a list"),
            ([1], "where must be an object"),
        ):
            status, error = ask.refused("/search", body | {"where": where})
            assert status == 400 and told in error


def test_probes_of_a_request_and_of_all(tmp_path):
    path = make_folder(tmp_path / "index")
    index = Index.load(path).with_cells(12, progress=False)
    index.save(path)
    queries = make_vectors(20, seed=3)
    asked = [{"vectors": queries[i : i + 1].tolist(), "top": 5} for i in range(20)]
    few, all_cells, exact = (index.search(queries, 5, probes=probes).ids.tolist() for probes in (1, 12, None))
    assert few != exact == all_cells
    with serving(Catalogue(path, probes=1)) as ask, ThreadPoolExecutor(8) as pool:  # requests of both kinds together
        answers = list(pool.map(lambda i: ask("/search", asked[i // 2] | ({"probes": 12} if i % 2 else {})), range(40)))
        assert [answer["ids"][0] for answer in answers[::2]] == few
        assert [answer["ids"][0] for answer in answers[1::2]] == exact
        assert "probes" in ask.refused("/search", asked[0] | {"probes": 13})[1]
    with serving(Catalogue(path)) as ask:
        assert [ask("/search", one)["ids"][0] for one in asked] == exact
    with pytest.raises(InputError, match="with_cells"):
        Catalogue(make_folder(tmp_path / "plain"), probes=1)


def test_items_find_their_neighbours_without_themselves(tmp_path):
    path = make_folder(tmp_path / "index")
    index = Index.load(path)
    with serving(Catalogue(path)) as ask:
        answer = ask("/search", {"ids": NAMES[:2], "top": 5})
        assert (
            answer["ids"] == index.search(index.rows(NAMES[:2]), 5, exclude=[[one] for one in NAMES[:2]]).ids.tolist()
        )
        assert ask("/search", {"ids": NAMES[:1], "top": 1, "exclude": [[]]})["ids"] == [NAMES[:1]]
        status, error = ask.refused("/search", {"ids": ["nobody"]})
        assert status == 400 and "nobody" in error
        both = [{"ids": ["nobody"]}, {"ids": NAMES[:1]}]
        with ThreadPoolExecutor(8) as pool:  # who asks beside is answered
            answers = list(pool.map(lambda i: ask.raw("/search", both[i % 2])[0], range(16)))
        assert answers == [400, 200] * 8


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b"{", "no JSON"),
        ([], "must be an object"),
        ({}, "one of both"),
        ({"vectors": [[1.0] * D], "ids": ["x"]}, "one of both"),
        ({"vectors": [[1.0]]}, "width 1"),
        ({"vectors": [1.0]}, "list of lists"),
        ({"vectors": [["x"] * D]}, "numbers"),
        ({"vectors": [[True] * D]}, "numbers"),
        ({"vectors": [[None] * D]}, "numbers"),
        ({"vectors": [[[1.0]] * D]}, "numbers"),
        ({"vectors": [[1.0], [1.0, 2.0]]}, "one length"),
        ({"vectors": [[1e39] * D]}, "not finite"),
        (b'{"vectors": [[NaN]]}', "no JSON"),
        ({"vectors": [[1.0] * D] * 9}, "8 queries"),
        ({"vectors": [[1.0] * D], "top": 0}, "top"),
        ({"vectors": [[1.0] * D], "top": 51}, "from 1 to 50"),
        ({"vectors": [[1.0] * D], "top": True}, "top"),
        ({"vectors": [[1.0] * D], "Top": 3}, "did you mean 'top'"),
        ({"vectors": [[1.0] * D], "exclude": [[], []]}, "one list of ids a query"),
        ({"vectors": [[1.0] * D], "exclude": [[1.5]]}, "integers or texts"),
        ({"vectors": [[1.0] * D], "allow": "x"}, "list of ids"),
        ({"vectors": [[1.0] * D], "allow": [3]}, "ids"),
        ({"vectors": [[1.0] * D], "fields": ["price"]}, "--payload"),
        ({"vectors": [[1.0] * D], "where": {"price": 3}}, "--payload"),
    ],
)
def test_bad_requests_are_told_so(body, told, small_service):
    status, error = small_service.refused("/search", body)
    assert status == 400 and told in error


@pytest.fixture(scope="module")
def small_service(tmp_path_factory):
    path = make_folder(tmp_path_factory.mktemp("service") / "index")
    with serving(Catalogue(path), limits=Limits(top=50, queries=8, body=20_000)) as ask:
        yield ask


def test_doors_are_kept(small_service):
    body = {"vectors": [[1.0] * D]}
    assert small_service.refused("/search", {**body, "allow": ["x" * 30_000]})[0] == 413
    assert small_service.refused("/search", body, **{"Content-Type": "text/plain"})[0] == 415
    assert small_service.refused("/search", body, Host="evil.example:80")[0] == 421
    assert small_service.refused("/nowhere") == (404, "Not Found") and small_service.refused("/search")[0] == 405
    assert json.loads(small_service.raw("/health")[1]) == {"status": "ok", "fault": None}
    for name in ("/", "/page.js", "/page.css"):
        assert small_service.raw(name)[0] == 200
    connection = http.client.HTTPConnection("127.0.0.1", small_service.port, timeout=30)
    chunks = (b"[" * 1000 for _ in range(100))  # of no length that is told before
    with contextlib.suppress(ConnectionError):  # who is refused early may not hear it before the line is cut
        connection.request("POST", "/search", chunks, {"Content-Type": "application/json"}, encode_chunked=True)
        assert connection.getresponse().status == 413
    connection.close()
    refusals = b'compressae_requests_total{path="/search",status="413"} 2.0'
    assert eventually(lambda: refusals in small_service.raw("/metrics")[1])
    assert small_service("/search", body)["ids"]


def test_a_token_opens(tmp_path):
    path = make_folder(tmp_path / "index")
    with serving(Catalogue(path), token="sésame", loopback=False) as ask:
        body = {"ids": NAMES[:1]}
        assert ask.raw("/")[0] == ask.raw("/health")[0] == 200
        for path in ("/about", "/metrics", "/names", "/neighbours", "/latents"):
            assert ask.refused(path)[0] == 401
        for path in ("/search", "/add", "/remove"):
            assert ask.refused(path, body)[0] == 401
        assert ask.refused("/search", body, Authorization="Bearer wrong")[0] == 401
        opened = Client(ask.port, Authorization="Bearer sésame".encode().decode("latin-1"), Host="any.example")
        assert opened("/search", body)["ids"]


def test_changes_are_written_and_those_of_others_are_seen(tmp_path):
    path = make_folder(tmp_path / "index", space="reconstructed")
    catalogue, fresh = Catalogue(path, space="dense_query"), make_vectors(3, seed=5)
    with serving(catalogue) as ask:
        assert ask("/add", {"vectors": fresh.tolist(), "ids": ["a", "b", "c"]}) == {"added": 3, "rows": N + 3}
        found = ask("/search", {"vectors": fresh.tolist(), "top": 9})["ids"]
        assert found == Index.load(path).in_space("dense_query").search(fresh, 9).ids.tolist()
        status, error = ask.refused("/add", {"vectors": fresh.tolist(), "ids": ["d", "e", "a"]})
        assert status == 400 and "'a'" in error and len(catalogue.index) == N + 3
        assert ask("/remove", {"ids": ["b", NAMES[0]]}) == {"rows": N + 1}
        assert ask.refused("/remove", {"ids": ["nobody"]})[0] == 400
        assert ask.refused("/search", {"ids": ["b"]})[0] == 400
        written = Index.load(path)
        assert len(written) == N + 1 and written.space == "reconstructed"  # what is served in another space stays so
        folder_changes.remove(path, ["c"])
        assert eventually(lambda: ask("/about")["rows"] == N)
        folder_changes.add(path, open_source(fresh[:1], ids=["z"]), progress=False)
        assert ask("/remove", {"ids": ["a"]})["rows"] == N  # before or after the look: what others did is not lost
        assert sorted(Index.load(path).ids)[-1] == "z" and eventually(lambda: ask("/about")["rows"] == N)


def test_a_change_waits_for_another_writer_a_while(tmp_path, monkeypatch):
    path = make_folder(tmp_path / "index")
    with serving(Catalogue(path)) as ask, ThreadPoolExecutor(1) as pool:
        with files.locked(path):
            waiting = pool.submit(ask.raw, "/remove", {"ids": NAMES[:1]})
            time.sleep(0.2)
            assert not waiting.done()
        assert waiting.result() == (200, b'{"rows":199}')
        monkeypatch.setattr(catalogue_module, "PATIENCE", 0.1)
        with files.locked(path):
            status, error = ask.refused("/remove", {"ids": NAMES[1:2]})
            assert status == 409 and "is being written by" in error
        assert ask("/about")["rows"] == len(Index.load(path)) == N - 1


def test_a_folder_that_is_damaged_later_is_told_and_the_rows_stay(tmp_path, capfd):
    path = make_folder(tmp_path / "index")
    with serving(Catalogue(path)) as ask:
        (path / "index.json").write_text("{")
        assert eventually(lambda: json.loads(ask.raw("/health")[1])["status"] != "ok")
        assert ask("/search", {"ids": NAMES[:1]})["ids"]
        text = ask.raw("/metrics")[1].decode()
        assert 'compressae_reloads_total{outcome="failed"} 1.0' in text  # told once
    assert capfd.readouterr().err.count("what was served before still is") == 1


def test_codes_folders_are_served_and_do_not_change(tmp_path):
    weights = make_weights()
    model_weights.save(weights, tmp_path / "model")
    codes_folder.write(tmp_path / "codes", compression.encode(weights, make_vectors(N)), d=D)
    with serving(Catalogue(tmp_path / "codes", tmp_path / "model")) as ask:
        assert ask("/search", {"ids": [3]})["ids"] and not ask("/about")["changeable"]
        status, error = ask.refused("/add", {"vectors": [[1.0] * D]})
        assert status == 400 and "codes folder" in error


def test_what_the_page_asks(tmp_path):
    path, vectors = make_folder(tmp_path / "index"), make_vectors(N)
    catalogue = Catalogue(path, payload=make_payload(), dense=open_source(vectors, ids=NAMES))
    index = catalogue.index
    with serving(catalogue) as ask:
        assert ask("/names?contains=ITEM/19")["ids"] == [NAMES[19], *NAMES[190:200]]
        assert ask("/names?contains=9%20%C3%9F")["ids"][0] == NAMES[9]
        near = ask("/neighbours?id=item/7%20%C3%9F&top=4")
        units = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        order = np.argsort(-(units @ units[7]))
        assert near["dense"]["ids"] == [NAMES[i] for i in order[1:5]]
        assert near["codes"]["ids"] == index.search(index.rows([NAMES[7]]), 4, exclude=[[NAMES[7]]]).ids[0].tolist()
        latents = ask("/latents?id=item/7%20%C3%9F")
        row = index.rows([NAMES[7]]).codes()
        order = np.argsort(-np.abs(row.values[0].astype(np.float32)), kind="stable")
        assert latents["columns"] == row.columns[0][order].tolist()
        assert np.isclose(np.square(latents["weights"]).sum(), 1, atol=1e-3)
        assert all(some for some in latents["ids"])
        for path in (
            "/neighbours?id=nobody",
            "/latents?id=nobody",
            "/neighbours",
            "/neighbours?id=item/7%20%C3%9F&top=x",
        ):
            assert ask.refused(path)[0] == 400


def test_dense_vectors_are_told_by_ids(tmp_path):
    with pytest.raises(InputError, match="the rows have ids and the dense vectors have none"):
        Catalogue(make_folder(tmp_path / "index"), dense=open_source(make_vectors(N)))
    catalogue = Catalogue(make_folder(tmp_path / "plain", None), dense=open_source(make_vectors(N)))
    with pytest.raises(InputError, match="no dense vector of 200"):
        catalogue.dense([N], 3)


def test_an_index_without_rows_is_served(tmp_path):
    path = make_folder(tmp_path / "index")
    folder_changes.remove(path, NAMES)
    with serving(Catalogue(path)) as ask:
        assert ask("/search", {"vectors": [[1.0] * D]})["ids"] == [[]]
        assert ask("/add", {"vectors": make_vectors(1).tolist(), "ids": NAMES[:1]})["rows"] == 1
        assert ask("/search", {"vectors": make_vectors(1).tolist()})["ids"] == [NAMES[:1]]
        assert ask("/search", {"vectors": []})["ids"] == []


def test_payload_needs_ids():
    for table, told in (
        (pa.table({"name": ["x"]}), "a column 'id'"),
        (pa.table({"id": ["x", "x"]}), "unique"),
        (pa.table({"id": [1.5]}), "integers or texts"),
        (pa.table({"id": ["x", None]}), "none missing"),
    ):
        with pytest.raises(InputError, match=told):
            Payload(table)
