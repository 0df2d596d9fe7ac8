"""A whole log made a report: what is in it, that it is right, and how it reads."""

import json

import numpy as np
import pytest
from evaluation.online import users
from numpy.testing import assert_allclose

from compressae_jax.evaluation import figures, significance
from compressae_jax.evaluation.online import analysis, lift, log, pages, sequences, sums
from compressae_jax.notation import InputError


def given(n=4000, lift=0.3, **more):
    columns = users.columns(n, lift, seed=3)
    rng = np.random.default_rng(4)
    columns["segment"] = rng.choice(["new", "old", "rare"], n, p=[0.5, 0.496, 0.004])
    columns["day"] = rng.integers(1, 13, n)
    return log.read({**columns, **more})


@pytest.fixture(scope="module")
def report():
    return analysis.analyse(given(), level=0.95, horizon=4000)


def test_the_last_look_is_of_all_users(report):
    read = given()
    arms = [sums.of_users(*(of[read.variant.of == i] for of in (read.impressions, read.clicks))) for i in (0, 1)]
    found = lift.of(*arms)  # codes stand before control
    (one,) = report["lifts"]
    assert report["base"] == "control" and one["variant"] == "codes"
    assert_allclose(one["lift"], found.relative)
    assert_allclose(one["fixed"], np.ravel(found.within(np.array([lift.fixed(0.95)]))))
    assert_allclose(one["anytime"], np.ravel(found.within(sequences.half_width(found.users, 0.95, 4000))))
    assert one["curve"][-1] == {
        "look": "12",
        "users": 4000,
        **{name: one[name] for name in ("lift", "fixed", "anytime")},
    }
    assert_allclose([v["ctr"] for v in report["variants"]], [lift.rate(arm)[0] for arm in arms])
    json.dumps(report)


def test_the_curve_is_of_the_days_so_far(report):
    (one,) = report["lifts"]
    assert [int(at["look"]) for at in one["curve"]] == list(range(13 - len(one["curve"]), 13))
    assert 1 < int(one["first_seen"]) < 12
    seen = [at["look"] for at in one["curve"] if at["anytime"][0] > 0]
    assert one["first_seen"] == seen[0]
    read = given()
    until = read.period.of <= read.period.names.index("6")
    some = [
        sums.of_users(*(of[until & (read.variant.of == i)] for of in (read.impressions, read.clicks))) for i in (0, 1)
    ]
    at = next(at for at in one["curve"] if at["look"] == "6")
    assert_allclose(at["lift"], lift.of(*some).relative)


def test_what_was_seen_once_is_seen():
    """An effect that turns: the p-value that holds at all looks is the least of them, the lift that of the end."""
    early, late = users.columns(4000, 0.5, 1), users.columns(4000, -0.5, 2)
    columns = {name: [*early[name], *late[name]] for name in early} | {"user": np.arange(8000)}
    (one,) = analysis.analyse(log.read({**columns, "day": np.repeat([1, 2], 4000)}), horizon=8000)["lifts"]
    (then,) = analysis.analyse(log.read({**early, "day": np.ones(4000)}), horizon=8000)["lifts"]
    assert one["first_seen"] == "1" and one["anytime"][0] < 0 < one["anytime"][1]
    assert_allclose(one["p_anytime"], then["p_anytime"])
    assert one["p_anytime"] < 0.01 < one["p_fixed"]


def test_segments_are_a_family(report):
    rows = {row["segment"]: row for row in report["segments"]}
    assert list(rows) == ["new", "old", "rare"] and rows["rare"]["lift"] is None, "too few users"
    p = np.array([rows[name]["p_fixed"] for name in ("new", "old")])
    assert_allclose([rows[name]["p_fixed_holm"] for name in ("new", "old")], significance.holm(p))
    read = given()
    of = read.segment.of == 0
    arms = [sums.of_users(*(x[of & (read.variant.of == i)] for x in (read.impressions, read.clicks))) for i in (0, 1)]
    assert_allclose(rows["new"]["lift"], lift.of(*arms).relative)


def test_segments_that_differ_are_told():
    alike, unlike = (users.columns(6000, shift, seed) for shift, seed in ((0.0, 1), (0.8, 2)))
    columns = {name: [*alike[name], *unlike[name]] for name in alike} | {"user": np.arange(12_000)}
    two = analysis.analyse(log.read({**columns, "segment": ["x"] * 6000 + ["y"] * 6000}))
    assert two["segments"][0]["p_segments_differ"] < 0.001
    mixed = np.random.default_rng(0).choice(["x", "y"], 12_000)
    same = analysis.analyse(log.read({**columns, "segment": mixed}))
    assert same["segments"][0]["p_segments_differ"] > 0.01


def test_three_variants_are_a_family_and_a_wrong_split_is_shouted():
    columns = users.columns(6000, 0.1)
    columns["variant"] = [name if i % 5 else "third" for i, name in enumerate(columns["variant"])]
    report = analysis.analyse(log.read(columns), base="third")
    assert [one["variant"] for one in report["lifts"]] == ["codes", "control"]
    assert report["split"]["mismatch"] and "WARNING: SAMPLE RATIO MISMATCH" in pages.on_screen(report)
    ps = np.array([one["p_fixed"] for one in report["lifts"]])
    assert_allclose([one["p_fixed_holm"] for one in report["lifts"]], significance.holm(ps))
    fine = analysis.analyse(log.read(columns), base="third", shares=[0.4, 0.4, 0.2])
    assert not fine["split"]["mismatch"] and "Users came as intended" in pages.on_screen(fine)


def test_without_days_users_are_looked_at_in_a_random_order():
    columns = users.columns(3000, 0.9)
    order = np.argsort(columns["clicks"])  # a log that is sorted by what is measured, users numbered so, too
    sorted_ = {**{name: np.asarray(values)[order] for name, values in columns.items()}, "user": np.arange(3000)}
    report = analysis.analyse(log.read(sorted_))
    (one,) = report["lifts"]
    assert report["looks"]["of"] == "users in a random order" and one["first_seen"] is None
    lifts = np.array([at["lift"] for at in one["curve"]])
    assert len(lifts) > 20 and np.abs(lifts - one["lift"]).max() < 0.7
    assert one["anytime"][0] > 0, "it is seen, but not at a moment"
    assert_allclose(one["p_anytime"], analysis.analyse(log.read(columns), seed=5)["lifts"][0]["p_anytime"])


def test_it_reads_well_and_is_drawn(report, tmp_path):
    page = pages.markdown(report)
    assert "| codes | +" in page and "![lifts](ab_test.png)" in page and "too few clicks" in page
    assert "95 % intervals clustered by user" in pages.on_screen(report)
    figures.lifts(report, tmp_path / "ab_test.png")
    assert (tmp_path / "ab_test.png").stat().st_size > 10_000


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"base": "contrl"}, "did you mean 'control'"),
        ({"level": 1.0}, "level must be from 0.5"),
        ({"horizon": 0}, "horizon must be a number of users"),
        ({"shares": [0.5, 0.6]}, "with the sum 1"),
    ],
)
def test_what_cannot_be_asked(fields, message):
    with pytest.raises(InputError, match=message):
        analysis.analyse(given(), **fields)


def test_a_base_must_be_told_and_clicks_be_there():
    columns = users.columns(50)
    with pytest.raises(InputError, match="no lift can be measured yet"):
        analysis.analyse(log.read({**columns, "clicks": np.zeros(50, int)}))
    columns["variant"] = ["x", "y"] * 25
    with pytest.raises(InputError, match="base must say which variant"):
        analysis.analyse(log.read(columns))
