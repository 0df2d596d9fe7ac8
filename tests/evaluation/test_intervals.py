import numpy as np
import pytest
from numpy.testing import assert_allclose

from compressae_jax.base import bootstrap
from compressae_jax.evaluation import intervals
from compressae_jax.notation import InputError


def test_a_constant_has_no_spread():
    assert intervals.interval(np.full(7, 0.25)) == (0.25, 0.25, 0.25)


def test_one_value():
    assert intervals.interval(np.array([0.5])) == (0.5, 0.5, 0.5)


def test_approaches_the_normal_interval_of_many_values():
    values = np.random.default_rng(0).normal(3, 2, 4000)
    mean, low, high = intervals.interval(values)
    half = 1.96 * values.std() / 4000**0.5
    assert_allclose([mean, low, high], [values.mean(), values.mean() - half, values.mean() + half], atol=half / 10)


@pytest.mark.parametrize("q", [1, 2, 1000])
@pytest.mark.parametrize("piece", [1, 700, 2**22])
def test_pieces_draw_what_one_draw_draws(q, piece, monkeypatch):
    values = np.random.default_rng(1).random(q)
    whole = intervals.interval(values, 101, seed=5)
    monkeypatch.setattr(bootstrap, "PIECE", piece)
    assert intervals.interval(values, 101, seed=5) == whole


def test_the_seed_decides():
    values = np.random.default_rng(1).random(50)
    assert intervals.interval(values, 100, 1) == intervals.interval(values, 100, 1)
    assert intervals.interval(values, 100, 1) != intervals.interval(values, 100, 2)


def test_pairs_see_what_two_intervals_hide():
    hard = np.random.default_rng(2).random(200)  # queries differ far more than the methods do
    better = hard + 0.01
    _, low, high = intervals.difference(better, hard)
    assert 0.009 < low <= high < 0.011
    assert intervals.interval(better).low < intervals.interval(hard).high


def test_no_values():
    with pytest.raises(InputError, match="at least one value, not 0"):
        intervals.interval(np.zeros(0))


def test_a_ratio_is_paired():
    base = np.random.default_rng(0).random(500)
    assert_allclose(intervals.ratio(0.5 * base, base), 0.5)
    mean, low, high = intervals.ratio(np.random.default_rng(1).random(500), base)
    assert low < mean < high and high - low > 0.05


def test_the_mean_of_ratios_is_of_means():
    rng = np.random.default_rng(0)
    pairs = [(rng.random(300), 1 + rng.random(300)), (rng.random(40), rng.random(40))]
    found = intervals.mean_ratio(pairs)
    assert_allclose(found.mean, np.mean([a.mean() / b.mean() for a, b in pairs]))
    one, other = (intervals.ratio(*pair) for pair in pairs)
    half = np.hypot(one.high - one.low, other.high - other.low) / 4  # queries of unlike sets are independent
    assert_allclose((found.high - found.low) / 2, half, rtol=0.15)


@pytest.mark.parametrize("pair", [(np.ones(3), np.zeros(3)), (np.ones(0), np.ones(0))], ids=["0", "none"])
def test_what_has_no_ratio(pair):
    with pytest.raises(InputError, match="a ratio needs as many values"):
        intervals.ratio(*pair)
