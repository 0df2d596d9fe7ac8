"""Evaluations in a model card: those of Python and of reports, and what is refused."""

import json

import pytest
from evaluation import small

import compressae_jax as cs
from compressae_jax.model.card import CARD
from compressae_jax.notation import InputError

MODEL = cs.Model(small.weights())
REPORT = {
    "model": {"fingerprint": MODEL.weights.fingerprint},
    "beside": {"other": {"fingerprint": "00"}},
    "source": {"name": "shop"},
    "date": "2026-11-26",
    "protocols": {"neighbours": {"scored": 1000, "unit": "held-out rows", "rows": 9000}},
    "contenders": [
        {"name": name, "of": of, "kind": kind, "bytes_per_vector": 28.0, "scores": {"neighbours": {"recall@10": score}}}
        for name, of, kind, score in (
            ("dense", None, "dense", {"mean": 1.0, "low": 1.0, "high": 1.0}),
            ("ours", "own", "code", {"mean": 0.8123, "low": 0.79, "high": 0.83}),
            ("theirs", "other", "code", {"mean": 0.5, "low": 0.4, "high": 0.6}),
        )
    ],
}


@pytest.fixture(scope="module")
def evaluated():
    index = MODEL.index(small.vectors(60))
    return cs.evaluate(index, small.vectors(60)[:9], {i: {i: 1} for i in range(9)})


def test_what_evaluate_gives(evaluated, tmp_path):
    MODEL.save(tmp_path / "model", evaluation=evaluated)
    text = (tmp_path / "model" / CARD).read_text()
    low, high = evaluated["nDCG@10"].low, evaluated["nDCG@10"].high
    assert f"| nDCG@10 | {evaluated['nDCG@10'].mean:.3f} | [{low:.3f}, {high:.3f}] |" in text
    MODEL.save(tmp_path / "model", evaluation=[evaluated, evaluated])
    assert (tmp_path / "model" / CARD).read_text().count("| nDCG@10 |") == 2


def test_a_report_of_a_run(tmp_path):
    (tmp_path / "report.json").write_text(json.dumps(REPORT))
    for place in (tmp_path, str(tmp_path / "report.json")):
        MODEL.save(tmp_path / "model", evaluation=place)
        text = (tmp_path / "model" / CARD).read_text()
        assert "| ours | 28 | neighbours | recall@10 | 0.812 | [0.790, 0.830] |" in text and "| dense |" in text
        assert "theirs" not in text and "On shop, 2026-11-26. neighbours: 1,000 held-out rows among 9,000 rows." in text


def test_reports_of_others_and_other_things(evaluated, tmp_path):
    (tmp_path / "report.json").write_text(json.dumps({**REPORT, "model": {"fingerprint": "11"}}))
    (tmp_path / "empty.json").write_text("{}")
    for given, told in (
        (tmp_path, f"is about the models 11, 00, not {MODEL.weights.fingerprint}"),
        (tmp_path / "none", "there is no .*none; compressae evaluate writes one"),
        (tmp_path / "empty.json", "is no report of compressae evaluate"),
        (0.8, "evaluation must be what cs.evaluate gives"),
        ([], "evaluation must be what cs.evaluate gives"),
        ([evaluated, 1], "evaluation must be what cs.evaluate gives"),
    ):
        with pytest.raises(InputError, match=told):
            MODEL.save(tmp_path / "model", evaluation=given)
    assert not (tmp_path / "model").exists()
