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


def test_twice_the_cost_of_a_cluster_is_few_for_twice_the_rows():
    results = scale.read()
    dearer = copy.deepcopy(results)
    compress = dearer["cluster"]["compress"]
    one = compress["one process"]["median"]
    for way in compress.values():
        way["median"] = one + 2 * (way["median"] - one)

    def few(some):
        return [float(row.split(" | ")[2].split()[0]) for row in scale.spreading(some)[2:]]

    assert few(dearer) == pytest.approx([2 * rows for rows in few(results)], abs=0.11)


def test_a_tenth_of_a_second_is_enough_for_as_many_rows_as_the_scan_says():
    results = scale.read()
    (line,) = (row for row in scale.one_machine(results) if "answer a query" in row)
    million = scale.per_second(results, "float16", 1) * scale.PATIENCE
    assert line.split(" | ")[1] == f"{million:,.1f} million"
