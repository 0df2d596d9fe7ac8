import copy

import numpy as np
import pytest

from compressae_jax.evaluation import tables
from compressae_jax.evaluation.evaluation import Evaluation


def score(mean):
    ends = {"mean": mean, "low": mean - 0.01, "high": mean + 0.01}
    return {**ends, "difference": {**ends, "mean": mean - 1}}


def one(name, kind, size, recall, ndcg, budget=None):
    scores = {"neighbours": {"recall@100": score(recall)}, "judgements on scifact": {"nDCG@10": score(ndcg)}}
    published = 128 if kind == "code" else None
    sizes = {"bytes_per_vector": float(size), "bytes_as_published": published, "ratio": 512 / size, "budget": budget}
    return {"name": name, "kind": kind, "space": None, "k": None, **sizes, "scores": scores}


@pytest.fixture
def report():
    return {
        "workdir": "runs/here",
        "source": {"name": "things", "rows": 2600, "width": 128},
        "model": {"h": 1024, "k": 16, "fingerprint": "3f2a"},
        "protocols": {
            "neighbours": {
                "headline": "recall@100",
                "metrics": ["recall@100"],
                "scored": 260,
                "unit": "rows",
                "rows": 9,
                "cut": [],
            },
            "judgements on scifact": {
                "headline": "nDCG@10",
                "metrics": ["nDCG@10"],
                "scored": 3,
                "unit": "queries",
                "rows": 9,
                "cut": [],
            },
        },
        "baseline_rows": 2000,
        "contenders": [
            one("dense float32", "dense", 512, 1.0, 0.65),
            one("CompresSAE sparse, k=16", "code", 68, 0.3, 0.61, 68),
            one("PCA int8, 68 bytes", "baseline", 68, 0.5, 0.6, 68),
            one("int8, 132 bytes", "baseline", 132, 0.99, 0.7, 132),
        ],
        "examples": [{"item": "Lamp", "neighbours": {"dense float32": ["Bulb", "Wick"], "sparse": ["Wick"]}}],
        "usage": {"latents": 1024, "dead": 3},
        "figures": ["recall_bytes.png"],
        "figures_note": "",
        "hardware": {"cpu": "CPU", "cores": 2, "devices": ["cpu", "cpu"]},
        "versions": {"python": "3.11"},
        "commit": "abc",
        "command": "python launch/evaluate.py",
        "date": "today",
        "seconds": 3.2,
        "seed": 0,
        "config": {"seed": 0},
    }


def test_table(report):
    lines = tables.format_table(report).splitlines()
    assert lines[0].split("  ")[0] == "method" and lines[0].endswith("scifact nDCG@10")
    words = [" ".join(line.split()) for line in lines]
    assert words[2] == "dense float32 512 1.0× 1.000 [0.990, 1.010] 0.650 [0.640, 0.660]"
    assert words[3] == "CompresSAE sparse, k=16 68 7.5× 0.300 [0.290, 0.310] 0.610 [0.600, 0.620]*"
    assert words[4] == "PCA int8, 68 bytes 68 7.5× 0.500 [0.490, 0.510]* 0.600 [0.590, 0.610]"
    assert "*" not in lines[5]  # nobody else was given as many bytes
    starts = [line.index("[") for line in lines[2:6]]
    assert len(set(starts)) == 1


def test_a_tie_is_won_by_both(report):
    report["contenders"][1] = copy.deepcopy(report["contenders"][2]) | {"name": "twin", "kind": "code"}
    assert tables.best(report, "neighbours") == {"twin", "PCA int8, 68 bytes"}


def test_markdown_says_who_wins(report):
    page = tables.markdown(report)
    assert "- recall@100 at 68 bytes: highest is PCA int8, 0.500; CompresSAE sparse, k=16 reaches 0.300." in page
    assert "- scifact nDCG@10 at 68 bytes: highest is CompresSAE sparse, k=16, 0.610." in page
    assert "**0.500 [0.490, 0.510]**" in page and "**Lamp**" in page and "1,024, of which 3" in page
    assert "![recall_bytes.png](recall_bytes.png)" in page
    tables_ = [line for line in page.splitlines() if line.startswith("|")]
    assert {line.count("|") for line in tables_} == {6}


def test_markdown_without_matplotlib_says_how_to_get_figures(report):
    report |= {"figures": [], "figures_note": "Figures need matplotlib."}
    assert "Figures need matplotlib." in tables.markdown(report)


def test_examples(report):
    assert tables.format_examples(report) == "Lamp\n  dense float32\n    1. Bulb\n    2. Wick\n  sparse\n    1. Wick"
    assert tables.closing(report).endswith("runs/here/recall_bytes.png\nruns/here/report.md")
    report["examples"][0]["item"] = "word " * 99
    assert max(map(len, tables.format_examples(report).splitlines())) <= 110
    report["examples"] = []
    assert tables.closing(report).count("Lamp") == 0


def test_examples_that_begin_with_a_name_take_a_line(report):
    found = {"dense float32": ["krita: paints", "nip2: edits"], "codes": ["krita: paints"]}
    report["examples"] = [{"item": "gimp: edits images", "neighbours": found}]
    wanted = "gimp: edits images\n  dense float32  krita, nip2\n  codes          krita"
    assert tables.format_examples(report) == wanted


def test_a_depth_that_finds_all_rows_is_not_shown(report):
    for one in report["contenders"]:
        one["scores"]["neighbours"]["recall@10"] = score(0.4)
    report["protocols"]["neighbours"] |= {"headline": "recall@10", "metrics": ["recall@10", "recall@100"], "rows": 86}
    report["protocols"]["neighbours"]["cut"] = ["recall@100"]
    page = tables.markdown(report)
    assert "has no recall@100 here: 86 rows are searched, too few" in page
    assert "| recall@100" not in page and "| recall@10 " in page


def test_the_closing_table_leaves_out_smaller_ks_but_no_budget_that_was_asked_for(report):
    own = {"k": 16, "of": "own"}
    report["contenders"][1] |= own
    report["contenders"] += [
        one("CompresSAE sparse, k=4", "code", 20, 0.2, 0.2, 20) | {**own, "k": 4},
        one("PCA int8, 20 bytes", "baseline", 20, 0.1, 0.1, 20),
        one("packed pursuit codes, dense_query, k=9", "code", 32, 0.4, 0.4, 32) | {"k": 9, "of": "32 bytes"},
        one("RQ, 32 bytes", "baseline", 32, 0.1, 0.1, 32),
    ]
    left = {o["name"] for o in report["contenders"]} - {o["name"] for o in tables.at_own_budget(report)}
    assert left == {"CompresSAE sparse, k=4", "PCA int8, 20 bytes"}


def test_runs_are_compared_with_the_first_and_their_ps_are_of_one_family():
    rng = np.random.default_rng(0)
    base = rng.random(40)
    shifts = {"first": 0, "a little": 0.02, "much": 0.3}
    ids = np.arange(40)
    noisy = {name: base + rng.normal(shift, 0.1, 40) * (shift > 0) for name, shift in shifts.items()}
    scored = [Evaluation(name, {"MRR@3": values}, ids[::-1], resamples=100) for name, values in noisy.items()]
    scored[2] = Evaluation("much", {"MRR@3": noisy["much"][::-1]}, ids, resamples=100)  # the same, in another order
    p = [one.p_values(scored[0])["MRR@3"] for one in scored]
    assert p[0] == 1 and p[2] < 0.001 < p[1]

    lines = tables.of_evaluations(scored).splitlines()
    assert [line.split()[-1] for line in lines[3:5]] == [tables.p_value(p[1]), tables.p_value(2 * p[2])]
    assert lines[2].endswith("]") and lines[-1].endswith("Holm over the runs")
    assert "Holm" not in tables.of_evaluations(scored[:2]) and " p" not in tables.of_evaluations(scored[:1])
