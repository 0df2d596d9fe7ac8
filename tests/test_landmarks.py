"""benchmarks.landmarks on the rows that come with the package: what its table and its paired differences say."""

import json

from benchmarks import landmarks


def test_both_recipes_on_the_same_rows(tmp_path, monkeypatch):
    monkeypatch.setattr(landmarks, "SEEDS", {"published": 1, "sparse": 2})
    flags = ["--datasets", "shop:unseen", "--steps=1", "--h=256", f"--workdir={tmp_path}", f"--out={tmp_path}"]
    monkeypatch.setattr("sys.argv", ["landmarks", *flags])
    landmarks.main()

    report, text = json.loads((tmp_path / "landmarks.json").read_text()), (tmp_path / "landmarks.md").read_text()
    told = report["measured"]["shop:unseen"]
    assert told["trained_on"] == told["searched"] == 1040
    drawn, published = told["recipes"]["sparse"], told["recipes"]["published"]
    assert [line["h"] for line in (*drawn, *published)] == [256, 256, 2048]
    assert {line["bytes"] for line in (*drawn, *published)} == {68.0}
    name = "recall@100, queries of 2 k"
    gained = drawn[0]["recall"][name]["mean"] - published[0]["recall"][name]["mean"]
    assert abs(told["difference"][name]["mean"] - gained) < 1e-6 and gained > 0.1
    assert str(tmp_path) not in json.dumps(report) + text and "| shop:unseen | sparse | 2 | 256 | 68 |" in text
