"""Plans: the model's variance beside drawn users, users needed beside statsmodels."""

import numpy as np
import pytest
from evaluation.online import users
from numpy.testing import assert_allclose
from statsmodels.stats.power import NormalIndPower

from compressae_jax.evaluation.online import lift, power, sequences, sums
from compressae_jax.notation import InputError


@pytest.mark.parametrize(
    ("ctr", "spread", "taste"), [(0.05, 0.0, 0.0), (0.05, 1.0, 0.0), (0.05, 1.0, 1.0), (0.2, 0.0, 1.5)]
)
def test_the_variance_of_drawn_users(ctr, spread, taste):
    fields = {"ctr": ctr, "impressions": 10, "spread": spread, "taste": taste}
    drawn = sums.of_users(*users.draw(np.random.default_rng(0), 200_000, **fields))
    assert_allclose(lift.variance(drawn), power.variance(**fields), rtol=0.03)


def test_users_needed_are_those_of_statsmodels():
    for chance in (0.8, 0.9):
        needed = power.users(0.02, 3.0, 0.95, chance)
        theirs = NormalIndPower().solve_power(np.log(1.02) / 3**0.5, alpha=0.05, power=chance)
        assert_allclose(needed, theirs, rtol=1e-3)
        assert_allclose(power.power(0.02, needed, 3.0, 0.95), chance, rtol=1e-3)
        assert_allclose(power.detectable(needed, 3.0, 0.95, chance), 0.02)


def test_a_sequence_needs_more_users_and_shows_what_was_planned():
    """Of a normal walk: at the end with the power that was asked for, with the looks before it more often."""
    needed = power.users(-0.05, 4.0, 0.95, 0.8, "anytime")
    assert 1.5 < needed / power.users(-0.05, 4.0, 0.95, 0.8) < 2
    assert_allclose(power.power(-0.05, needed, 4.0, 0.95, "anytime"), 0.8, rtol=1e-3)
    looks = np.linspace(0.05, 1, 20) * needed
    rng = np.random.default_rng(0)
    steps = rng.normal(np.log(0.95), np.sqrt(8 / looks[0]), (4000, 20))
    means = steps.cumsum(axis=1) / np.arange(1, 21)
    seen = np.abs(means / np.sqrt(8 / looks)) > sequences.half_width(2 * looks, 0.95, 2 * needed)
    assert seen[:, -1].mean() == pytest.approx(0.8, abs=0.02)
    assert seen.any(axis=1).mean() > seen[:, -1].mean() + 0.02


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: power.variance(0, 5), "ctr must lie between"),
        (lambda: power.variance(0.1, 0.5), "impressions a user must be at least 1"),
        (lambda: power.variance(0.1, 5, -1), "spread must be at least 0"),
        (lambda: power.variance(0.1, 5, 0, 4), "taste must be from 0 to 3, which a rate of 0.1 leaves, not 4"),
        (lambda: power.variance(0.1, 5, 0, -1), "taste must be from 0 to 3, which a rate of 0.1 leaves, not -1"),
        (
            lambda: power.variance(0.1, 5, 1e200, 1),
            "must leave a finite variance, not inf: they are 0.1, 1e\\+200 and 1",
        ),
        (lambda: power.variance(1e-320, 5), "must leave a finite variance"),
        (lambda: power.users(1e-300, 1, 0.9), "lift must be so large that a number of users shows it, not 1e-300"),
        (lambda: power.users(0, 1, 0.9), "lift must not be 0"),
        (lambda: power.users(-1, 1, 0.9), "above -1"),
        (lambda: power.users(0.1, 1, 0.9, 1), "power must lie between"),
        (lambda: power.power(0.1, 5, 1, 0.9, "bayes"), "design must be one of 'fixed', 'anytime'"),
    ],
)
def test_plans_of_nothing(call, message):
    with pytest.raises(InputError, match=message):
        call()
