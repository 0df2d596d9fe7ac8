"""Sums of users' totals, period by period, beside loops over users."""

import numpy as np
from numpy.testing import assert_allclose

from compressae_jax.evaluation.online import sums


def test_users_who_come_again_count_once_with_their_totals():
    rng = np.random.default_rng(0)
    n, groups, users, periods = 400, 3, 60, 7
    group, user, period = rng.integers(groups, size=n), rng.integers(users, size=n), rng.integers(periods, size=n)
    m = rng.integers(0, 9, n)
    c = rng.binomial(m, 0.3)

    found = sums.over_time(group, groups, user, period, periods, m, c)
    for g in range(groups):
        for t in range(periods):
            there = (group == g) & (period <= t)
            totals = [[of[there & (user == one)].sum() for one in np.unique(user[there])] for of in (m, c)]
            wanted = sums.of_users(*(np.array(some, np.int64) for some in totals))
            assert_allclose([field[g, t] for field in found], [field.item() for field in wanted], atol=1e-9)
    assert found.of(1, slice(2, 4)).mc.shape == (2,)


def test_large_logs_lose_no_click():
    """Totals are differences of sums over all rows: whole numbers below 2^53, so exact."""
    m = np.full(1000, 2**31)
    found = sums.over_time(*(np.zeros(1000, np.int64), 1), np.arange(1000), np.zeros(1000, np.int64), 1, m, m)
    assert found.m.item() == 1000 * 2**31 and found.mc.item() == 1000.0 * 2.0**62
