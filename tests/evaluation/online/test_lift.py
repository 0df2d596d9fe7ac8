"""Lifts beside statsmodels, their coverage, and what looking early does to either kind of interval."""

import numpy as np
import pytest
import scipy.stats
from evaluation.online import users
from numpy.testing import assert_allclose
from savvi.linear_regression import LinearRegression, log_bf
from savvi.multinomial import Multinomial

from compressae_jax.evaluation.online import lift, sequences, srm, sums
from compressae_jax.notation import InputError


def drawn(rng, experiments, n, looks, **fields):
    """Sums of users of one variant up to each look, (experiments, looks)."""
    at = np.asarray(looks) - 1
    m, c = (some.astype(float) for some in users.draw(rng, (experiments, n), **fields))
    return sums.Sums(*(np.cumsum(term, axis=1)[:, at] for term in (np.ones_like(m), m, c, m * m, m * c, c * c)))


def test_the_error_is_that_of_a_weighted_regression_with_robust_errors():
    """Clicks over impressions, weighted by impressions; a row a user, so White's errors are those of clusters."""
    from statsmodels.regression.linear_model import WLS

    rng = np.random.default_rng(0)
    arms = [users.draw(rng, n, lift=0.1 * i) for i, n in enumerate((3000, 2000))]
    base, variant = (sums.of_users(*arm) for arm in arms)
    found = lift.of(variant, base)

    errors = []
    for arm, (m, c) in zip((base, variant), arms, strict=True):
        fitted = WLS(c / m, np.ones_like(m), weights=m).fit(cov_type="HC0")
        assert_allclose(lift.rate(arm), fitted.params[0])
        errors.append(fitted.bse[0] / fitted.params[0])
    assert_allclose(found.error, np.hypot(*errors))
    assert_allclose(found.relative, lift.rate(variant) / lift.rate(base) - 1)
    assert found.users == 5000


def test_users_not_impressions_are_the_sample():
    """An interval over impressions would be a fraction as wide where users differ much in taste and impressions."""
    rng = np.random.default_rng(0)
    m, c = users.draw(rng, 20_000, spread=2, taste=2)
    clustered = np.sqrt(lift.variance(sums.of_users(m, c)) / 20_000)
    r = c.sum() / m.sum()
    assert clustered > 2.5 * np.sqrt((1 - r) / r / m.sum())


def test_one_look_covers_and_looking_early_breaks_it_but_not_the_sequence():
    rng = np.random.default_rng(1)
    n, looks = 3000, np.arange(150, 3001, 75)
    arms = [drawn(rng, 400, n, looks, taste=0.5, lift=shift) for shift in (0.0, 0.05)]
    found = lift.of(arms[1], arms[0])
    away = np.abs(found.log - np.log(1.05)) / found.error
    one_look = away[:, -1] > lift.fixed(0.95)
    peeking = (away > lift.fixed(0.95)).any(axis=1)
    sequence = (away > sequences.half_width(found.users, 0.95, 2 * n)).any(axis=1)
    assert 0.02 < one_look.mean() < 0.085
    assert peeking.mean() > 0.2
    assert sequence.mean() < 0.05
    p = sequences.p_value((found.log - np.log(1.05)) / found.error, found.users, 0.95, 2 * n)
    assert_allclose((p <= 0.05).any(axis=1), sequence)


def test_users_who_come_again_keep_the_sequence_valid():
    """Their days are alike, so the estimate moves less than that of new users: the sequence is only safer."""
    rng = np.random.default_rng(2)
    n, days, wrong, runs = 400, 30, 0, 200
    user, day = np.repeat(np.arange(n), days), np.tile(np.arange(days), n)
    for _ in range(runs):
        arms = []
        for _ in "ab":
            p = rng.beta(1, 9, n)[user]
            m = rng.poisson(2, n * days)
            where = np.zeros_like(user), 1, user, day, days
            arms.append(sums.over_time(*where, m, rng.binomial(m, p)))
        found = lift.of(*arms)
        wrong += (np.abs(found.z) > sequences.half_width(found.users, 0.9, 800)).any()
    assert wrong / runs < 0.1


def test_the_sequence_is_savvis_for_many_users():
    level, horizon, n = 0.95, 700.0, 4000
    phi = sequences.prior_users(level, horizon)
    x = np.random.default_rng(0).normal(0.1, 2, n)
    theirs = LinearRegression(1 - level, 1, phi)
    for i, one in enumerate(x, 1):
        theirs.update(np.array([one, 1.0]))
        if i in (1000, n):
            error = theirs.standard_errors()[0]
            low, high = theirs.calculate_conf_int()[0]
            ours = sequences.half_width(np.array([float(i)]), level, horizon)
            assert_allclose((high - low) / 2 / error, ours, rtol=10 / i)
    for z in (1.0, 4.0, 6.0):
        limit = np.exp(-log_bf(z**2, 1e9, phi, n))  # of as many degrees of freedom as make a t a normal
        ours = sequences.p_value(np.array([z]), np.array([float(n)]), level, horizon)
        assert_allclose(ours, min(1, limit), rtol=1e-5)


@pytest.mark.parametrize("level", [0.9, 0.99])
def test_a_sequence_is_narrowest_at_its_horizon(level):
    """In standard errors of a mean at the horizon, among all horizons; and p is below alpha just outside."""
    n = np.array([5000.0])
    widths = [sequences.half_width(n, level, 5000.0 * ratio) for ratio in (0.1, 0.8, 1, 1.25, 10)]
    assert np.argmin(widths) == 2 and widths[0] < 1.1 * widths[2]
    for z, wanted in ((widths[2] * 1.001, True), (widths[2] * 0.999, False)):
        assert (sequences.p_value(z, n, level, 5000.0) < 1 - level) == wanted


def test_no_user_no_knowledge():
    none = sums.Sums(*np.zeros((6, 2)))
    found = lift.of(none, none)
    assert np.isnan(found.log).all() and np.isnan(lift.rate(none)).all()
    assert np.isinf(sequences.half_width(found.users, 0.9)).all()


def test_a_split_is_tested_as_scipy_and_savvi_do():
    shares = np.array([0.25, 0.75])
    steps = np.random.default_rng(0).multinomial(300, [0.29, 0.71], 6)  # a little off
    counts = np.cumsum(steps, axis=0).T.astype(float)
    found = srm.of(counts, shares)
    assert_allclose(found.p, scipy.stats.chisquare(counts[:, -1], counts[:, -1].sum() * shares).pvalue)
    theirs, ps = Multinomial(0.05, shares, srm.CONCENTRATION), []
    for step in np.diff(counts, axis=1, prepend=0).T:
        theirs.update(step.astype(int))
        ps.append(theirs.calculate_p_value())
    assert_allclose(srm.sequential(counts, shares), np.minimum(1, ps))
    assert min(ps) < 0.5
    assert_allclose(found.p_anytime, min(ps))
    assert not srm.of(counts, np.array([0.29, 0.71])).found
    wrong = srm.of(counts, np.array([0.2, 0.8]))
    assert wrong.found and wrong.p < srm.STRICT


@pytest.mark.parametrize("shares", [[0.5], [0.5, 0.6], [0.0, 1.0]])
def test_shares_that_are_none(shares):
    with pytest.raises(InputError, match=r"shares must be one a variant \(2\)"):
        srm.of(np.ones((2, 1)), np.array(shares))
