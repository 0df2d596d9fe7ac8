"""Differences of two settings: the mean of what both share, for new queries and new seeds."""

import numpy as np
import pytest

from compressae_jax.evaluation import intervals, significance
from compressae_jax.experiments import page, paired
from compressae_jax.experiments.cells import Result, Results


def results(table, seeds):
    return Results(
        Result({"seed": seed}, {"recall": row.astype(np.float32)}, {}, 0.0, {})
        for seed, row in zip(seeds, table, strict=True)
    )


@pytest.fixture
def tables():
    return np.random.default_rng(0).random((2, 3, 40)).astype(np.float32)


def test_seeds_are_paired(tables):
    one, other = tables
    found = paired.difference(results(one, (0, 1, 2)), results(other[::-1], (2, 1, 0)), "recall")
    assert found == significance.over_paired_seeds(one.astype(np.float64) - other)
    only_two = paired.difference(results(one, (0, 1, 2)), results(other[1:], (1, 2)), "recall")
    assert only_two.mean == pytest.approx((one[1:].astype(np.float64) - other[1:]).mean())


def test_of_one_seed_the_interval_is_over_queries(tables):
    one, other = tables[:, :1]
    found = paired.difference(results(one, (0,)), results(other, (0,)), "recall")
    assert (found.mean, found.low, found.high) == intervals.difference(one[0], other[0])


def test_nothing_is_compared_with_nothing(tables):
    one, other = (results(table, (0, 1, 2)) for table in tables)
    assert paired.difference(one, other, "nDCG") is None
    assert paired.difference(one, results(tables[1], (3, 4, 5)), "recall") is None
    assert page.effect(None) == ""


def test_what_is_sure_is_bold(tables):
    one = tables[0]
    sure = paired.difference(results(one + 1, (0, 1, 2)), results(one, (0, 1, 2)), "recall")
    assert page.effect(sure).startswith("**+1.000 (+1.000 to +1.000)**")
    unsure = paired.difference(results(one, (0, 1, 2)), results(tables[1], (0, 1, 2)), "recall")
    assert not page.effect(unsure).startswith("**")
