"""benchmarks/growth.py at tiny sizes: its fields, its oracle, and slopes that recover a known law."""

import json
import sys

import numpy as np
import pytest

from benchmarks import growth

TINY = {
    "base": {"n": 2000, "d": 32, "h": 64, "k": 4, "q": 2},
    "n": (2000, 60_000),
    "q": (1, 9),
    "k": (4, 9),
    "h": (64, 128),
    "scale": {"n": 2000, "d": 32, "h": 64, "k": 4, "q": (1, 9)},
    "repeats": 1,
}


def test_a_run_has_slopes_memory_and_both_sides(tmp_path, monkeypatch):
    monkeypatch.setattr(growth, "REST", 0)
    monkeypatch.setattr(growth, "copy_rate", lambda: 1.0)

    report = json.loads(json.dumps(growth.measured(TINY)))

    assert [(p["axis"], p[p["axis"]]) for p in report["points"]] == [(a, x) for a in growth.AXES for x in TINY[a]]
    for p in report["points"]:
        for side in growth.SIDES:
            assert 0 < p[side]["min_ms"] <= p[side]["median_ms"] <= p[side]["max_ms"]
    for axis, of in report["slopes"].items():
        assert of["range"] == [min(TINY[axis]), max(TINY[axis])]
        assert np.isfinite([of[side]["time"] for side in growth.SIDES]).all()
    assert report["bytes_per_vector"]["peer"] == pytest.approx(4 * 32, rel=0.3)
    assert report["bytes_per_vector"]["host"] == pytest.approx(4 * 4 + 4, rel=0.3)
    assert report["scale"]["bytes"]["float16"] == 4 * 4 + 4
    growth.draw(report, tmp_path / "growth.png")
    assert "| n | 2,000 to 60,000 |" in growth.table(report)


def test_slopes_recover_a_power_law_and_bytes_a_line():
    points = [
        {
            "axis": "n",
            "n": n,
            "host": {"median_ms": 3 * n**1.5, "mib": 7 + 68 * n / 2**20},
            "peer": {"median_ms": 5 * n**0.5, "mib": n},
        }
        for n in (1000, 2000, 9000)
    ]

    found = growth.slopes(points, "n")

    assert found["host"]["time"] == pytest.approx(1.5)
    assert found["peer"] == pytest.approx({"time": 0.5, "memory": 1})
    assert growth.slope_of_bytes(points, "host") == pytest.approx(68)  # what does not grow with n is no vector's


def test_without_faiss_the_peer_is_numpy_and_exact(monkeypatch):
    monkeypatch.setitem(sys.modules, "faiss", None)

    assert "numpy" in growth.peer_name()
    assert growth.point(TINY["base"], 1)["peer"]["median_ms"] > 0  # its results passed the oracle


def test_wrong_results_stop_the_run():
    rng = np.random.default_rng(0)
    codes = growth.random_codes(rng, 500, 64, 4)
    u = rng.standard_normal((2, 64)).astype(np.float32)
    exact = growth.code_scores(codes, codes.scales("sparse"), u)
    rows = np.argsort(-exact, axis=1)
    best = np.take_along_axis(exact, rows, axis=1)

    growth.check("good", lambda _: (best[:, : growth.TOP], rows[:, : growth.TOP]), u, 2, lambda _: exact)
    with pytest.raises(SystemExit, match="oracle"):
        growth.check("bad", lambda _: (best[:, 1 : growth.TOP + 1], rows[:, 1 : growth.TOP + 1]), u, 2, lambda _: exact)
