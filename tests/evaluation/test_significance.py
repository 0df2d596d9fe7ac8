"""Tests over queries, families and seeds: scipy and statsmodels are the oracles."""

import numpy as np
import pytest
import scipy.stats
from numpy.testing import assert_allclose
from statsmodels.stats.multitest import multipletests

from compressae_jax.evaluation import significance
from compressae_jax.notation import InputError


def mean_difference(one, other, axis):
    return one.mean(axis=axis) - other.mean(axis=axis)


def pairs(q, shift=0.1, seed=0):
    rng = np.random.default_rng(seed)
    base = rng.random(q)
    return base + rng.normal(shift, 0.3, q), base


@pytest.mark.parametrize("shift", [0.0, 0.2, -0.3])
def test_few_queries_are_exchanged_in_every_way(shift):
    one, other = pairs(9, shift)
    found = significance.permutation(one, other)
    oracle = scipy.stats.permutation_test(
        (one, other), mean_difference, permutation_type="samples", n_resamples=np.inf, vectorized=True
    )
    assert_allclose(found, oracle.pvalue)


def test_many_queries_are_drawn():
    one, other = pairs(300, 0.03)
    found = significance.permutation(one, other, 20_000)
    oracle = scipy.stats.permutation_test(
        (one, other), mean_difference, permutation_type="samples", n_resamples=5000, vectorized=True, rng=1
    )
    assert_allclose(found, oracle.pvalue, atol=4 * (0.05 / 5000) ** 0.5)
    assert significance.permutation(one, other, 500, 1) == significance.permutation(one, other, 500, 1)
    assert significance.permutation(one, other, 5000, 1) != significance.permutation(one, other, 5000, 2)


def test_columns_are_tested_by_themselves(monkeypatch):
    one, other = (np.stack(some, axis=1) for some in zip(pairs(40), pairs(40, 0, 1), strict=True))
    both = significance.permutation(one, other, 999, 3)
    assert both.shape == (2,)
    assert_allclose(both[1], significance.permutation(one[:, 1], other[:, 1], 999, 3))
    monkeypatch.setattr(significance, "PIECE", 700)  # a part of the draws at a time
    assert_allclose(significance.permutation(one, other, 999, 3), both)


def test_a_drawn_p_is_never_0_and_equal_methods_never_differ():
    one, other = pairs(100, 9)
    assert significance.permutation(one, other, 999) == 1 / 1000
    assert significance.bootstrapped(one, other, 999) == 1 / 1000
    for test in (significance.permutation, significance.bootstrapped):
        assert test(one, one) == 1


def test_sums_that_rounding_parts_are_equal():
    one = np.array([0.1, 0.2, 0.3, 0.6])  # 0.1 + 0.2 + 0.3 - 0.6 is not quite 0
    assert significance.permutation(one * [1, 1, 1, -1], np.zeros(4)) == 1
    tenths = np.random.default_rng(0).integers(0, 11, (2, 40)) / 10
    ps = [significance.permutation(*tenths.astype(kind)) for kind in (np.float32, np.float64)]
    assert ps[0] == ps[1]


def test_the_bootstrap_p_agrees_with_the_t_test_of_many_queries():
    one, other = pairs(2000, 0.012)
    wanted = scipy.stats.ttest_rel(one, other).pvalue
    assert 0.02 < wanted < 0.3
    assert_allclose(significance.bootstrapped(one, other), wanted, atol=0.02)
    assert_allclose(significance.permutation(one, other), wanted, atol=0.02)


@pytest.mark.parametrize("m", [1, 2, 30])
def test_holm_is_statsmodels(m):
    p = np.random.default_rng(m).random(m) ** 3
    p[0] = p[-1]  # a tie
    assert_allclose(significance.holm(p), multipletests(p, method="holm")[1])


def crossed(s=6, q=25, of_seed=0.3, of_query=0.5, rest=0.4, mean=0.2, seed=0):
    rng = np.random.default_rng(seed)
    draws = rng.normal(0, of_seed, (s, 1)), rng.normal(0, of_query, q), rng.normal(0, rest, (s, q))
    return mean + sum(draws)


def test_seeds_and_queries_are_crossed_factors_as_of_statsmodels():
    """Of balanced tables REML is the analysis of variance, where all its components are positive."""
    import pandas
    from statsmodels.regression.mixed_linear_model import MixedLM

    table = crossed()
    s, q = np.indices(table.shape)
    frame = pandas.DataFrame({"y": table.ravel(), "s": s.ravel(), "q": q.ravel(), "all": 0})
    parts = {"s": "0 + C(s)", "q": "0 + C(q)"}
    fitted = MixedLM.from_formula("y ~ 1", frame, groups="all", re_formula="0", vc_formula=parts).fit()

    found = significance.over_paired_seeds(table)
    assert_allclose(found.mean, fitted.params["Intercept"], rtol=1e-6)
    assert_allclose(found.seeds + found.queries + found.rest, fitted.bse["Intercept"] ** 2, rtol=1e-3)
    variances = dict(zip(fitted.model.exog_vc.names, fitted.vcomp, strict=True))
    assert_allclose([found.seeds * 6, found.queries * 25], [variances["s"], variances["q"]], rtol=2e-3)


def test_one_interval_covers_new_seeds_and_new_queries():
    covered, naive, runs = 0, 0, 400
    for run in range(runs):
        values = crossed(4, 40, 0.2, 0.3, 0.5, 0.1, run)
        base = crossed(3, 40, 0.2, 0, 0.5, 0, 10_000 + run)
        found = significance.over_seeds(values, base)
        covered += found.low <= 0.1 <= found.high
        apart = values.mean(axis=0) - base.mean(axis=0)  # as if the seeds were all there are
        naive += abs(apart.mean() - 0.1) <= 2.02 * apart.std(ddof=1) / 40**0.5
    assert covered / runs > 0.93 and naive / runs < 0.85


def test_beside_a_method_without_any_chance_seeds_are_those_of_the_differences():
    table = crossed()
    found, paired = significance.over_seeds(table, np.zeros((3, 25))), significance.over_paired_seeds(table)
    assert_allclose(found, paired)


def test_seeds_of_one_score_leave_the_test_over_queries():
    one, other = pairs(50, 0.1)
    found = significance.over_seeds(np.stack([one] * 3), np.stack([other] * 3))
    wanted = scipy.stats.ttest_rel(one, other)
    assert found.seeds == pytest.approx(0) and found.df == pytest.approx(49)
    assert_allclose(found.p, wanted.pvalue)
    assert_allclose([found.low, found.high], wanted.confidence_interval())


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: significance.permutation(np.zeros(2), np.zeros(3)), "two values a query"),
        (lambda: significance.permutation(np.zeros(0), np.zeros(0)), "at least one query"),
        (lambda: significance.bootstrapped(np.array([np.nan]), np.zeros(1)), "finite"),
        (lambda: significance.permutation(np.zeros(2), np.zeros(2), 0), "resamples must be"),
        (lambda: significance.holm(np.array([0.1, 1.2])), "from 0 to 1, not 1.2"),
        (lambda: significance.over_seeds(np.zeros((1, 5)), np.zeros((2, 5))), "values must have at least two seeds"),
        (lambda: significance.over_seeds(np.zeros((2, 5)), np.zeros((2, 4))), "same queries, not 5 and 4"),
        (lambda: significance.over_paired_seeds(np.full((2, 5), np.inf)), "must be finite"),
    ],
)
def test_what_cannot_be_tested(call, message):
    with pytest.raises(InputError, match=message):
        call()
