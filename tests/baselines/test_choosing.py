import functools

import numpy as np

from compressae_jax.baselines import choosing, dense, truncation
from compressae_jax.baselines.units import unit_rows

VECTORS = np.random.default_rng(0).normal(size=(1100, 8)).astype(np.float32)


def of_bytes(budget):
    return functools.partial(truncation.fit, budget=budget)


def test_the_form_that_finds_more_is_taken_wherever_it_stands():
    worse, better = of_bytes(4), of_bytes(16)
    assert choosing.best(VECTORS, [worse, better]) is better
    assert choosing.best(VECTORS, [better, worse]) is better


def test_the_first_of_equals_and_of_too_few_rows():
    first, again = of_bytes(8), of_bytes(8)
    assert choosing.best(VECTORS, [first, again]) is first
    assert choosing.best(VECTORS[: choosing.LEAST - 1], [of_bytes(4), of_bytes(16)]).keywords["budget"] == 4


def test_hits_are_counted_among_rows_that_do_not_ask():
    drawn = np.random.default_rng(5).permutation(1100)
    asked, rest = VECTORS[drawn[:137]], VECTORS[np.sort(drawn[137:])]
    units, others = unit_rows(asked), unit_rows(rest)
    truth = np.argsort(-units @ others.T, axis=1)[:, :100]
    first = np.argsort(-unit_rows(asked[:, :2]) @ unit_rows(rest[:, :2]).T, axis=1)[:, :100]
    wanted = sum(len(np.intersect1d(*pair)) for pair in zip(first, truth, strict=True))

    hits = choosing.trial(VECTORS, seed=5)

    assert abs(hits(of_bytes(8)) - wanted) <= 2  # equal scores
    assert hits(dense.fit) >= 137 * 100 - 2
