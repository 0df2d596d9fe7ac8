import functools

import jax
import pytest
from numpy.testing import assert_array_equal
from retrieval import oracle

from compressae_jax.codes.storage.fast import Fast
from compressae_jax.retrieval.backends import scan

MANY = functools.partial(pytest.param, marks=pytest.mark.devices(8))


# Fewer rows than devices; an even split; padding at the end.
@pytest.mark.parametrize(("n", "devices"), [MANY(3, 8), MANY(64, 2), MANY(65, 8), (65, 1)])
def test_split_over_devices_equals_one(n, devices):
    codes, space, u = oracle.integer_problem(n, 4)
    codes, u = oracle.replaced(codes, values=abs(codes.values)), -abs(u) - 1  # scores below the padding's 0
    placed = scan.Placed(codes, jax.devices()[:devices])
    assert len(placed.held.arrays[0].sharding.device_set) == devices
    for top in {min(n, 20), n}:
        for found, wanted in zip(
            scan.search(placed, space, u, top, chunk=7), oracle.search(codes, space, u, top), strict=True
        ):
            assert_array_equal(found, wanted)


@pytest.mark.devices(8)
def test_one_copy_on_the_devices_serves_all_spaces():
    packed, _, u = oracle.packed_problem(33, 4)
    placed = scan.Placed(packed, jax.devices()[:4])
    for space in ("sparse", "reconstructed", "dense_query"):
        for found, wanted in zip(scan.search(placed, space, u, 33), scan.search(packed, space, u, 33), strict=True):
            assert_array_equal(found, wanted)
    scales = [placed.scales(space) for space in ("sparse", "reconstructed")]
    assert all(one.nbytes == 4 * 36 for one in scales) and placed.held.nbytes == 36 * 5 * (4 + 2)


@pytest.mark.devices(8)
def test_records_lie_on_devices_as_they_are():
    rows, space, u = oracle.packed_problem(33, 4, h=300, storage="fast4")
    placed = scan.Placed(rows, jax.devices()[:4])
    assert placed.held.nbytes == 36 * rows.packing.width
    for one in (space, "sparse"):
        for found, wanted in zip(scan.search(placed, one, u, 33), scan.search(rows, one, u, 33), strict=True):
            assert_array_equal(found, wanted)


@pytest.mark.devices(8)
def test_checked_ranks_lie_on_devices_in_the_fast_form():
    rows, space, u = oracle.packed_problem(33, 4, h=300, storage="packed4")
    fast, unchecked = Fast(rows.h, rows.k, 4, rows.levels), oracle.replaced(rows, verified=False)
    for given, nbytes in [(rows.check(), 36 * fast.width), (unchecked, 36 * rows.k * (4 + 2))]:
        placed = scan.Placed(given, jax.devices()[:4])
        assert placed.held.nbytes == nbytes
        for one in (space, "sparse"):
            for found, wanted in zip(scan.search(placed, one, u, 33), scan.search(rows, one, u, 33), strict=True):
                assert_array_equal(found, wanted)


def test_one_compilation_serves_corpora_of_three_sizes():
    scan._absorb_chunks.clear_cache()
    for n in (17, 31, 129):
        scan.search(*oracle.integer_problem(n, 3), 5, chunk=8)
    assert scan._absorb_chunks._cache_size() == 1
