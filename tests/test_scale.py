"""The table of docs/SCALE.md is the one that committed results make, and its arithmetic holds."""

import copy

import pytest

from benchmarks import scale


def test_the_table_is_that_of_the_results():
    text = scale.SCALE.read_text(encoding="utf-8")

    assert scale.with_table(text) == text


def test_twice_as_slow_a_scan_answers_half_as_many():
    results = scale.read()
    slower = copy.deepcopy(results)
    for times in slower["growth"]["scale"]["times"].values():
        for one in times.values():
            one["median_ms"] *= 2

    for storage in scale.STORAGES:
        assert scale.per_second(slower, storage, 16) == pytest.approx(scale.per_second(results, storage, 16) / 2)
