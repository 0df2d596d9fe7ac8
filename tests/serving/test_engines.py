"""Real engines against our own search: one contract for all. What is not installed is skipped, but for
`launch/test_engines.sh`, which sets COMPRESSAE_ENGINES.
"""

import functools
import importlib
import json
import os
import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import pytest
import xxhash
from evaluation import small
from numpy.testing import assert_allclose, assert_array_equal
from retrieval.test_index import make_vectors, make_weights
from serving import servers

from compressae_jax import compression
from compressae_jax.codes.codes import Codes
from compressae_jax.codes.spaces import SPACES
from compressae_jax.notation import BusyError, FolderError, InputError
from compressae_jax.retrieval.index import Index
from compressae_jax.retrieval.queries import Expander
from compressae_jax.serving import clickhouse, comparing, duckdb, kannolo, parquet, postgres, qdrant, sqlite

N, BATCH = 150, 64


class Filters(NamedTuple):
    """What one engine calls these conditions on columns `price` and `kind`, as arguments of `search`."""

    cheap_b: dict  # price below 90, kind "b'"
    kind_a: dict
    wrong: dict
    told: str  # of the wrong one


SQL = Filters(
    {"where": "price < 90 and kind = 'b'''"}, {"where": "kind = 'a'"}, {"where": "price <"}, "where='price <'"
)
QDRANT = Filters(
    {
        "filter": {
            "must": [{"key": "price", "range": {"lt": 90}}, {"key": "kind", "match": {"value": "b'"}}],
        }
    },
    {"filter": {"must": {"key": "kind", "match": {"value": "a"}}}},
    {"filter": {"must": [{"key": "price", "wrong": 1}]}},
    "filter=",
)


class Kind(NamedTuple):
    needs: str
    upload: Callable
    open: Callable
    suffix: str = ""  # of what it writes
    filters: Filters | None = SQL  # None: no filter, no payload
    whole: bool = True  # rows that share no column with the query are found, too
    at: Callable = lambda path: path  # the place that a path stands for


@functools.cache
def local_client():
    """Qdrant's client without a server: the double of one, for the shape of requests."""
    from qdrant_client import QdrantClient

    return QdrantClient(":memory:", force_disable_check_same_thread=True)


def table(form):
    """An engine of PostgreSQL, whose tables are named after paths."""
    return Kind(
        "psycopg",
        functools.partial(postgres.upload, form=form),
        postgres.Engine,
        at=lambda path: f"{servers.postgres()}#t_{xxhash.xxh3_64_hexdigest(str(path).encode())}",
    )


KINDS = {
    "duckdb": Kind("duckdb", parquet.upload, duckdb.Engine),
    "clickhouse": Kind("chdb", parquet.upload, clickhouse.Engine),
    "kannolo": Kind("kannolo", kannolo.upload, kannolo.Engine, filters=None),
    "kannolo, graph": Kind("kannolo", functools.partial(kannolo.upload, form="hnsw"), kannolo.Engine, filters=None),
    "postgres, pgvector": table("pgvector"),
    "postgres, arrays": table("arrays"),
    "qdrant": Kind("qdrant_edge", qdrant.upload, qdrant.Engine, filters=QDRANT, whole=False),
    "qdrant_client": Kind(
        "qdrant_client",
        qdrant.upload,
        qdrant.Engine,
        filters=QDRANT,
        whole=False,
        at=lambda path: qdrant.Collection(local_client(), str(path).replace("/", "_")),
    ),
    "sqlite": Kind("sqlite3", sqlite.upload, sqlite.Engine, ".sqlite", whole=False),
}
SCANS = ["clickhouse", "duckdb"]


@pytest.fixture(params=sorted(KINDS))
def kind(request):
    """An engine that is installed."""
    needed(KINDS[request.param].needs)
    return KINDS[request.param]


def needed(package):
    """Skip what an engine tests that is not installed, but for `launch/test_engines.sh`."""
    if os.environ.get("COMPRESSAE_ENGINES"):
        importlib.import_module(package)
    else:
        pytest.importorskip(package)


def make_index(space="dense_query", ids="texts", similarity="cosine", storage="float16"):
    weights = make_weights()
    rows = compression.encode(weights, make_vectors(N), storage=storage, similarity=similarity)
    named = {"texts": [f"it's {i}: ß" for i in range(N)], "numbers": np.arange(N) * 10**12, None: None}[ids]
    return Index(rows, weights, space, named)


def upload(index, folder, **options):
    """Into files of Parquet, several."""
    parquet.upload(index, folder, batch=BATCH, **options)


@pytest.mark.parametrize("similarity", ["cosine", "dot"])
@pytest.mark.parametrize("ids", ["texts", "numbers", None])
def test_answers_are_ours_in_every_space(kind, ids, similarity, tmp_path):
    queries = make_vectors(6, seed=2)
    queries[2] = 0
    for space in SPACES:
        index = make_index(space, ids, similarity)
        place = kind.at(tmp_path / f"{'sparse' if space == 'sparse' else 'both'}{kind.suffix}")
        kind.upload(index, place, batch=BATCH)
        found = kind.open(place, index.expander).search(queries, 100)
        ours, judged = index.search(queries, 100), comparing.compare(index, found, queries)
        assert judged.unknown == 0
        assert all(one is None for one in found.ids[2]) and (found.scores[2] == -np.inf).all()
        if space == "sparse" and not kind.whole:
            for i in range(len(queries)):
                there = [one for one in found.ids[i] if one is not None]
                zero = index.within(queries[i : i + 1], 1e-6)
                assert set(zero.rows if ids is None else zero.ids) <= set(there) or len(there) == 100
            assert judged.recall[10] == 1
            continue
        assert_allclose(found.scores, ours.scores, rtol=1e-5, atol=1e-5)
        assert judged.with_ties == {10: 1, 100: 1} and judged.short == 0
        assert space == "sparse" or min(judged.recall.values()) > 0.99  # many rows score 0 there, which are all tied
    assert len(list(tmp_path.glob("both/*.parquet"))) == (3 if kind.upload is parquet.upload else 0)  # of two spaces


def test_additions_removals_and_payload_follow(kind, tmp_path):
    index, queries, place = make_index(), make_vectors(4, seed=2), kind.at(tmp_path / f"t{kind.suffix}")
    prices = np.arange(N, dtype=np.float64)
    payload = {"price": prices, "kind": ["a", "b'"] * (N // 2)} if kind.filters else None
    kind.upload(index, place, payload, batch=BATCH)
    opened = kind.open(place, index.expander)
    found = opened.search(queries, 30)
    if kind.filters:
        kept = index.ids[np.flatnonzero((prices < 90) & (np.arange(N) % 2 == 1))]
        found = opened.search(queries, 30, **kind.filters.cheap_b)
        assert_array_equal(found.ids, index.search(queries, 30, allow=kept).ids)
    index.remove(list(found.ids[0, :3]))
    changed = index.ids[5]
    index.remove([changed])
    index.add(make_vectors(9, seed=3), ids=[changed, *(f"new {i}" for i in range(8))])
    payload = {"price": np.arange(len(index)), "kind": ["c"] * len(index)} if kind.filters else None
    for _ in range(2):  # the second changes nothing
        kind.upload(index, place, payload, batch=BATCH)
        found = opened.search(queries, 30)
        assert_array_equal(found.ids, index.search(queries, 30).ids)
        assert_allclose(found.scores, index.search(queries, 30).scores, atol=1e-5)
    if kind.filters:
        assert (opened.search(queries, 3, **kind.filters.kind_a).scores == -np.inf).all()
    index.remove(index.ids)
    kind.upload(index, place, {"price": [], "kind": []} if kind.filters else None)
    assert (opened.search(queries, 3).scores == -np.inf).all()


def test_searches_meanwhile_find_rows_of_some_state(kind, tmp_path):
    index, queries, place = make_index(ids="numbers"), make_vectors(2, seed=2), kind.at(tmp_path / f"t{kind.suffix}")
    kind.upload(index, place)
    opened, stop, found = kind.open(place, index.expander), threading.Event(), []

    def search():
        while not stop.is_set():
            found.append(opened.search(queries, 5))

    ids, best = index.ids[:40], index.search(queries, 5)
    with ThreadPoolExecutor(1) as pool:
        searching = pool.submit(search)
        for some in (ids[:20], ids[20:]):
            index.remove(some)
            kind.upload(index, place)
        stop.set()
        searching.result()
    assert found and all((one.scores <= best.scores + 1e-5).all() and (one.scores > -np.inf).all() for one in found)
    assert_array_equal(opened.search(queries, 5).ids, index.search(queries, 5).ids)


def test_a_locked_sqlite_is_said_to_be_so(tmp_path, monkeypatch):
    index, path = make_index(), tmp_path / "t.sqlite"
    sqlite.upload(index, path)
    monkeypatch.setattr(sqlite, "WAIT", 0.1)
    with sqlite3.connect(path) as other:
        other.execute("begin exclusive")
        with pytest.raises(BusyError, match="is held by another process"):
            sqlite.upload(index, path, payload={})
        other.rollback()


def test_what_an_engine_refuses(kind, tmp_path):
    index, queries, place = make_index(), make_vectors(2, seed=2), kind.at(tmp_path / f"t{kind.suffix}")
    kind.upload(index, place)
    opened = kind.open(place, index.expander)
    wrong = kind.filters or SQL
    with pytest.raises(InputError, match=f"refused the query, {wrong.told}" if kind.filters else "has no filter"):
        opened.search(queries, **wrong.wrong)
    with pytest.raises(InputError, match="top must be an integer from 1"):
        opened.search(queries, top=0)
    with pytest.raises(InputError, match="queries have width"):
        opened.search(queries[:, :3])
    with pytest.raises(InputError, match="the expander is for"):
        kind.open(place, index.in_space("sparse").expander)
    with pytest.raises(InputError, match="the expander is for"):
        kind.open(place, Expander(make_weights(seed=1), "dense_query"))
    with pytest.raises(InputError, match="holds vectors of model"):
        kind.upload(index.in_space("sparse"), place)
    with pytest.raises(InputError, match="payload: 'price' must have 150 values" if kind.filters else "payload: "):
        kind.upload(index, place, payload={"price": [1, 2]})
    with pytest.raises(FolderError, match=r"is no (folder|file|collection|table)"):
        kind.open(kind.at(tmp_path / f"none{kind.suffix}"), index.expander)


@pytest.mark.parametrize("kind", SCANS, indirect=True)
def test_scans_refuse_a_part_of_the_query(kind, tmp_path):
    index = make_index()
    kind.upload(index, tmp_path / "t")
    with pytest.raises(InputError, match="leave terms and rescored out"):
        kind.open(tmp_path / "t", index.expander).search(make_vectors(2), terms=64)


@pytest.mark.parametrize("kind", SCANS, indirect=True)
def test_wide_codes(kind, tmp_path):
    """u of 2^16 numbers, as one statement."""
    weights = small.weights(8, 2**16, 3)
    index = Index(compression.encode(weights, small.vectors(5, 8)), weights)
    kind.upload(index, tmp_path / "t")
    queries = small.vectors(2, 8, seed=3)
    found = kind.open(tmp_path / "t", index.expander).search(queries, 5)
    assert_allclose(found.scores, index.search(queries, 5).scores, atol=1e-5)


def test_few_terms_and_rescoring_in_sqlite(tmp_path):
    index, queries = make_index(), make_vectors(5, seed=2)
    sqlite.upload(index, tmp_path / "t.sqlite")
    opened = sqlite.Engine(tmp_path / "t.sqlite", index.expander)
    alone, helped = (opened.search(queries, 10, terms=4, rescored=rescored) for rescored in (10, 100))
    recalls = [comparing.compare(index, found, queries).recall[10] for found in (alone, helped)]
    assert recalls[0] < recalls[1]
    u = index.expander.expand(queries)
    ours = index.search_expanded(u, N)
    for name, score in zip(helped.ids[1], helped.scores[1], strict=True):  # scores are exact, whoever is found
        assert_allclose(score, ours.scores[1][list(ours.ids[1]).index(name)], rtol=1e-5)
    with pytest.raises(InputError, match="rescored must be an integer of at least top=10"):
        opened.search(queries, 10, rescored=9)
    with pytest.raises(InputError, match="terms must be an integer"):
        opened.search(queries, terms=0)


def test_sqlite_writes_what_changed_and_goes_on(tmp_path, monkeypatch):
    index, path = make_index(), tmp_path / "t.sqlite"
    put, batches = sqlite._put, []

    def stopping(*arguments):
        if len(batches) == 2:
            raise KeyboardInterrupt
        batches.append(put(*arguments))

    monkeypatch.setattr(sqlite, "_put", stopping)
    with pytest.raises(KeyboardInterrupt):
        sqlite.upload(index, path, batch=BATCH)
    monkeypatch.undo()

    def items():
        with sqlite3.connect(path) as connection:
            return dict(connection.execute("select id, item from items"))

    first = items()
    assert len(first) == 2 * BATCH
    sqlite.upload(index, path, batch=BATCH)
    assert first.items() <= items().items() and len(items()) == N  # written once
    index.remove([index.ids[0]])
    sqlite.upload(index, path)
    with sqlite3.connect(path) as connection:
        count = connection.execute("select count(*), count(distinct item) from postings").fetchone()
    assert count == ((N - 1) * index.codes.k, N - 1)


def test_sqlite_leaves_foreign_files_alone(tmp_path):
    index = make_index()
    with sqlite3.connect(tmp_path / "other.db") as connection:
        connection.execute("create table mine (x)")
    (tmp_path / "text.db").write_text("no database at all " * 100)
    for name, why in (("other.db", "holds something else"), ("text.db", "not a database")):
        before = (tmp_path / name).read_bytes()
        with pytest.raises(FolderError, match=why):
            sqlite.upload(index, tmp_path / name)
        with pytest.raises(FolderError, match=why):
            sqlite.Engine(tmp_path / name, index.expander)
        assert (tmp_path / name).read_bytes() == before
    with pytest.raises(InputError, match=r"out must end in \.sqlite or \.db"):
        sqlite.upload(index, tmp_path / "t")
    large = Index(index.codes.with_ids(None), index.weights, ids=np.arange(N, dtype=np.uint64) + np.uint64(2**63))
    with pytest.raises(InputError, match="SQLite cannot hold id 9223372036854775808"):
        sqlite.upload(large, tmp_path / "large.db")
    sqlite.upload(index, tmp_path / "t.db", payload={"a": np.arange(N)})
    with pytest.raises(InputError, match="payload must have the columns that"):
        sqlite.upload(index, tmp_path / "t.db")


def test_uploads_that_are_refused_leave_what_was_there(tmp_path):
    pytest.importorskip("pyarrow")
    index, folder = make_index(), tmp_path / "t"
    upload(index, folder)
    there = sorted((path.name, path.read_bytes()) for path in folder.iterdir())
    with pytest.raises(InputError, match="holds vectors of model"):
        upload(index.in_space("sparse"), folder)
    with pytest.raises(InputError, match="payload: 'price' must have 150 values"):
        upload(index, folder, payload={"price": [1, 2]})
    with pytest.raises(InputError, match="payload: a column must have a name"):
        upload(index, folder, payload={"Vals": [1] * N})
    with pytest.raises(InputError, match="payload: 'x' is no column of one kind"):
        upload(index, folder, payload={"x": [1, "a"] * (N // 2)})
    assert sorted((path.name, path.read_bytes()) for path in folder.iterdir()) == there
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "mine.txt").write_text("kept")
    with pytest.raises(FolderError, match="holds other files"):
        upload(index, tmp_path / "other")
    zero = Index(Codes(np.zeros((2, 2), np.float32), np.zeros((2, 2), np.uint16), index.codes.h), index.weights)
    with pytest.raises(InputError, match="has no nonzero"):
        upload(zero, tmp_path / "z")
    with pytest.raises(FolderError, match=r"the upload into .* did not end"):
        parquet.read(tmp_path / "z")
    upload(zero, tmp_path / "z", zero_rows="drop")
    assert parquet.read(tmp_path / "z").rows == 0


def test_an_interrupted_upload_goes_on(tmp_path, monkeypatch):
    pytest.importorskip("pyarrow")
    index, folder = make_index(), tmp_path / "t"
    write, done = parquet._write, []

    def stopping(*arguments):
        if len(done) == 2:
            raise KeyboardInterrupt
        done.append(write(*arguments))
        return done[-1]

    monkeypatch.setattr(parquet, "_write", stopping)
    with pytest.raises(KeyboardInterrupt):
        upload(index, folder)
    with pytest.raises(FolderError, match="did not end"):
        parquet.read(folder)
    monkeypatch.undo()
    times = {name: (folder / name).stat().st_mtime_ns for name in done}
    upload(index, folder)
    assert {name: (folder / name).stat().st_mtime_ns for name in done} == times
    assert [path.name for path in parquet.read(folder).files][:2] == done


def test_a_damaged_table_is_refused(tmp_path):
    pytest.importorskip("pyarrow")
    upload(make_index(), tmp_path / "t")
    meta = tmp_path / "t" / parquet.META
    fields = json.loads(meta.read_text())
    meta.write_text(json.dumps({**fields, "files": ["../../etc/passwd"]}))
    with pytest.raises(FolderError, match="upload the index again"):
        parquet.read(tmp_path / "t")
