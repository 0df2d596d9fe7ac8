"""What `export` and `check_engine` are made of: the registry, payload from tables, the report beside our own search."""

import inspect
import json

import numpy as np
import pytest
from retrieval.test_index import make_vectors
from serving.test_engines import make_index

from compressae_jax.jobs.commands import served
from compressae_jax.notation import InputError
from compressae_jax.retrieval.index import Index
from compressae_jax.serving import checking, kinds, payload, sqlite

N = 150


def test_help_names_every_engine():
    """Which it does without importing them."""
    from absl import flags

    if "engine" not in flags.FLAGS:
        served.define()
    named = flags.FLAGS["engine"].help.rstrip(".").replace(" or ", ", ").split(", ")
    assert sorted(named) == sorted(kinds.ENGINES)


def test_uploads_of_all_engines_take_the_same():
    for name, kind in kinds.ENGINES.items():
        given = list(inspect.signature(kind.upload).parameters)
        assert (given[0], *given[2:6]) == kinds.SHARED, name


def test_options_are_as_their_defaults(tmp_path):
    assert kinds.read_options("kannolo", ["form=hnsw", "links=8"]) == {"form": "hnsw", "links": 8}
    with pytest.raises(InputError, match="options of engine 'kannolo' are form=flat, links=16, effort=200, not 'ef=3'"):
        kinds.read_options("kannolo", ["ef=3"])
    with pytest.raises(InputError, match="options of engine 'sqlite' are none, not 'form'"):
        kinds.read_options("sqlite", ["form"])
    with pytest.raises(InputError, match="option links must be a number like 16, not 'x'"):
        kinds.read_options("kannolo", ["links=x"])
    with pytest.raises(InputError, match="did you mean 'sqlite'"):
        kinds.of("sqlit")
    with pytest.raises(InputError, match="only holds rows: t is a folder, which duckdb"):
        kinds.opened("parquet", "t", make_index())


def test_passwords_are_not_shown():
    assert kinds.shown("postgresql://me:se:cret@host:5432/shop#items") == "postgresql://me@host:5432/shop#items"
    for place in ("http://localhost:9200/items", "items@home:x", "http://me@host/items"):
        assert kinds.shown(place) == place


def test_a_report_is_the_judges(tmp_path):
    index, queries, path = make_index(), make_vectors(9, seed=2), str(tmp_path / "t.sqlite")
    queries[4] = 0
    sqlite.upload(index, path)
    opened = kinds.opened("sqlite", path, index)
    report = json.loads(json.dumps(checking.check(index, opened, queries, timed=3)))
    assert report["recall"] == report["with_ties"] == {"10": 1, "100": 1} and report["short"] == report["unknown"] == 0
    assert all(0 < one["min"] <= one["median"] <= one["p95"] for one in report["ms"].values())
    text = checking.table("sqlite", report)
    assert "9 queries, the 100 nearest of 150 rows (dense_query)" in text and "recall@10 " in text and "p95" in text
    few = checking.check(index, opened, queries, timed=0, terms=2, rescored=100)
    assert few["recall"]["100"] < 1 and few["ms"] == {} and few["terms"] == 2 and "p95" not in checking.table("", few)
    index.remove(index.search(queries[:1], 3).ids[0])
    text = checking.table("sqlite", checking.check(index, opened, queries, timed=0))
    assert "export the index again" in text
    nothing = checking.check(index, opened, queries[4:5], timed=0)
    assert nothing["recall"] == {"10": None, "100": None} and "recall@10                          -" in checking.table(
        "", nothing
    )
    with pytest.raises(InputError, match="queries: there is none"):
        checking.check(index, opened, queries[:0])


@pytest.mark.parametrize("ids", ["texts", "numbers", None])
def test_payload_by_id_or_by_order(ids, tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    index = make_index(ids=ids)
    index.remove([index.ids[3]] if ids else [3])
    names = np.arange(N) if ids is None else make_index(ids=ids).ids
    prices = [None if i == 7 else i / 2 for i in range(N)]
    order = np.random.default_rng(0).permutation(N)
    there = {"name": [names[i] for i in order], "price": [prices[i] for i in order], "n": [int(i) for i in order]}
    parquet.write_table(pyarrow.table(there), tmp_path / "t.parquet")
    kept = [i for i in range(N) if i != 3]
    wanted = {"price": [prices[i] for i in kept], "n": kept}
    assert payload.read(tmp_path / "t.parquet", index, "name") == wanted
    if ids != "texts":
        lines = ["name,price,n", *(f"{names[i]},{'' if prices[i] is None else prices[i]},{i}" for i in order)]
        (tmp_path / "t.csv").write_text("\n".join(lines) + "\n")
        assert payload.read(tmp_path / "t.csv", index, "name") == wanted
    with pytest.raises(InputError, match=r"column 'name' has 150 values, the index 149 rows; a column of ids"):
        payload.read(tmp_path / "t.parquet", index)
    with pytest.raises(InputError, match="has no column 'id'; it has name, price, n"):
        payload.read(tmp_path / "t.parquet", index, "id")


def test_columns_of_text_are_numbers_where_all_are(tmp_path):
    index = make_index()
    columns = {"a": "1", "b": "1.5", "c": "007", "d": "x", "e": "9" * 30, "f": "inf"}
    lines = [",".join(columns), ",".join(["2", "2", "8", "", "1", "2"]), *[",".join(columns.values())] * (N - 1)]
    (tmp_path / "t.csv").write_text("\n".join(lines))
    found = payload.read(tmp_path / "t.csv", index)
    assert {name: values[:2] for name, values in found.items()} == {
        "a": [2, 1],
        "b": [2.0, 1.5],
        "c": ["8", "007"],
        "d": [None, "x"],
        "e": ["1", "9" * 30],
        "f": ["2", "inf"],
    }
    (tmp_path / "short.tsv").write_text("id\tx\n" + "it's 0: ß\t1\n" * 2)
    with pytest.raises(InputError, match='has the id "it\'s 0: ß" twice'):
        payload.read(tmp_path / "short.tsv", index, "id")
    (tmp_path / "short.tsv").write_text("id\tx\nit's 0: ß\t1\n")
    with pytest.raises(InputError, match='has no row of the id "it\'s 1: ß", which the index has'):
        payload.read(tmp_path / "short.tsv", index, "id")
    with pytest.raises(InputError, match="must be a table"):
        payload.read(tmp_path / "t.npz", index)
    (tmp_path / "ids.csv").write_text("id,x\nx,1\n")
    with pytest.raises(InputError, match="the id 'x' is no integer, as those of the index are"):
        payload.read(tmp_path / "ids.csv", make_index(ids="numbers"), "id")
    index = Index(index.codes.with_ids(None), index.weights, ids=[f"{i}.50" for i in range(N)])  # no numbers
    (tmp_path / "ids.csv").write_text("id,x\n" + "".join(f"{i}.50,{i}\n" for i in reversed(range(N))))
    assert payload.read(tmp_path / "ids.csv", index, "id") == {"x": list(range(N))}
