"""Judgements and purchases that a config names: the report has them, and what cannot be followed is refused."""

import numpy as np
import pytest
from evaluation import small
from jobs.small_run import experiment, trained
from numpy.testing import assert_allclose

import compressae_jax as cs
from compressae_jax.jobs import check, inputs, judged
from compressae_jax.jobs.evaluate import evaluate, evaluate_once
from compressae_jax.notation import InputError

N, Q = 60, 9
VECTORS, QUERIES = small.vectors(N), small.vectors(Q, seed=2)
NAMES, ASKED = [f"item-{i}" for i in range(N)], [f"query-{i}" for i in range(Q)]
GRADES = {name: {NAMES[i]: 1 + i % 2 for i in range(5 * q, 5 * q + 5)} for q, name in enumerate(ASKED)}
LINES = [(f"u{user}", NAMES[(7 * user + 3 * time) % N], time) for user in range(8) for time in range(4)]


@pytest.fixture
def config(tmp_path):
    """A config with everything of one's own, and the files that it names."""
    np.save(tmp_path / "vectors.npy", VECTORS)
    np.save(tmp_path / "queries.npy", QUERIES)
    (tmp_path / "names.txt").write_text("\n".join(NAMES))
    (tmp_path / "asked.txt").write_text("\n".join(ASKED))
    (tmp_path / "my.qrels").write_text(
        "".join(f"{q} 0 {i} {g}\n" for q, some in GRADES.items() for i, g in some.items())
    )
    (tmp_path / "bought.csv").write_text("user,item,time\n" + "".join(f"{u},{i},{t}\n" for u, i, t in LINES))
    config = experiment(str(tmp_path / "vectors.npy"))
    config.data.ids = str(tmp_path / "names.txt")
    config.evaluation.judgements, config.evaluation.queries = str(tmp_path / "my.qrels"), str(tmp_path / "queries.npy")
    config.evaluation.query_ids, config.evaluation.purchases = str(tmp_path / "asked.txt"), str(tmp_path / "bought.csv")
    config.evaluation.baselines, config.evaluation.spaces = (), ("dense_query",)
    return config


def test_the_report_has_them_and_python_says_the_same(config, tmp_path):
    weights = small.weights()
    trained(tmp_path / "run", config, weights)
    found = evaluate(config, tmp_path / "run", progress=False)
    assert list(found["protocols"]) == ["neighbours", "judgements", "purchases"]
    assert found["protocols"]["judgements"]["metrics"] == ["nDCG@10", "recall@20", "MRR@10"], "of 60 rows"
    index = cs.Model(weights).index(VECTORS, ids=NAMES)
    scored = cs.evaluate(index, QUERIES, GRADES, query_ids=ASKED)
    bought = cs.evaluate_purchases(index, VECTORS, str(tmp_path / "bought.csv"))
    scores = found["contenders"][1]["scores"]
    for protocol, of_python in (("judgements", scored), ("purchases", bought)):
        assert list(scores[protocol]) == list(of_python)
        for metric, one in of_python.items():
            assert_allclose(scores[protocol][metric]["mean"], one.mean, atol=1e-6)


def test_judgements_that_changed_are_scored_again(config, tmp_path):
    trained(tmp_path / "run", config, small.weights())
    first = evaluate_once(config, tmp_path / "run")
    assert evaluate_once(config, tmp_path / "run")["date"] == first["date"]
    with (tmp_path / "my.qrels").open("a") as file:
        file.writelines(f"query-0 0 item-{i} 1\n" for i in range(5, N))
    again = evaluate_once(config, tmp_path / "run")["contenders"][0]["scores"]
    assert again["neighbours"] == first["contenders"][0]["scores"]["neighbours"]
    assert again["judgements"] != first["contenders"][0]["scores"]["judgements"]


def test_without_queries_rows_ask_for_other_rows(config, tmp_path):
    config.evaluation.queries = config.evaluation.query_ids = ""
    (tmp_path / "my.qrels").write_text("item-4 0 item-4 1\nitem-4 0 item-9 1\n")
    asked = judged.judgements(config, inputs.source(config))
    assert asked.own_rows.tolist() == asked.placed.queries.tolist() == [4]
    assert_allclose(asked.vectors(), VECTORS[[4]])


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"judgements": ""}, r"evaluation\.queries is of judgements; give evaluation\.judgements, too"),
        ({"judgements": "", "queries": ""}, r"evaluation\.query_ids is of judgements"),
        ({"queries": ""}, r"query_ids are of evaluation\.queries"),
        ({"query_ids": ""}, r"the 9 queries given have no ids: name them by config\.evaluation\.query_ids"),
        ({"unknown": "skip"}, "unknown must be one of 'stop', 'keep', 'drop', not 'skip'"),
        ({"purchase_split": "never"}, "must be 'last', a share such as 0.8, or a moment, not 'never'"),
        ({"purchase_columns": ("who", "item", "time")}, "one column for the user, 'who'"),
        ({"purchases": "gone.csv"}, r"there is no file gone\.csv"),
        ({"judgements": "gone.qrels"}, r"there is no file gone\.qrels"),
        ({"queries": "shop"}, "queries have width 128, the vectors 12"),
    ],
)
def test_what_cannot_be_followed_is_refused_before_anything_runs(fields, message, config, tmp_path):
    if fields.get("queries") == "shop":
        fields = {**fields, "query_ids": ""}
    config.evaluation.update(fields)
    with pytest.raises(InputError, match=message):
        check.whole(config, tmp_path / "run", inputs.source(config))


def test_rows_without_ids_need_them_where_judgements_go_by_name(config, tmp_path):
    config.data.ids, config.evaluation.purchases = "", ""
    with pytest.raises(InputError, match=r"items given have no ids: name them by config\.data\.ids or ids_column"):
        check.whole(config, tmp_path / "run", inputs.source(config))
