"""The whole evaluation of a run folder on the shipped shop, with a model of random weights."""

import json
import shutil
import sys
from pathlib import Path

import ml_collections
import numpy as np
import pytest
from evaluation import small
from jobs.small_run import experiment, trained
from numpy.testing import assert_allclose

from compressae_jax import compression, data
from compressae_jax.base import files
from compressae_jax.baselines import dense
from compressae_jax.evaluation import figures, judgements, neighbours, protocols, purchases, report
from compressae_jax.evaluation.corpus import OWN, Coded, Corpus
from compressae_jax.evaluation.examples import rows_named
from compressae_jax.jobs import run_folder
from compressae_jax.jobs.compress import compress as compress_job
from compressae_jax.jobs.evaluate import evaluate, evaluate_once
from compressae_jax.jobs.train import train as train_job
from compressae_jax.model import budgets
from compressae_jax.model import weights as model_weights
from compressae_jax.notation import BusyError, InputError
from compressae_jax.retrieval.index import Index
from configs import default

RECONSTRUCTED = "published one-pass codes, reconstructed, k=4"
SPACES = ("sparse", "reconstructed", "dense_query")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run folder, its config and its report."""
    workdir = tmp_path_factory.mktemp("run")
    config = experiment("shop")
    config.evaluation.ks = (2,)
    config.evaluation.baselines = ("truncation", "pca_int8", "int8")
    trained(workdir, config, small.weights(d=128, h=256, k=4))
    (workdir / "metrics.jsonl").write_text('{"step": 1, "loss": 0.5}\n{"step": 2, "loss": 0.25}\n')
    return workdir, config, evaluate(config, workdir, progress=False)


def mean(found, name, protocol, metric):
    return next(one for one in found["contenders"] if one["name"] == name)["scores"][protocol][metric]["mean"]


def test_who_is_compared(run):
    found = run[2]
    assert [(one["name"], one["bytes_per_vector"]) for one in found["contenders"]] == [
        ("dense float32", 512),
        ("int8, 132 bytes", 132),
        *[(f"published one-pass codes, {space}, k=4", 20) for space in SPACES],
        ("truncation, 20 bytes", 20),
        ("PCA int8, 20 bytes", 20),
        *[(f"published one-pass codes, {space}, k=2", 12) for space in SPACES],
        ("truncation, 12 bytes", 12),
        ("PCA int8, 12 bytes", 12),
    ]


def test_neighbours_are_those_of_the_protocol(run):
    workdir, _, found = run
    source, weights = data.open_source("shop"), model_weights.load(workdir / "model")
    held_out = data.Split(len(source), 1000, 1000).queries
    queries, rows = source.take(held_out), np.delete(source.read(0, len(source)), held_out, axis=0)
    _, truth = dense.fit(rows).add(rows).search(queries, 100)

    index = Index(compression.encode(weights, rows), weights, "reconstructed")
    expected = neighbours.per_query(index.search(queries, 100)[1], truth)

    assert found["protocols"]["neighbours"] == {
        "headline": "recall@100",
        "metrics": ["recall@10", "recall@100"],
        "scored": 260,
        "unit": "held-out rows",
        "rows": 2340,
        "cut": [],
    }
    for metric in ("recall@10", "recall@100"):
        assert_allclose(mean(found, RECONSTRUCTED, "neighbours", metric), expected[metric].mean(), atol=1e-6)
        assert mean(found, "dense float32", "neighbours", metric) == 1
    saved = np.load(workdir / "per_query.npz")
    assert_allclose(saved[f"neighbours/{RECONSTRUCTED}/recall@100"], expected["recall@100"], rtol=1e-6)


def test_purchases_of_dense_search_are_the_published_ones(run):
    found = run[2]
    assert found["protocols"]["purchases"]["scored"] == 1701
    assert round(mean(found, "dense float32", "purchases", "recall@20"), 3) == 0.107  # the data's own README


def test_files_are_whole(run):
    workdir, config, found = run
    assert json.loads((workdir / "report.json").read_text()) == json.loads(json.dumps(found))
    assert found["config"]["evaluation"]["resamples"] == 100 and found["seed"] == config.seed
    assert len(report.format_table(found).splitlines()) == 2 + len(found["contenders"]) + 2
    assert "published one-pass codes, dense_query, k=2" in (workdir / "report.md").read_text()
    names = {path.name for path in workdir.iterdir()}
    assert names >= {"report.json", "report.md", "per_query.npz", "recall_bytes.png", "training.png", "usage.png"}
    assert not [name for name in names if name.startswith(".")]


def test_dead_latents_are_those_of_the_rows_searched(run):
    source = data.open_source("shop")
    rows = np.delete(source.read(0, len(source)), data.Split(len(source), 1000, 1000).queries, axis=0)
    codes = compression.encode(small.weights(128, 256, 4), rows)
    assert run[2]["usage"] == {"latents": 256, "dead": 256 - len(np.unique(codes.columns[codes.values != 0]))}


def test_examples_are_items_by_name(run):
    found, names = run[2], data.load("shop").items
    assert len(found["examples"]) == 3
    for example in found["examples"]:
        assert example["item"] in names
        assert list(example["neighbours"]) == ["dense float32", "published one-pass codes, dense_query, k=4"]
        assert all(len(some) == 5 and set(some) <= set(names) for some in example["neighbours"].values())


def test_examples_are_those_that_were_asked_for():
    names = ["a: one", "b: two", "b", "a: three"]
    assert rows_named(names, ["a", "b", "a: three", "b: two"]).tolist() == [0, 2, 3, 1]
    with pytest.raises(InputError, match=r"evaluation.examples: no item is named 'c'"):
        rows_named(names, ["a", "c"])


def test_again_from_the_codes_on_disk_and_without_matplotlib(run, tmp_path, monkeypatch):
    workdir, _, before = run
    config = experiment("shop")
    config.evaluation.spaces, config.evaluation.baselines, config.evaluation.protocols = (
        ("sparse",),
        (),
        ("neighbours",),
    )
    weights = model_weights.load(workdir / "model")
    trained(tmp_path, config, weights)
    compress_job(config, tmp_path, weights)
    monkeypatch.setattr(compression, "in_memory", None)  # the codes are there
    for name in ("matplotlib", "matplotlib.figure"):
        monkeypatch.setitem(sys.modules, name, None)

    found = evaluate(config, tmp_path, progress=False)

    assert [one["name"] for one in found["contenders"]] == ["dense float32", "published one-pass codes, sparse, k=4"]
    name = "published one-pass codes, sparse, k=4"
    assert mean(found, name, "neighbours", "recall@100") == mean(before, name, "neighbours", "recall@100")
    assert found["figures"] == [] and "compressae_jax[figures]" in (tmp_path / "report.md").read_text()


def test_codes_of_other_vectors_are_not_used(tmp_path, monkeypatch):
    np.save(tmp_path / "vectors.npy", small.vectors(50))
    config = experiment(str(tmp_path / "vectors.npy"))
    config.evaluation.baselines, config.evaluation.spaces = (), ("dense_query",)
    trained(tmp_path, config, small.weights())
    compress_job(config, tmp_path, small.weights(), progress=False)
    np.save(tmp_path / "vectors.npy", small.vectors(50, seed=2))  # of the same shape, dtype and name
    trained(tmp_path, config, small.weights())
    stale = evaluate(config, tmp_path, progress=False)
    shutil.rmtree(tmp_path / "codes")
    assert evaluate(config, tmp_path, progress=False)["contenders"] == stale["contenders"]


def test_codes_of_another_model_or_dtype_are_not_used(run, tmp_path):
    workdir, _, before = run
    config = experiment("shop")
    config.evaluation.spaces, config.evaluation.baselines, config.evaluation.protocols = (
        ("sparse",),
        (),
        ("neighbours",),
    )
    trained(tmp_path, config, model_weights.load(workdir / "model"))
    compress_job(config, tmp_path, small.weights(d=128, h=256, k=4, seed=5))

    found = evaluate(config, tmp_path, progress=False)

    name = "published one-pass codes, sparse, k=4"
    assert mean(found, name, "neighbours", "recall@100") == mean(before, name, "neighbours", "recall@100")


def test_a_model_carried_to_judged_data(tmp_path):
    weights = small.weights(d=384, h=512, k=8)
    np.save(tmp_path / "vectors.npy", small.vectors(120, d=384))
    config = experiment(str(tmp_path / "vectors.npy"))
    config.evaluation.judged, config.evaluation.baselines, config.evaluation.spaces = ("scifact",), (), ("dense_query",)

    trained(tmp_path, config, weights)
    found = evaluate(config, tmp_path, progress=False)

    assert found["protocols"]["judgements on scifact"]["scored"] == 300
    # 0.649 in the README of the data, which allows 0.001 for float16.
    assert mean(found, "dense float32", "judgements on scifact", "nDCG@10") == pytest.approx(0.649, abs=0.001)
    assert 0 < mean(found, "published one-pass codes, dense_query, k=8", "judgements on scifact", "nDCG@10") < 0.649
    assert found["examples"] == []


def test_queries_that_are_rows_are_not_their_own_answers(tmp_path):
    rows = small.vectors(40)
    np.save(tmp_path / "vectors.npy", rows)
    (tmp_path / "qrels.tsv").write_text("query_row\tdoc_row\tscore\n7\t9\t1\n7\t12\t2\n31\t2\t1\n")
    dataset = data.Dataset(
        "mine", Path(tmp_path), data.open_source(tmp_path / "vectors.npy"), "none", exclude_self=True
    )
    weights = small.weights()
    codes = compression.encode(weights, rows)
    whole = Corpus(dataset.vectors, {OWN: Coded(weights, codes)}, np.zeros(0, np.int64))

    protocol = protocols.of_dataset("judgements", dataset, whole)

    scores = protocol.ask(dense.fit(rows).add(rows).search)
    assert protocol.scored == 2 and len(scores["MRR@10"]) == 2
    order = dense.fit(rows).add(rows).search(rows[[31]], 40)[1][0].tolist()
    assert order[0] == 31
    rank = order[1:].index(2) + 1
    assert scores["MRR@10"][1] == (1 / rank if rank <= 10 else 0)


@pytest.mark.parametrize(("policy", "answer"), [("stop", "1 zero rows"), ("keep", None), ("drop", None)])
def test_zero_rows(tmp_path, policy, answer):
    rows = small.vectors(50)
    rows[data.Split(50, 1000, 1000).queries[0]] = 0
    np.save(tmp_path / "vectors.npy", rows)
    config = experiment(str(tmp_path / "vectors.npy"))
    config.data.zero_rows, config.evaluation.baselines, config.evaluation.spaces = policy, (), ("sparse",)
    trained(tmp_path, config, small.weights())
    if answer:
        with pytest.raises(InputError, match=answer):
            evaluate(config, tmp_path, progress=False)
        assert not (tmp_path / "report.json").exists()
    else:
        assert evaluate(config, tmp_path, progress=False)["protocols"]["neighbours"]["scored"] == 4


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("protocols", ("neighbors",), r"evaluation.protocols must be one of .* \(did you mean 'neighbours'\?\)"),
        ("protocols", (), "nothing to evaluate by no protocol"),
        ("judged", ("shop",), "evaluation.judged: dataset 'shop' has no judgements"),
        ("spaces", ("dense",), "evaluation.spaces must be one of"),
        ("ks", (99,), "evaluation.ks must be an integer from 1 to"),
        ("baselines", ("pca@x",), "bytes after @ must be a number"),
    ],
)
def test_refuses(tmp_path, field, value, message):
    np.save(tmp_path / "vectors.npy", small.vectors(50))
    config = experiment(str(tmp_path / "vectors.npy"))
    config.evaluation[field] = value
    trained(tmp_path, config, small.weights())
    with pytest.raises(InputError, match=message):
        evaluate(config, tmp_path, progress=False)


def test_too_few_rows_to_hold_any_out(tmp_path):
    np.save(tmp_path / "vectors.npy", small.vectors(11))
    config = experiment(str(tmp_path / "vectors.npy"))
    trained(tmp_path, config, small.weights())
    with pytest.raises(InputError, match="11 rows are too few"):
        evaluate(config, tmp_path, progress=False)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"data.queries": 4}, "config.data.queries was 1000, now 4; give what it was made with"),
        ({"data.validation": 0}, "config.data.validation was 1000, now 0"),
        ({"seed": 7}, "config.seed was 0, now 7"),
        ({"budget_bytes": 8}, "budget_bytes=8 chooses h, k, steps, but h=2048"),
        ("source", "had other contents of the same shape"),
        ("rows", "had rows 50, now 60"),
        ("config.json", "config.json is missing; it says which rows were held out"),
    ],
)
def test_what_a_run_was_made_with_is_not_for_a_later_command_to_say(tmp_path, change, message):
    np.save(tmp_path / "vectors.npy", small.vectors(50))
    config = experiment(str(tmp_path / "vectors.npy"))
    trained(tmp_path, config, small.weights())
    if change == "config.json":
        (tmp_path / "config.json").unlink()
    elif isinstance(change, str):
        np.save(tmp_path / "vectors.npy", small.vectors(50 if change == "source" else 60, seed=2))
    else:
        config.update_from_flattened_dict(change)
    with pytest.raises(InputError, match=message):
        evaluate(config, tmp_path, progress=False)


def test_a_budget_is_not_for_a_later_command_to_say(tmp_path):
    np.save(tmp_path / "vectors.npy", small.vectors(50))
    config = default.get_config()
    config.data.source, config.budget_bytes = str(tmp_path / "vectors.npy"), 9
    trained(tmp_path, config, small.weights())
    config.budget_bytes = None
    with pytest.raises(InputError, match=r"config\.budget_bytes was 9, now [1-8]; give what it was made with"):
        evaluate(config, tmp_path, progress=False)


def test_the_report_says_what_the_run_was_made_with(tmp_path):
    np.save(tmp_path / "vectors.npy", small.vectors(50))
    config = experiment(str(tmp_path / "vectors.npy"))
    config.train.lr = 0.123
    trained(tmp_path, config, small.weights())
    config.train.lr, config.evaluation.baselines, config.evaluation.spaces = 5.0, (), ("sparse",)
    assert evaluate(config, tmp_path, progress=False)["config"]["train"]["lr"] == 0.123


def test_a_depth_that_finds_all_rows_heads_no_table(tmp_path):
    np.save(tmp_path / "vectors.npy", small.vectors(95))
    config = experiment(str(tmp_path / "vectors.npy"))
    config.evaluation.baselines, config.evaluation.spaces = (), ("sparse",)
    trained(tmp_path, config, small.weights())
    found = evaluate(config, tmp_path, progress=False)["protocols"]["neighbours"]
    assert (found["rows"], found["headline"], found["cut"]) == (86, "recall@10", ["recall@100"])
    assert "86 rows are searched, too few" in (tmp_path / "report.md").read_text()


def test_names_of_metrics_are_those_of_the_protocols(run):
    asked = run[2]["protocols"]
    assert tuple(asked["neighbours"]["metrics"]) == neighbours.METRICS
    assert tuple(asked["purchases"]["metrics"]) == purchases.METRICS
    assert "nDCG@10" in judgements.METRICS


def test_a_complete_evaluation_is_not_done_again_unless_something_changed(tmp_path, monkeypatch):
    np.save(tmp_path / "vectors.npy", small.vectors(50))
    config = experiment(str(tmp_path / "vectors.npy"))
    config.evaluation.baselines, config.evaluation.spaces = (), ("sparse",)
    trained(tmp_path, config, small.weights())
    first = evaluate_once(config, tmp_path)
    with monkeypatch.context() as without:
        without.setattr("compressae_jax.jobs.evaluate.evaluate", None)
        assert evaluate_once(config, tmp_path) == json.loads(json.dumps(first))
    config.evaluation.resamples = 50
    assert evaluate_once(config, tmp_path)["config"]["evaluation"]["resamples"] == 50
    (tmp_path / "report.md").unlink()
    evaluate_once(config, tmp_path)
    assert (tmp_path / "report.md").exists()


def test_one_evaluation_of_a_run_at_a_time(tmp_path):
    np.save(tmp_path / "vectors.npy", small.vectors(50))
    config = experiment(str(tmp_path / "vectors.npy"))
    trained(tmp_path, config, small.weights())
    with files.locked(tmp_path / run_folder.REPORT), pytest.raises(BusyError, match="being written by process") as busy:
        evaluate(config, tmp_path, progress=False)
    assert "\n" not in str(busy.value) and not (tmp_path / "report.json").exists()


def test_flags_of_model_and_training_must_be_those_of_the_run(tmp_path):
    np.save(tmp_path / "vectors.npy", small.vectors(50))
    config = experiment(str(tmp_path / "vectors.npy"))
    trained(tmp_path, config, small.weights())
    same = {"train.lr": config.train.lr, "model.h": config.model.h, "evaluation.ks": (4,)}
    run_folder.check_given(tmp_path, same)
    for name, value in (("train.lr", 5.0), ("model.h", 7)):
        with pytest.raises(InputError, match=f"config.{name} was .*, now {value}"):
            run_folder.check_given(tmp_path, {**same, name: value})
    model_weights.save(small.weights(), tmp_path / "other")
    run_folder.check_given(tmp_path, {"start": ""})
    with pytest.raises(InputError, match=r"its start was none, config.start is [0-9a-f]{16}; give what it was made"):
        run_folder.check_given(tmp_path, {"start": str(tmp_path / "other")})


def test_models_beside_and_other_budgets_are_trained_on_the_same_rows_and_compared(tmp_path, monkeypatch):
    monkeypatch.setattr(figures, "available", lambda: False)
    np.save(tmp_path / "vectors.npy", small.vectors(400))
    config = default.get_config()
    config.data.source, config.data.queries, config.data.unseen = str(tmp_path / "vectors.npy"), 40, 120
    config.budget_bytes, config.train.refine_rounds, config.data.validation = 8, 2, 0
    config.evaluation.budgets, config.evaluation.baselines, config.evaluation.resamples = (4, 8), (), 50
    config.evaluation.beside.published = default.model("published")
    beside = config.evaluation.beside.published
    beside.model.h, beside.model.k, beside.train.steps, beside.train.batch = 32, 2, 3, 32
    beside.train.warmup_steps = 0
    workdir = tmp_path / "run"
    train_job(config, workdir, progress=False)
    found = evaluate(config, workdir, progress=False)

    own = model_weights.load(workdir / "model")
    k, fewer = own.k, budgets.of_dictionary(4, own.h, own.d)[0]
    names = [f"packed pursuit codes, dense_query, k={k}", f"packed pursuit codes, dense_query, k={fewer}"]
    one_pass = [f"published one-pass codes, {space}, k=2" for space in SPACES]
    bytes_of = {one["name"]: (one["budget"], one["bytes_per_vector"]) for one in found["contenders"][1:]}
    assert list(bytes_of) == [*one_pass, *names]
    assert bytes_of[names[0]][0] == 8 >= bytes_of[names[0]][1] > 4 == bytes_of[names[1]][0] >= bytes_of[names[1]][1]
    assert found["protocols"]["unseen"]["rows"] == 120 and found["protocols"]["neighbours"]["rows"] == 360
    assert list(found["beside"]) == ["4 bytes", "published"]

    records_of = [json.loads((f / "config.json").read_text()) for f in (workdir, workdir / "beside" / "published")]
    assert records_of[0]["rows"] == records_of[1]["rows"] and records_of[0]["rows"]["trained"] == 240
    assert (records_of[0]["budget_bytes"], records_of[1]["budget_bytes"]) == (8, 0)
    other = model_weights.load(workdir / "beside" / "published" / "model")
    assert found["beside"]["published"]["fingerprint"] == other.fingerprint
    page = (workdir / "report.md").read_text()
    assert "unseen: 40 held-out rows, 120 rows searched" in page and "Beside them, on the same rows:" in page


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        (
            "published",
            {"model.k": 99, "model.h": 32},
            r"evaluation\.beside\.published: k must be an integer from 1 to 32",
        ),
        ("published", {"budget_bytes": 4}, r"evaluation\.beside\.published: budget_bytes=4 chooses h, k, steps"),
        ("a/b", {}, "evaluation.beside: a name must be letters, digits and _, not 'a/b'"),
    ],
)
def test_a_model_beside_is_checked_before_anything_runs(tmp_path, name, change, message):
    np.save(tmp_path / "vectors.npy", small.vectors(400))
    config = experiment(str(tmp_path / "vectors.npy"))
    config.evaluation.beside[name] = ml_collections.ConfigDict(default.model("published"))
    config.evaluation.beside[name].update_from_flattened_dict(change)
    with pytest.raises(InputError, match=message):
        train_job(config, tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()


def test_a_run_that_knew_no_budget_had_none():
    made = run_folder.Made({"seed": 0, "model": {"h": 8}, "train": {"lr": 0.1}})
    assert made.budget_bytes == 0
    told = made.config({"budget_bytes": 9, "model": {}})
    assert told == {"budget_bytes": 0, "model": {"h": 8}, "train": {"lr": 0.1}}
