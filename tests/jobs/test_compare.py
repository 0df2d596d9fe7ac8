"""Evaluated run folders beside each other; what cannot be compared says why."""

import json
import shutil

import numpy as np
import pytest
from evaluation import small
from jobs.small_run import experiment, trained
from numpy.testing import assert_allclose

from compressae_jax.base import sealed
from compressae_jax.evaluation import compared, figures, intervals, significance
from compressae_jax.jobs import compare
from compressae_jax.jobs.evaluate import evaluate
from compressae_jax.notation import FolderError, InputError

N = 300


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Three runs on one source: of k=3, of k=6 and of k=6 with another training."""
    root = tmp_path_factory.mktemp("runs")
    np.save(root / "vectors.npy", small.vectors(N))
    for name, k, seed, lr in (("three", 3, 0, 0.002), ("six", 6, 0, 0.002), ("other", 6, 5, 0.004)):
        made(root, name, small.weights(k=k, seed=seed), k, lr=lr)
    return root


def made(root, name, weights, k, source="vectors.npy", lr=0.002, **fields):
    config = experiment(str(root / source))
    config.model.h, config.model.k, config.train.lr = weights.h, k, lr
    config.evaluation.baselines = ("pca",)
    config.data.queries = 30
    for field, value in fields.items():
        config.update_from_flattened_dict({field.replace("__", "."): value})
    trained(root / name, config, weights)
    lines = [{"step": step, "loss": 1 / step, "validation/cosine": 1 - 1 / step, "seconds": step} for step in (1, 2, 3)]
    (root / name / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(figures, "available", lambda: False)  # as without matplotlib: nobody looks at a run's own figures
        evaluate(config, root / name, progress=False)


@pytest.fixture(scope="module")
def report(root):
    return compare.compare([root / "three", root / "six", root / "other"], resamples=200)


def test_every_measure_in_every_space_is_paired_with_the_first_run(root, report):
    rows = report["measures"]
    assert [row["run"] for row in rows[:3]] == ["three", "six", "other"]
    spaces, metrics = ("sparse", "reconstructed", "dense_query"), report["protocols"]["neighbours"]["metrics"]
    assert {(row["metric"], row["space"]) for row in rows} == {(m, s) for m in metrics for s in spaces}

    found = next(row for row in rows if (row["run"], row["space"], row["metric"]) == ("six", "sparse", "recall@10"))
    values, base = (
        np.load(root / name / "per_query.npz")[f"neighbours/published one-pass codes, sparse, k={k}/recall@10"]
        for name, k in (("six", 6), ("three", 3))
    )
    assert_allclose(found["mean"], values.mean(), rtol=1e-6)
    assert_allclose(list(found["difference"].values()), intervals.difference(values, base, 200), rtol=1e-5)
    assert found["p"] == significance.permutation(values, base)


def test_ps_are_one_family(report):
    family = [row for row in report["measures"] if "difference" in row]
    assert len(family) == 2 * len(report["measures"]) // 3
    assert_allclose([row["p_holm"] for row in family], significance.holm(np.array([row["p"] for row in family])))


def test_what_differs_and_what_the_runs_are(report):
    assert report["differing"] == {"model.k": [3, 6, 6], "train.lr": [0.002, 0.002, 0.004]}
    assert [(run["name"], run["k"], run["bytes_per_vector"], run["training_seconds"]) for run in report["runs"]] == [
        ("three", 3, 16, 3),
        ("six", 6, 28, 3),
        ("other", 6, 28, 3),
    ]
    assert len({run["fingerprint"] for run in report["runs"]}) == 3
    json.dumps(report)


def test_it_reads_well_and_is_drawn(root, report, tmp_path):
    page = compared.markdown(report)
    assert page.startswith("# three, six, other: runs on ") and "| train.lr | 0.002 | 0.002 | 0.004 |" in page
    assert "by Holm over 12 comparisons" in compared.on_screen(report) and "30 held-out rows" in page
    curves = {name: compare.opened(root / name, name).lines for name in ("three", "six")}
    figures.runs(curves, report["codes"], "neighbours", "recall@10", tmp_path / "compare.png")
    figures.runs(dict.fromkeys(curves, ()), report["codes"], "neighbours", "recall@10", tmp_path / "no_curves.png")
    sizes = [(tmp_path / name).stat().st_size for name in ("compare.png", "no_curves.png")]
    assert sizes[0] > sizes[1] > 10_000


def test_runs_of_one_name_are_called_by_their_paths(root, tmp_path):
    shutil.copytree(root / "six", tmp_path / "six")
    assert compare.names([root / "six", tmp_path / "six"]) == [str(root / "six"), str(tmp_path / "six")]
    with pytest.raises(InputError, match="at least two runs, not 1"):
        compare.compare([root / "six"])
    with pytest.raises(InputError, match="six is named twice"):
        compare.names([root / "six", f"{root}/other/../six"])


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"data__queries": 20}, r"hold out other rows \(queries: 30 and 20\)"),
        ({"data__unseen": 40}, r"hold out other rows \(unseen: 0 and 40\)"),
        ({"source": "fewer.npy"}, "runs of different sources .* rows 300, now 299"),
        ({"source": "others.npy"}, "runs of different sources .* other contents"),
        ({"evaluation__protocols": ("unseen",), "data__unseen": 40}, "hold out other rows"),
        ({"evaluation__spaces": ("sparse",)}, None),
    ],
)
def test_runs_that_were_asked_other_things(root, tmp_path, fields, message):
    shutil.copytree(root / "six", tmp_path / "six")
    for name, rows in (
        ("vectors", small.vectors(N)),
        ("fewer", small.vectors(N)[:-1]),
        ("others", small.vectors(N) + 1),
    ):
        np.save(tmp_path / f"{name}.npy", rows)
    made(tmp_path, "asked", small.weights(k=6), 6, **fields)
    if message is None:
        assert {row["space"] for row in compare.compare([tmp_path / "six", tmp_path / "asked"])["measures"]} == {
            "sparse"
        }
        return
    with pytest.raises(InputError, match=message):
        compare.compare([tmp_path / "six", tmp_path / "asked"])


def without(name):
    return lambda run: shutil.rmtree(run / name) if (run / name).is_dir() else (run / name).unlink()


def changed_report(change):
    def change_it(run):
        report = json.loads((run / "report.json").read_text())
        change(report)
        (run / "report.json").write_text(json.dumps(report))

    return change_it


def changed_scores(change):
    def change_it(run):
        scores = dict(np.load(run / "per_query.npz"))
        change(scores)
        np.savez(run / "per_query.npz", **scores)

    return change_it


def test_the_nonzeros_compared_are_those_of_the_model(root, tmp_path):
    np.save(tmp_path / "vectors.npy", small.vectors(N))
    made(tmp_path, "more", small.weights(k=6), 6, evaluation__ks=(9, 6, 2))
    shutil.copytree(root / "six", tmp_path / "six")
    report = compare.compare([tmp_path / "six", tmp_path / "more"], resamples=100)
    assert {row["difference"]["high"] for row in report["measures"] if "difference" in row} == {0}
    assert [run["bytes_per_vector"] for run in report["runs"]] == [28, 28]
    assert {one["k"] for one in report["codes"] if one["run"] == "more"} == {9, 6, 2}
    made(tmp_path, "less", small.weights(k=6), 6, evaluation__ks=(9, 2))
    report = compare.compare([tmp_path / "six", tmp_path / "less"], resamples=100)
    assert [run["k"] for run in report["runs"]] == [6, 9], "the model's k was not evaluated there"


def test_a_metric_that_finds_all_rows_in_a_run_is_left_out(root, tmp_path):
    shutil.copytree(root / "six", tmp_path / "run")
    changed_report(lambda report: report["protocols"]["neighbours"].update(cut=["recall@100"]))(tmp_path / "run")
    report = compare.compare([root / "three", tmp_path / "run"], resamples=100)
    assert report["protocols"]["neighbours"]["metrics"] == ["recall@10"]
    assert {row["metric"] for row in report["measures"]} == {"recall@10"}


@pytest.mark.parametrize(
    ("damage", "error", "message"),
    [
        (without("config.json"), FolderError, "is no run folder: it has no config.json"),
        (without("model"), FolderError, "is not finished: it has no model; its command continues it"),
        (without("report.json"), FolderError, "is not evaluated: it has no report.json; use `evaluate`"),
        (without("per_query.npz"), FolderError, "it has no per_query.npz"),
        (lambda run: (run / "report.json").write_text("{"), FolderError, "damaged report"),
        (lambda run: (run / "per_query.npz").write_bytes(b"PK"), FolderError, "damaged report"),
        (changed_report(lambda report: report.pop("contenders")), FolderError, "damaged report"),
        (changed_scores(lambda scores: scores.popitem()), FolderError, "damaged report"),
        (
            changed_scores(lambda scores: scores.update({"neighbours/dense float32/recall@10": np.zeros(3)})),
            FolderError,
            r"damaged report.*\(3,\) scores, not 30",
        ),
        (
            changed_scores(lambda scores: scores["neighbours/dense float32/recall@10"].__setitem__(3, 0)),
            InputError,
            r"not of the same queries: dense search scores otherwise on 1 of 30 \(recall@10\)",
        ),
        (changed_report(lambda report: report["model"].update(fingerprint="x")), FolderError, "its report is of x"),
        (
            changed_report(lambda report: report["protocols"]["neighbours"].update(rows=9)),
            InputError,
            "rows 270 and 9",
        ),
        (changed_report(lambda report: report.update(protocols={})), InputError, "no measure in common"),
        (
            lambda run: sealed.replace(run / "config.json", {"format_version": 99}),
            FolderError,
            "format version 99",
        ),
    ],
)
def test_what_is_no_evaluated_run(root, tmp_path, damage, error, message):
    shutil.copytree(root / "six", tmp_path / "run")
    damage(tmp_path / "run")
    with pytest.raises(error, match=message):
        compare.compare([root / "three", tmp_path / "run"])


def test_runs_without_a_space_in_common(root, tmp_path):
    np.save(tmp_path / "vectors.npy", small.vectors(N))
    made(tmp_path, "dense_only", small.weights(k=6), 6, evaluation__spaces=("dense_query",))
    made(tmp_path, "sparse_only", small.weights(k=6), 6, evaluation__spaces=("sparse",))
    with pytest.raises(InputError, match="no space in common: dense_only has dense_query; sparse_only has sparse"):
        compare.compare([tmp_path / "dense_only", tmp_path / "sparse_only"])
