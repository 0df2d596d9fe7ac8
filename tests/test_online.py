"""benchmarks.online at a tiny size: sums are those of drawn users, the formula what is simulated, the page whole."""

import json

import numpy as np
import pytest
from numpy.testing import assert_allclose

from benchmarks import online
from compressae_jax.evaluation.online import lift, power

TINY = {
    **online.SIZES["small"],
    "experiments": 100,
    "false": 300,
    "looks": 8,
    "drawn": 20_000,
    "false_drawn": 20,
    "small": 2000,
}


def test_normal_sums_are_those_of_users():
    """Means by the model, spreads by the pool; one look at 2,000 users, 400 times each."""
    model, ends = (0.05, 6, 1.0, 0.5), np.array([500.0, 2000.0])
    rng = np.random.default_rng(0)
    one_by_one = online.each(rng, 400, ends, *model)
    normal = online.experiments(rng, online.of_users(rng, *model, 0.0, 200_000), 400, ends)
    for theirs, ours in zip(one_by_one, normal, strict=True):
        error = np.maximum(theirs.std(axis=0), 1e-9) / 400**0.5
        assert (np.abs(theirs.mean(axis=0) - ours.mean(axis=0)) < 5 * error).all()
        assert_allclose(ours.std(axis=0), theirs.std(axis=0), rtol=0.25)
    spread = lift.of(normal, online.each(rng, 400, ends, *model)).log[:, -1].std()
    assert spread == pytest.approx(np.sqrt(2 * power.variance(*model) / 2000), rel=0.15)


def test_power_by_simulation_and_by_formula():
    found = online.cell(0, "very different", 0.005, 10, TINY | {"experiments": 400})
    for claim in found["claims"]:
        # A sequence is looked at earlier, too.
        assert claim["by_formula"] - 0.08 < claim["anytime"] < claim["by_formula"] + 0.15
        assert claim["anytime"] <= claim["fixed"] + 0.05


def test_the_page_is_whole(tmp_path, monkeypatch):
    monkeypatch.setattr(online, "CTRS", (0.01, 0.05))
    monkeypatch.setattr(online, "IMPRESSIONS", (3, 10))
    report = json.loads(json.dumps(online.simulated(TINY)))
    text = online.table(report)
    assert len(report["cells"]) == 12 and "CompresSAE over Matryoshka-64, +1.52%" in text
    assert [one["users_a_variant"][1] for one in report["false_alarms"]] == 3 * [8_500_000] + 3 * [2000]
    for one in report["false_alarms"]:
        assert one["share"]["fixed, every look"] >= one["share"]["anytime, every look"]
    assert report["drawn"]["error"] == pytest.approx(report["drawn"]["error_by_formula"], rel=0.2)
    online.draw(report, tmp_path / "online.png")
    assert (tmp_path / "online.png").stat().st_size > 10_000
