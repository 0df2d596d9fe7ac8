"""benchmarks.drift on a catalogue of a few hundred rows: its parts, and what its table says."""

import gzip
import json

import numpy as np
import pytest

from benchmarks import drift
from compressae_jax import data


@pytest.fixture
def catalogue(tmp_path, monkeypatch):
    """Two kinds of rows that take turns, each of its own few directions."""
    rng = np.random.default_rng(0)
    bases = rng.standard_normal((2, 4, 16))
    vectors = np.concatenate([rng.standard_normal((1, 4)) @ bases[i % 2] for i in range(600)]).astype(np.float32)
    (tmp_path / "debian").mkdir()
    np.save(tmp_path / "debian" / "vectors.npy", vectors)
    lines = [f"{('perl', 'games')[i % 2]}\t{i}" for i in range(600)]
    (tmp_path / "debian" / "items.txt.gz").write_bytes(gzip.compress("\n".join(lines).encode()))
    small = data.Dataset("debian", tmp_path / "debian", data.open_source(tmp_path / "debian" / "vectors.npy"), "none")
    monkeypatch.setattr(data, "load", lambda name: {"debian": small}[name])
    return vectors


def test_the_other_part_has_drifted_until_it_is_trained_on(catalogue, tmp_path, monkeypatch):
    flags = [
        "--h=64",
        "--k=3",
        "--steps=100",
        "--batch=63",
        "--budget_bytes=8",
        "--queries=20",
        "--rows=0",
        f"--out={tmp_path}",
    ]
    monkeypatch.setattr("sys.argv", ["drift", *flags])
    of_budget = {"dictionary, 8 bytes": {"budget_bytes": 8}}  # an autoencoder takes as long again
    monkeypatch.setattr(drift, "kinds", lambda flags: of_budget)
    drift.main()
    report, text = json.loads((tmp_path / "drift.json").read_text()), (tmp_path / "drift.md").read_text()
    assert report["rows"] == {"before": 280, "after": 280}
    found = {(one["kind"].split(",")[0], one["trained_on"]): one["drift"]["after"] for one in report["results"]}
    kind = "dictionary"
    assert found[kind, "before"]["drifted"] and not found[kind, "before, then after"]["drifted"]
    assert found[kind, "before, then all"]["cosine"] > found[kind, "before"]["cosine"] + 0.1
    assert text.count("**yes**") == sum(one["drifted"] for one in found.values()) and "280 other packages" in text


def test_no_row_is_in_two_places(catalogue, monkeypatch):
    monkeypatch.setattr("sys.argv", ["drift", "--queries=20", "--rows=0"])
    rows, queries = drift.parts(drift.parse())
    everything = np.concatenate([*rows.values(), *queries.values()])
    assert len(np.unique(everything, axis=0)) == len(everything) == 600
    np.testing.assert_array_equal(
        np.unique(np.concatenate([rows["before"], queries["before"]]), axis=0), np.unique(catalogue[::2], axis=0)
    )
