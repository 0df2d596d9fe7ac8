"""Evaluation from Python beside the protocols that it is made of: ids, row numbers, unknown ones, runs, purchases."""

import json

import ir_measures
import numpy as np
import pytest
import scipy.sparse
from evaluation import small
from numpy.testing import assert_allclose, assert_array_equal

import compressae_jax as cs
from compressae_jax import compression
from compressae_jax.baselines import dense
from compressae_jax.evaluation import intervals, judgements
from compressae_jax.notation import InputError
from compressae_jax.retrieval import found as found_rows
from compressae_jax.retrieval.index import Index

N, Q = 150, 12
VECTORS, QUERIES = small.vectors(N), small.vectors(Q, seed=2)
NAMES = [f"item-{i}" for i in range(N)]
ASKED = [f"query-{i}" for i in range(Q)]


@pytest.fixture(scope="module")
def grades():
    """Grades by row number; query 3 has only junk, and query 5 wants nothing that is found soon."""
    rng = np.random.default_rng(0)
    grades = rng.integers(-1, 4, (Q, N)) * (rng.random((Q, N)) < 0.08)
    grades[3] = np.minimum(grades[3], 0)
    return grades


@pytest.fixture(scope="module")
def index():
    weights = small.weights()
    return Index(compression.encode(weights, VECTORS), weights, ids=NAMES)


@pytest.fixture(scope="module")
def numbered(index):
    return Index(index.codes.with_ids(None), index.weights)


def by_name(grades):
    return {
        ASKED[q]: {NAMES[i]: int(grades[q, i]) for i in np.flatnonzero(grades[q])} for q in range(Q) if grades[q].any()
    }


def test_ids_rows_and_every_kind_score_the_same(grades, index, numbered, tmp_path):
    expected = judgements.per_query(index.search, QUERIES, scipy.sparse.csr_matrix(grades))
    names = by_name(grades)
    path = tmp_path / "test.qrels"
    path.write_text("".join(f"{q} 0 {i} {g}\n" for q, items in names.items() for i, g in items.items()))
    as_numbers = path.with_suffix(".txt")
    as_numbers.write_text(path.read_text().replace("query-", "").replace("item-", ""))
    matrix = scipy.sparse.csr_matrix(grades)
    for searched, judged, ids in (
        (index, names, ASKED),
        (index, path, ASKED),
        (index, matrix, ASKED),
        (index, matrix, None),
        (numbered, matrix, None),
        (numbered, as_numbers, None),
        (numbered, as_numbers, np.arange(Q)),
    ):
        scored = cs.evaluate(searched, QUERIES, judged, query_ids=ids)
        assert list(scored) == ["nDCG@10", "recall@100", "MRR@10"] and len(scored.query_ids) == Q - 1
        for metric, values in expected.items():
            order = np.argsort([str(one).removeprefix("query-").zfill(3) for one in scored.query_ids])
            assert_array_equal(scored.scores[metric][order], values)
            assert_allclose(scored[metric], intervals.interval(scored.scores[metric]))


def test_metrics_equal_ir_measures_on_the_run_that_is_written(grades, index, tmp_path):
    names, found = by_name(grades), index.search(QUERIES, top=30)
    found_rows.write(tmp_path / "x.run", found, ASKED)
    found_rows.write(tmp_path / "x.npz", found, ASKED)
    wanted = ["nDCG@10", "recall@20", "MRR@10", "MAP@30", "precision@5"]
    scored = cs.evaluate(index, QUERIES, names, query_ids=ASKED, metrics=wanted)
    parsed = map(ir_measures.parse_measure, ["nDCG@10", "R@20", "RR@10", "AP@30", "P@5"])
    theirs = dict(zip(parsed, wanted, strict=True))
    places = [(q, i, -rank) for q, ids in zip(ASKED, found.ids, strict=True) for rank, i in enumerate(ids)]
    run = [ir_measures.ScoredDoc(q, i, float(score)) for q, i, score in places]
    qrels = [ir_measures.Qrel(q, i, g) for q, items in names.items() for i, g in items.items()]
    place = {q: at for at, q in enumerate(scored.query_ids)}
    for one in ir_measures.iter_calc(list(theirs), qrels, run):
        if one.query_id in place:
            assert_allclose(scored.scores[theirs[one.measure]][place[one.query_id]], one.value, atol=1e-6)
    for given in (tmp_path / "x.run", tmp_path / "x.npz"):
        again = cs.evaluate_run(given, names, metrics=wanted)
        assert list(again.query_ids) == list(scored.query_ids)
        for metric in wanted:
            assert_array_equal(again.scores[metric], scored.scores[metric])
    assert_array_equal(cs.evaluate_run(found, names, query_ids=ASKED).scores["MRR@10"], scored.scores["MRR@10"])


def test_a_folder_in_beirs_layout_names_rows_in_its_order(grades, numbered, tmp_path):
    (tmp_path / "qrels").mkdir()
    lines = [f"{q}\t{i}\t{g}" for q, items in by_name(grades).items() for i, g in items.items()]
    (tmp_path / "qrels" / "test.tsv").write_text("\n".join(["query-id\tcorpus-id\tscore", *lines]))
    for name, ids in (("corpus", NAMES), ("queries", ASKED)):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps({"_id": one, "text": "…"}) + "\n" for one in ids))
    expected = cs.evaluate(numbered, QUERIES, scipy.sparse.csr_matrix(grades))
    scored = cs.evaluate(numbered, QUERIES, tmp_path)
    assert_allclose(scored["nDCG@10"], expected["nDCG@10"], atol=0.02)
    assert sorted(scored.scores["nDCG@10"]) == sorted(expected.scores["nDCG@10"])
    found_rows.write(tmp_path / "x.npz", numbered.search(QUERIES, top=100), searched={"rows": N})
    assert cs.evaluate_run(tmp_path / "x.npz", tmp_path)["nDCG@10"] == scored["nDCG@10"]
    with pytest.raises(InputError, match=r"the 5 queries given have no ids; .* tells of 12: give query_ids"):
        cs.evaluate(numbered, QUERIES[:5], tmp_path)


def test_unknown_ids_stop_are_kept_or_dropped(grades, index):
    names = by_name(grades)
    more = {**names, "query-0": {**names["query-0"], "gone": 3, "junk": -1}, "nobody": {"item-1": 1}}
    with pytest.raises(InputError, match="1 of 12 judged queries are not among the 12 queries given, first 'nobody'"):
        cs.evaluate(index, QUERIES, more, query_ids=ASKED)
    with pytest.raises(InputError, match="relevant items are not among the 150 items given, first 'gone'; unknown="):
        cs.evaluate(index, QUERIES, {**more, "nobody": {"item-1": 0}}, query_ids=ASKED)
    plain, kept, dropped = (
        cs.evaluate(index, QUERIES, judged, query_ids=ASKED, unknown=how, metrics=["recall@100", "nDCG@10"])
        for judged, how in ((names, "stop"), (more, "keep"), (more, "drop"))
    )
    assert_array_equal(dropped.scores["recall@100"], plain.scores["recall@100"])
    assert kept.query_ids[-1] == "nobody" and kept.scores["recall@100"][-1] == 0
    wanted = (grades[0] > 0).sum()
    assert_allclose(kept.scores["recall@100"][0], plain.scores["recall@100"][0] * wanted / (wanted + 1))
    assert kept.scores["nDCG@10"].sum() <= plain.scores["nDCG@10"].sum()
    assert "1 not asked; 1 wanted items not in the index" in repr(kept) and "left out" in repr(dropped)
    with pytest.raises(InputError, match="none of them is known"):
        cs.evaluate(index, QUERIES, {"x": {"item-1": 1}}, query_ids=ASKED, unknown="keep")


def test_a_query_that_finds_nothing_stays_and_removed_rows_are_unknown(grades, index, numbered):
    queries = QUERIES.copy()
    queries[0] = 0
    matrix = scipy.sparse.csr_matrix(grades)
    scored = cs.evaluate(numbered, queries, matrix)
    assert scored.scores["recall@100"][0] == 0 and len(scored.query_ids) == Q - 1
    fewer = index.in_space(index.space)
    fewer.remove(["item-7"])
    with pytest.raises(InputError, match="first 'item-7'"):
        cs.evaluate(fewer, QUERIES, {ASKED[0]: {"item-7": 1, "item-8": 1}}, query_ids=ASKED)


def test_items_that_are_queries_do_not_find_themselves(index):
    judged = {NAMES[i]: {NAMES[i]: 1, NAMES[i + 1]: 1} for i in range(Q)}
    scored = cs.evaluate(index, VECTORS[:Q], judged, query_ids=NAMES[:Q], exclude_self=True)
    own = scipy.sparse.csr_matrix(np.eye(Q, N) + np.eye(Q, N, 1))
    expected = judgements.per_query(index.search, VECTORS[:Q], own, np.arange(Q))
    for metric, values in expected.items():
        assert_array_equal(scored.scores[metric], values)
    assert cs.evaluate(index, VECTORS[:Q], judged, query_ids=NAMES[:Q])["MRR@10"].mean > scored["MRR@10"].mean
    with pytest.raises(InputError, match="no query is one of the items"):
        cs.evaluate(index, VECTORS[:1], {"q": {NAMES[0]: 1}}, query_ids=["q"], exclude_self=True)


def test_anything_that_searches_is_scored_and_compared(grades, numbered):
    matrix = scipy.sparse.csr_matrix(grades)
    codes, exact = (cs.evaluate(one, QUERIES, matrix) for one in (numbered, dense.fit(VECTORS).add(VECTORS)))
    lost = codes.difference(exact)["nDCG@10"]
    assert_allclose(lost.mean, codes["nDCG@10"].mean - exact["nDCG@10"].mean)
    assert lost.low <= lost.mean <= lost.high
    with pytest.raises(InputError, match="must be scored on the same queries"):
        codes.difference(cs.evaluate(numbered, QUERIES, matrix[:5], metrics=["nDCG@10"]))
    with pytest.raises(InputError, match=r"search\(queries, top\), which list has not"):
        cs.evaluate([], QUERIES, matrix)


def test_a_run_of_another_engine(grades):
    names = by_name(grades)
    best = {q: {i: float(g) for i, g in items.items() if g > 0} for q, items in names.items()}
    ideal = cs.evaluate_run({q: items for q, items in best.items() if items}, names)
    assert ideal["MRR@10"] == (1, 1, 1) and ideal["nDCG@10"].low > 0.999
    missing = cs.evaluate_run({q: {"other": 4.0, **best[q]} for q in ASKED[:2]}, names, metrics="MRR@10")
    assert missing.scores["MRR@10"].tolist() == [0.5] * 2 + [0] * (Q - 3) and "9 not answered" in repr(missing)
    with pytest.raises(InputError, match="leave out query_ids"):
        cs.evaluate_run(best, names, query_ids=ASKED)
    with pytest.raises(InputError, match=r"the id .* is no integer, and found has no .*: (give|make the index with) "):
        cs.evaluate_run(cs.Found(*dense.fit(VECTORS).add(VECTORS).search(QUERIES, 3)), names)


def test_it_shows_itself(grades, numbered):
    scored = cs.evaluate(numbered, QUERIES, scipy.sparse.csr_matrix(grades), metrics=["MRR@10"])
    mean, low, high = scored["MRR@10"]
    cell = f"[{low:.3f}, {high:.3f}]"
    assert repr(scored).splitlines()[1] == f"  MRR@10  {mean:.3f}  {cell}"
    assert f"| MRR@10 | {mean:.3f} | {cell} |" in scored._repr_markdown_()
    assert f"<td>MRR@10</td><td>{mean:.3f}</td><td>{cell}</td>" in scored._repr_html_()
    with pytest.raises(InputError, match="metric must be one of 'MRR@10'"):
        scored["nDCG@10"]


@pytest.mark.parametrize("named", [True, False])
def test_purchases_from_a_table_and_from_matrices(named, index, numbered):
    rng = np.random.default_rng(3)
    bought = [(user, int(item)) for user in range(9) for item in rng.permutation(N)[: rng.integers(2, 9)]]
    table = {
        "user": [f"u{user}" for user, _ in bought],
        "item": [NAMES[item] if named else item for _, item in bought],
        "time": list(range(len(bought))),
    }
    searched = index if named else numbered
    order = np.random.default_rng(4).permutation(N)
    vectors = VECTORS[order] if named else VECTORS
    source = cs.data.open_source(vectors, ids=[NAMES[i] for i in order]) if named else vectors
    scored = cs.evaluate_purchases(searched, source, table)
    train, test = np.zeros((9, N)), np.zeros((9, N))
    for user, item in bought:
        train[user, item] = 1
    for user in range(9):
        last = [item for one, item in bought if one == user][-1]
        train[user, last], test[user, last] = 0, 1
    pair = scipy.sparse.csr_matrix(train), scipy.sparse.csr_matrix(test)
    expected = cs.evaluate_purchases(searched, VECTORS, pair)
    assert list(scored) == ["recall@20", "nDCG@20"] and len(scored.query_ids) == 9
    for metric in scored:
        assert_allclose(scored.scores[metric], expected.scores[metric])


def test_purchases_of_items_that_are_not_there(index):
    table = {
        "user": ["u", "u", "v", "v"],
        "item": [NAMES[0], NAMES[1], NAMES[2], "gone"],
        "time": [1, 2, 3, 4],
    }
    source = cs.data.open_source(VECTORS, ids=NAMES)
    with pytest.raises(InputError, match="1 of 4 items are not among the 150 items given, first 'gone'"):
        cs.evaluate_purchases(index, source, table)
    kept, dropped = (cs.evaluate_purchases(index, source, table, unknown=how) for how in ("keep", "drop"))
    assert kept.query_ids[:] == ["u", "v"] and kept.scores["recall@20"][1] == 0 and dropped.query_ids[:] == ["u"]
    assert "1 items not in the index;" in repr(kept) and "1 items not in the index, left out;" in repr(dropped)
    with pytest.raises(InputError, match="vectors must be those of the index, 150 rows, not 149"):
        cs.evaluate_purchases(index, VECTORS[1:], table, unknown="drop")
