import itertools
import math
import tracemalloc
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from compressae_jax import data
from compressae_jax.data import sampling
from compressae_jax.notation import InputError

AWKWARD = [1, 2, 3, 5, 10, *(2**k + i for k in (2, 7, 12) for i in (-1, 0, 1))]
ORDER = [[0, 3, 6, 9], [2, 5, 7, 8], [1, 3, 4, 5], [0, 4, 6, 7], [1, 2, 8, 9]]
FAR = [229699427522, 604808118218, 50621257920]


@pytest.mark.parametrize("n", AWKWARD)
def test_an_order_is_all_rows_once(n):
    for seed in (0, 1, 2**64 - 1):
        assert_array_equal(np.sort(sampling.drawn_rows(n, seed, n)), np.arange(n))


@given(n=st.integers(1, 2**40), seed=st.integers(0, 2**64 - 1), epoch=st.integers(0, 2**40), drawn=st.data())
def test_places_are_independent_of_what_is_asked_with_them(n, seed, epoch, drawn):
    places = np.unique(drawn.draw(st.lists(st.integers(0, n - 1), min_size=1, max_size=50)))
    keys = sampling.key(seed, 2, epoch)
    rows = sampling.shuffled(places, n, keys)
    assert rows.min() >= 0 and rows.max() < n and len(np.unique(rows)) == len(rows)
    assert_array_equal(sampling.shuffled(places[::-1], n, np.resize(keys, len(rows))), rows[::-1])
    assert_array_equal(sampling.shuffled(places[:1], n, keys), rows[:1])


@pytest.mark.parametrize("n", [3, 4, 5])
def test_all_orders_are_equally_frequent(n):
    orders = list(itertools.permutations(range(n)))
    keys = sampling.key(0, 2, np.repeat(np.arange(40 * len(orders)), n))
    drawn = sampling.shuffled(np.resize(np.arange(n), len(keys)), n, keys)
    found = Counter(map(tuple, drawn.reshape(-1, n).tolist()))
    chi = sum((found[order] - 40) ** 2 / 40 for order in orders)
    assert abs(chi - (len(orders) - 1)) < 4 * math.sqrt(2 * (len(orders) - 1))


def test_places_and_rows_have_nothing_in_common():
    """Chi-square of 20 × 20 fields of (place, row), and of the distance of two neighbours."""
    n = 10**5
    rows = sampling.drawn_rows(n, 3, n)
    fields = np.bincount(np.arange(n) * 20 // n * 20 + rows * 20 // n, minlength=400)
    steps = np.bincount((np.diff(rows) % n) * 50 // n, minlength=50)
    for counts in (fields, steps):
        expected = counts.sum() / len(counts)
        chi, freedom = ((counts - expected) ** 2 / expected).sum(), len(counts) - 1
        assert abs(chi - freedom) < 4 * math.sqrt(2 * freedom)


def test_memory_does_not_grow_with_n():
    peaks = []
    for n in (10**5, 10**8, 10**9, 2**40):
        tracemalloc.start()
        split = data.Split(n, 1000, 1000)
        split.train[sampling.rows_of_step(0, 10**6, 2048, len(split.train))]
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert max(peaks) < 1.5 * peaks[0] and max(peaks) < 2**20


@given(n=st.integers(1, 3000), queries=st.integers(0, 400), validation=st.integers(0, 400), seed=st.integers(0, 9))
def test_a_split_is_all_rows_once(n, queries, validation, seed):
    for split in (data.Split(n, queries, validation, seed), data.split_of_0_1(n, queries, validation, seed)):
        parts = (split.queries, split.validation, split.train)
        assert_array_equal(np.sort(np.concatenate(parts)), np.arange(n))
        assert all((np.diff(rows) > 0).all() and np.asarray(rows).dtype == np.int64 for rows in parts)
        assert (len(split.queries), len(split.validation)) == (min(queries, n // 10), min(validation, n // 10))


def test_a_split_of_an_older_version_is_as_it_was():
    order = np.random.default_rng(3).permutation(99)
    split = data.split_of_0_1(99, 9, 5, 3)
    for rows, wanted in ((split.queries, order[:9]), (split.validation, order[9:14]), (split.train, order[14:])):
        assert_array_equal(rows, np.sort(wanted))


def test_queries_depend_on_the_seed_alone():
    assert_array_equal(data.Split(99, 9, 0, 3).queries, data.Split(99, 9, 9, 3).queries)
    assert not np.array_equal(data.Split(99, 9, 5, 3).queries, data.Split(99, 9, 5, 4).queries)


@given(n=st.integers(1, 50), drawn=st.data())
def test_the_rest_is_an_array(n, drawn):
    left_out = drawn.draw(st.lists(st.integers(0, n - 1)))
    more = drawn.draw(st.lists(st.integers(0, n - 1)))
    rest = data.Rest(n, np.array(left_out, np.int64))
    array = np.setdiff1d(np.arange(n), left_out)
    assert len(rest) == len(array)
    assert_array_equal(rest, array)
    assert_array_equal(rest.without(np.array(more, np.int64)), np.setdiff1d(array, more))
    assert_array_equal(rest[1:-1:2], array[1:-1:2])
    for place in range(len(array)):
        assert rest[place] == array[place] and type(rest[place]) is int
    for outside in (-1, len(array)):
        with pytest.raises(IndexError):
            rest[outside]


def test_rows_that_are_not_there_cannot_be_left_out():
    with pytest.raises(InputError, match=r"0\.\.9, not 3\.\.10"):
        data.Rest(10, np.array([10, 3]))


@given(n=st.integers(1, 40), batch=st.integers(1, 100), seed=st.integers(0, 2**40))
def test_every_row_is_drawn_once_an_epoch(n, batch, seed):
    """Any number of steps draws each row as often as whole epochs passed, or once more."""
    drawn = np.zeros(n, int)
    for step in range(9):
        rows = sampling.rows_of_step(seed, step, batch, n)
        assert len(rows) == batch and (np.diff(rows) >= 0).all()
        drawn += np.bincount(rows, minlength=n)
        epochs = (step + 1) * batch // n
        assert drawn.min() >= epochs and drawn.max() <= -(-(step + 1) * batch // n)


def test_orders_differ_between_epochs_and_seeds():
    first = [sampling.rows_of_step(seed, step, 50, 100) for seed in (0, 1) for step in (0, 2, 4)]
    assert len({tuple(rows) for rows in first}) == len(first)


def test_the_order_is_this_one():
    """A run that is continued by another version must go on in the same order."""
    assert [sampling.rows_of_step(7, step, 4, 10).tolist() for step in range(5)] == ORDER
    assert sampling.drawn_rows(10**12, 7, 3).tolist() == FAR


def test_what_is_refused():
    for arguments in ((0, -1, 4, 10), (0, 0, 0, 10), (0, 0, 4, 0), (-1, 0, 4, 10)):
        with pytest.raises(InputError):
            sampling.rows_of_step(*arguments)
    for arguments in ((0, 1, 1), (10, -1, 1), (10, 1, -1)):
        with pytest.raises(InputError):
            data.Split(*arguments)


def test_unseen_rows_come_after_the_others_and_are_trained_on_by_nobody():
    split, without = data.split_rows(1000, 50, 60, unseen=300), data.split_rows(1000, 50, 60)
    assert_array_equal(split.queries, without.queries)
    assert_array_equal(split.validation, without.validation)
    assert len(without.unseen) == 0 and len(split.unseen) == 300 and (np.diff(split.unseen) > 0).all()
    of_all = np.concatenate([split.queries, split.validation, split.unseen, np.asarray(split.train)])
    assert_array_equal(np.sort(of_all), np.arange(1000))
    assert len(data.split_rows(1000, 50, 60, unseen=900).unseen) == 500


@pytest.mark.parametrize("n", [1, 2, 5, 1000, 2**20, 2**33 + 1])
def test_the_compiled_loop_draws_the_same_rows(n, monkeypatch):
    places = np.arange(min(n, 300), dtype=np.int64)
    for epochs in (np.zeros(1, np.int64), places // 7):
        keys = sampling.key(3, sampling.STEPS, epochs)
        monkeypatch.setattr(sampling, "MANY", len(places) + 1)
        wanted = sampling.shuffled(places, n, keys)
        monkeypatch.setattr(sampling, "MANY", 1)
        found = sampling.shuffled(places, n, keys)
        assert_array_equal(found, wanted, strict=True)
