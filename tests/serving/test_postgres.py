"""What is special to PostgreSQL: types of ids and payload, the graph, parts of a query, rights, two uploads at once."""

import datetime
import os
import warnings

import numpy as np
import pytest
from evaluation import small
from numpy.testing import assert_allclose, assert_array_equal
from retrieval.test_index import make_vectors, make_weights
from serving import servers

from compressae_jax import compression
from compressae_jax.notation import BusyError, FolderError, InputError
from compressae_jax.retrieval.index import Index
from compressae_jax.serving import comparing, postgres, postgres_tables

N = 60
FORMS = ["arrays", "pgvector"]


@pytest.fixture
def place():
    """A table that is not there, and is gone afterwards."""
    address = servers.postgres()
    yield f"{address}#t"
    run(address, 'drop table if exists "t"')


def run(address, statement):
    import psycopg

    with psycopg.connect(address, autocommit=True) as connection:
        done = connection.execute(statement)
        return done.fetchall() if done.description else None


def make_index(ids=None, n=N, space="dense_query"):
    weights = make_weights()
    return Index(compression.encode(weights, make_vectors(n)), weights, space, ids)


@pytest.mark.parametrize(
    "ids",
    [
        np.arange(N, dtype=np.uint64) + np.uint64(2**64 - N),
        np.arange(N) - N // 2,
        ["", "\\N", "a\tb\nc\\", "'\"%s", "𝄞", *map(str, range(N - 5))],
    ],
    ids=["beyond 63 bits", "below 0", "texts"],
)
def test_ids_come_back_as_they_are(ids, place):
    index, queries = make_index(ids), make_vectors(3, seed=2)
    postgres.upload(index, place)
    found = postgres.Engine(place, index.expander).search(queries, N).ids
    assert_array_equal(found, index.search(queries, N).ids)
    assert {type(one) for one in found.flat} == {str if isinstance(ids, list) else int}


def test_ids_that_postgres_does_not_hold(place):
    for wrong, why in (("a\0b", "NUL"), ("\udc80", "utf-8"), ("".join(map(chr, range(200, 3200))), "2,700 bytes")):
        with pytest.raises(InputError, match=why):
            postgres.upload(make_index([wrong, "b"], 2), place)
    postgres.upload(make_index(["a", "b"], 2), place)
    with pytest.raises(InputError, match="has ids of type text"):
        postgres.upload(make_index([1, 2], 2), place)


def test_payload_has_types(place):
    index, day = make_index(n=3), datetime.date(2026, 11, 26)
    payload = {
        "a b": [None, np.float32(0.5), 3],
        "b": np.array(["x", "ß\t", ""]),
        "c": [b"\0\1", None, b""],
        "d": np.array([1, 2, 3], np.uint8),
        "e": [True, False, None],
        "f": [2**64, -1, None],
        "g": [float("nan"), float("inf"), None],
        "day": [day] * 3,
        "at": np.array(["2026-11-26T21:00"] * 3, "datetime64[s]"),
        "zoned": [datetime.datetime(2026, 11, 26, 23, tzinfo=datetime.timezone(datetime.timedelta(hours=2)))] * 3,
        "fine": np.array(["2026-11-26T21:00", "NaT", "NaT"], "datetime64[ns]"),
        "none": [None] * 3,
    }
    postgres.upload(index, place, payload)
    address = place.partition("#")[0]
    names = ", ".join(f'"{name}"' for name in payload)
    first, second, third = run(address, f"select {names} from t order by id")
    at = datetime.datetime(2026, 11, 26, 21)
    assert first[:6] == (None, "x", b"\0\1", 1, True, 2**64) and np.isnan(first[6]) and first[7:9] == (day, at)
    assert first[9] == payload["zoned"][0] and first[10:] == (at, None)
    assert second == (0.5, "ß\t", None, 2, False, -1, np.inf, day, at, first[9], None, None)
    assert third == (3, "", b"", 3, None, None, None, day, at, first[9], None, None)
    with pytest.raises(InputError, match="payload must have the columns that t has"):
        postgres.upload(index, place, {"a b": [1, 2, 3]})
    with pytest.raises(InputError, match=r"payload: 'd' is bigint in t, not text"):
        postgres.upload(index, place, {**payload, "d": ["x", "y", "z"]})
    postgres.upload(index, place, {**payload, "none": [0.5, 1, None], "a b": [1, 2, 3]})
    assert run(address, "select id from t where none < 1") == [(0,)]  # a column of nothing takes the type that comes
    for wrong in ([1, "a", 2], [{}, {}, {}], [object()] * 3):
        with pytest.raises(InputError, match="payload: 'x' must be numbers, texts, bytes, dates or None"):
            postgres.upload(index, f"{address}#other", {"x": wrong})
    for name in ("digest", "V", "a%b", "x" * 64, "ctid"):
        with pytest.raises(InputError, match=r"must have a name|conflicts with a system column"):
            postgres.upload(index, f"{address}#other", {name: [1, 1, 1]})


@pytest.mark.parametrize("form", FORMS)
def test_conditions_of_sql(form, place):
    index, queries, number = make_index(), make_vectors(1, seed=2), np.arange(N)
    postgres.upload(index, place, {"n": number, "name": [f"i{i}%{{}}" for i in range(N)]}, form=form)
    opened = postgres.Engine(place, index.expander)
    for where, kept in (
        ("n < 5 or n > 50", (number < 5) | (number > 50)),
        ("name like 'i1_\\%{}'", (number >= 10) & (number < 20)),
        ("n % 7 = 0 -- every seventh", number % 7 == 0),
        ("id = 3", number == 3),
    ):
        ours = index.search(queries, N, allow=kept)
        assert_array_equal(opened.search(queries, N, where=where).ids[0, : kept.sum()], ours.rows[0, : kept.sum()])
        assert all(one is None for one in opened.search(queries, N, where=where).ids[0, kept.sum() :])
    for wrong in ("n < 5); drop table t; --", "n", "missing = 1", "1/0 = n", "n < 5) returning (1", "nextval('x') = 1"):
        with pytest.raises(InputError, match="PostgreSQL refused the query"):
            opened.search(queries, 5, where=wrong)
    assert_array_equal(opened.search(queries, 5).ids, index.search(queries, 5).rows)  # the connection serves on


def test_few_terms_and_rescoring(place):
    index, queries = make_index(n=300), make_vectors(5, seed=2)
    postgres.upload(index, place)
    opened = postgres.Engine(place, index.expander)
    alone, helped = (opened.search(queries, 10, terms=4, rescored=rescored) for rescored in (10, 200))
    recalls = [comparing.compare(index, found, queries).recall[10] for found in (alone, helped)]
    assert recalls[0] < recalls[1]
    ours = index.search(queries, 300)
    for name, score in zip(helped.ids[1], helped.scores[1], strict=True):  # scores are exact, whoever is found
        assert_allclose(score, ours.scores[1][list(ours.rows[1]).index(name)], rtol=1e-5)
    with pytest.raises(InputError, match="rescored is for answers by a part of the query"):
        opened.search(queries, 10, rescored=100)
    assert comparing.compare(index, opened.search(queries, 300), queries).recall[100] == 1


def test_the_graph(place):
    index, queries = make_index(n=1500), make_vectors(20, seed=2)
    postgres.upload(index, place, {"n": np.arange(1500)})
    opened = postgres.Engine(place, index.expander)
    with pytest.raises(InputError, match=r"t has no graph for ef: upload with approximate=True"):
        opened.search(queries, ef=100)
    postgres.upload(index, place, {"n": np.arange(1500)}, approximate=True)
    plan = run(place.partition("#")[0], "select indexdef from pg_indexes where tablename = 't'")
    assert any("hnsw" in one for (one,) in plan)
    recalls = [
        comparing.compare(index, opened.search(queries, 10, ef=ef), queries).recall[10] for ef in (10, 100, 1000)
    ]
    assert recalls[0] < recalls[2] and recalls[2] > 0.99
    exact = comparing.compare(index, opened.search(queries, 10), queries)  # which the graph does not touch
    assert exact.recall[10] == 1
    both = comparing.compare(index, opened.search(queries, 10, terms=20, rescored=300, ef=300), queries)
    assert both.recall[10] > 0.9 and both.short == 0
    few = opened.search(queries, 10, where="n % 100 = 0", ef=20)
    assert all(one % 100 == 0 for one in few.ids.flat if one is not None)
    for ef, rows, why in ((50, 60, "at least the rows wanted of the graph, 60"), (1001, 10, "ef must be an integer")):
        with pytest.raises(InputError, match=why):
            opened.search(queries, rows, ef=ef)
    with pytest.raises(InputError, match=r"at least the rows wanted of the graph, 500"):
        opened.search(queries, 10, terms=20, ef=300)


def test_limits_are_said_at_the_door(place):
    weights = small.weights(8, 20_000, 1_200)
    index, queries = Index(compression.encode(weights, small.vectors(3, 8)), weights), small.vectors(2, 8, seed=3)
    with pytest.raises(InputError, match=r"of rows of 1,000 nonzeros at most, not of form 'auto' and k=1,200"):
        postgres.upload(index, place, approximate=True)
    postgres.upload(index, place, form="pgvector")
    with pytest.raises(InputError, match=r"a query has 20,000 terms, and pgvector takes 16,000"):
        postgres.Engine(place, index.expander).search(queries)
    with pytest.raises(InputError, match="t has form 'pgvector', not 'arrays'"):
        postgres.upload(index, place, form="arrays")
    run(place.partition("#")[0], "drop table t")
    postgres.upload(index, place)  # as arrays, which have no such limit
    opened = postgres.Engine(place, index.expander)
    assert_allclose(opened.search(queries, 3).scores, index.search(queries, 3).scores, atol=1e-5)
    with pytest.raises(InputError, match="PostgreSQL without pgvector reads every row whole"):
        opened.search(queries, 3, terms=16)
    with pytest.raises(InputError, match="has no graph"):
        opened.search(queries, 3, ef=16)


@pytest.mark.parametrize("form", FORMS)
def test_only_what_changed_is_written_and_an_upload_goes_on(form, place, monkeypatch):
    index, put, done = make_index(), postgres._put, []

    def stopping(*given):
        put(*given)
        done.append(given)
        if len(done) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(postgres, "_put", stopping)
    with pytest.raises(KeyboardInterrupt):
        postgres.upload(index, place, batch=20, form=form)
    monkeypatch.undo()

    def versions():
        return dict(run(place.partition("#")[0], "select id, xmin::text from t"))

    first = versions()
    assert sorted(first) == list(range(20))  # a batch that was not whole is not there
    postgres.upload(index, place, batch=20, form=form)
    whole = versions()
    assert first.items() <= whole.items() and sorted(whole) == list(range(N))
    index.remove([3])
    postgres.upload(index, place, form=form)
    assert versions() == {one: at for one, at in whole.items() if one != 3}


def test_one_upload_at_a_time(place, monkeypatch):
    index, address = make_index(), place.partition("#")[0]
    monkeypatch.setattr(postgres_tables, "WAIT", 1)
    with (
        postgres_tables.connected(address) as other,
        postgres_tables.locked(other, "t"),
        pytest.raises(BusyError, match="t: another process has been uploading into it"),
    ):
        postgres.upload(index, place)
    postgres.upload(index, place)


def test_connections_that_broke_are_made_anew(place):
    index, queries = make_index(), make_vectors(2, seed=2)
    postgres.upload(index, place)
    opened = postgres.Engine(place, index.expander)
    run(
        place.partition("#")[0],
        "select pg_terminate_backend(pid) from pg_stat_activity where pid <> pg_backend_pid() and datname is not null",
    )
    assert_array_equal(opened.search(queries, 5).ids, index.search(queries, 5).rows)
    opened.close()
    assert_array_equal(opened.search(queries, 5).ids, index.search(queries, 5).rows)
    with pytest.raises(OSError, match="missing_database"):
        postgres.Engine(place.replace("/postgres?", "/missing_database?"), index.expander)


def test_tables_of_others_and_of_other_models(place):
    index, address = make_index(), place.partition("#")[0]
    for comment in ("null", "'{}'", "'mine'"):
        run(address, f"create table t (x int); comment on table t is {comment}")
        for refused in (lambda: postgres.upload(index, place), lambda: postgres.Engine(place, index.expander)):
            with pytest.raises(FolderError, match=r"`postgres.upload` did not make; choose another name"):
                refused()
        run(address, "drop table t")
    postgres.upload(index, place)
    opened = postgres.Engine(place, index.expander)
    run(address, "drop table t")
    with pytest.raises(FolderError, match="t is no table"):
        opened.search(make_vectors(1))
    postgres.upload(index.in_space("sparse"), place)
    with pytest.raises(InputError, match="the expander is for"):
        opened.search(make_vectors(1))


def test_places():
    for wrong in (
        "items",
        "postgresql://me@host/shop",
        "postgresql://host/shop#a b",
        "mysql://h#t",
        "postgresql://h#" + "t" * 51,
    ):
        with pytest.raises(InputError, match="a place in PostgreSQL must be an address"):
            postgres_tables.parsed(wrong)
    with pytest.raises(InputError, match=r"not 'postgresql://me:…@host/shop'"):
        postgres_tables.parsed("postgresql://me:secret@host/shop")
    assert postgres_tables.parsed("postgresql://h/db#public.items") == ("postgresql://h/db", "public.items")


def test_rights(place):
    index, address = make_index(), place.partition("#")[0]
    run(address, "create role reader login")
    run(address, "create database apart")
    try:
        as_reader = place.replace("postgres:@", "reader:@").replace("/postgres?", "/apart?")
        with pytest.raises(PermissionError, match="create extension vector"):
            postgres.upload(index, as_reader)
        with pytest.raises(PermissionError, match="permission denied for schema public"):
            postgres.upload(index, as_reader, form="arrays")
    finally:
        run(address, "drop database apart with (force)")
        run(address, "drop role reader")


def test_a_schema_of_its_own(place):
    index, address, queries = make_index(), place.partition("#")[0], make_vectors(2, seed=2)
    run(address, 'create schema "Shop"')
    try:
        there = f"{address}#Shop.Items"
        postgres.upload(index, there, approximate=True)
        found = postgres.Engine(there, index.expander).search(queries, 5, ef=100)
        assert_array_equal(found.ids, index.search(queries, 5).rows)
    finally:
        run(address, 'drop schema "Shop" cascade')


def test_a_table_that_began_empty(place):
    index = make_index(n=4)
    index.remove(list(range(4)))
    postgres.upload(index, place, {"price": []})
    opened = postgres.Engine(place, index.expander)
    assert (opened.search(make_vectors(1), 3).scores == -np.inf).all()
    postgres.upload(make_index(n=4), place, {"price": [0.5, 1, 2, 3]})
    assert set(opened.search(make_vectors(1), 4, where="price < 1.5").ids[0]) == {0, 1, None}


def test_a_forked_process_makes_its_own_connection(place):
    index, queries = make_index(), make_vectors(2, seed=2)
    postgres.upload(index, place)
    opened = postgres.Engine(place, index.expander)
    ours = index.search(queries, 5).rows
    with warnings.catch_warnings(action="ignore"):  # of JAX's, whose threads the other one does not need
        child = os.fork()
    if not child:
        os._exit(not (opened.search(queries, 5).ids == ours).all())
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert_array_equal(opened.search(queries, 5).ids, ours)
