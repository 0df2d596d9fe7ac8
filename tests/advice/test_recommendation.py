"""What measurements advise: each answer from measurements made so that it is the right one."""

import numpy as np
import pytest

from compressae_jax.advice import recommendation
from compressae_jax.advice.measured import Measured

Q = 400
METRIC = "recall@100"
NOISE = np.random.default_rng(0).normal(size=(2, Q))


def one(name, size, mean, kind="baseline", noise=0, spread=0.05, **more):
    """A method whose recall has this mean over the same hard and easy queries as the others', and noise of its own."""
    of = NOISE[0] + 0.4 * np.random.default_rng(noise).normal(size=Q)
    scores = {METRIC: mean + spread * (of - of.mean()), **{metric: np.full(Q, value) for metric, value in more.items()}}
    return Measured(name, name.upper(), kind, int(size), float(size), scores, {"k": 9, "h": 99}, 1.0, 9.0, None)


def advised(measured, n=10**8, d=384, budgets=(64,), asked=True):
    return recommendation.of(measured, n, d, budgets, METRIC, asked)


DENSE = one("dense", 1536, 1.0, "dense", spread=0)
INT8 = one("int8", 388, 0.996, spread=0.004)


def test_ours_where_they_are_surely_ahead():
    told = advised([DENSE, INT8, one("pursuit", 63, 0.89, "code"), one("pq", 64, 0.83, noise=1)])
    assert (told.answer, told.choice.name, told.budget) == ("ours", "pursuit", 64)
    assert "surely ahead" in told.reason and "+0.060" in told.reason and not told.notes


def test_a_peer_where_it_is_ahead_or_level():
    ours = one("pursuit", 63, 0.89, "code")
    ahead = advised([DENSE, ours, one("pq", 64, 0.93, noise=1)])
    assert (ahead.answer, ahead.choice.name) == ("peer", "pq") and "PQ is surely ahead" in ahead.reason
    level = advised([DENSE, ours, one("pq", 64, 0.889, noise=1)])
    assert (level.answer, level.choice.name) == ("peer", "pq") and "do not tell them apart" in level.reason


def test_the_best_known_of_peers_that_are_level():
    some = [one("sq", 64, 0.931, noise=1), one("pq", 64, 0.930, noise=2), one("pca_int4", 64, 0.92, noise=3)]
    assert advised(some).choice.name == "pq"
    some[0] = one("sq", 64, 0.95, noise=1)
    assert advised(some).choice.name == "sq"


def test_int8_fits_a_budget_that_is_large_enough():
    told = advised([DENSE, INT8, one("pursuit", 380, 0.97, "code")], budgets=(400,))
    assert (told.answer, told.choice.name) == ("int8", "int8")


@pytest.mark.parametrize(
    ("n", "kept", "answer"),
    [
        (21_000, 0.996, "nothing"),  # 31 MiB
        (22_000, 0.996, "int8"),  # 8 MiB of int8
        (22_000, 0.98, "ours"),  # that keeps too little
        (86_000, 0.996, "int8"),
        (87_000, 0.996, "ours"),  # int8 takes 32 MiB
    ],
)
def test_sets_so_small_that_memory_does_not_matter(n, kept, answer):
    some = [DENSE, one("int8", 388, kept), one("pursuit", 63, 0.89, "code"), one("pq", 64, 0.83)]
    told = advised(some, n=n, asked=False)
    assert told.answer == answer
    assert (told.choice is None) == (answer == "nothing")
    asked = advised(some, n=n)
    assert asked.answer == "ours" and any("compress nothing" in note for note in asked.notes) == (n == 21_000)


def test_the_knee_is_where_twice_the_bytes_gain_little():
    means = {16: (0.72, 0.65), 32: (0.82, 0.77), 64: (0.89, 0.90), 128: (0.93, 0.95)}
    some = [one("pursuit", size, ours, "code") for size, (ours, _) in means.items()]
    some += [one("pq", size, pq, noise=1) for size, (_, pq) in means.items()]
    told = advised([DENSE, *some], budgets=tuple(means), asked=False)
    assert (told.knee, told.answer, told.choice.name) == (64, "peer", "pq")
    assert [verdict.choice.name for verdict in told.verdicts] == ["pursuit", "pursuit", "pq", "pq"]
    steep = [one("pursuit", size, mean, "code") for size, mean in ((16, 0.3), (32, 0.5), (128, 0.65))]
    assert advised(steep, budgets=(16, 32, 128), asked=False).knee == 128  # .075 a doubling


def test_judgements_are_told_beside_recall():
    ours, pq = one("pursuit", 63, 0.89, "code", **{"nDCG@10": 0.3}), one("pq", 64, 0.83, **{"nDCG@10": 0.4})
    told = advised([ours, pq])
    assert told.answer == "ours" and "PQ is ahead there" in told.notes[0] and "-0.100" in told.notes[0]


def test_without_peers_or_codes_the_other_is_taken():
    assert advised([DENSE, one("pq", 64, 0.5)]).choice.name == "pq"
    assert advised([DENSE, one("pursuit", 64, 0.5, "code")]).choice.name == "pursuit"
    assert advised([DENSE]).answer == "nothing"
