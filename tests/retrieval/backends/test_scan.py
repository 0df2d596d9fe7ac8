import functools

import jax
import numpy as np
import pytest
from numpy.testing import assert_array_equal
from retrieval import oracle

from compressae_jax.base import cuda
from compressae_jax.codes.storage.fast import Fast
from compressae_jax.retrieval.backends import scan
from compressae_jax.retrieval.filters import Without

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


@pytest.fixture
def by_blocks(monkeypatch):
    """The way through the rows that is taken with kernels, and their twins."""
    monkeypatch.setattr(cuda, "usable", lambda: True)
    monkeypatch.setattr(cuda, "dispatched", lambda kernel, twin, *arrays: twin(*arrays))


# Without devices, rows are not placed; blocks have 16 rows.
@pytest.mark.parametrize(
    ("n", "chunk", "devices", "storage"),
    [(3, None, 3, ""), (150, None, 1, "fast4"), (150, 40, 0, ""), (150, 20, 3, "")],
)
def test_blocks_and_filters(by_blocks, n, chunk, devices, storage):
    problem = oracle.packed_problem(n, 4, h=300, storage=storage) if storage else oracle.integer_problem(n, 4)
    rows = scan.Placed(problem[0], jax.devices()[:devices]) if devices else problem[0]
    rng = np.random.default_rng(n)
    taken = [np.sort(rng.choice(n, 2, replace=False)) for _ in range(4)]
    given = {"without": Without(np.arange(0, 9, 2), np.concatenate(taken)), "allowed": rng.random(n) < 0.6}
    for top in {min(n, 4), n}:
        found = scan.search(rows, *problem[1:], top, chunk=chunk, **given)
        for one, wanted in zip(found, oracle.search(*problem, top, **given), strict=True):
            assert_array_equal(one, wanted)


def test_chunks_are_cut_so_that_few_numbers_are_selected_from(by_blocks):
    for q in (1, 4, 64, 1024):
        for top in (1, 10, 100, 1000, 2048):
            for n in (1, 1000, 10**6, 10**7, 10**8):
                cut = scan.cut_of(q, top, 32, n, None)
                assert cut.chunk % cut.block == 0 and 4 * q * cut.chunk <= scan.WORKING_BYTES + 4 * q * cut.block
                assert max(cut.chunk // cut.block, top * (cut.block + 1)) <= scan.SELECTED[0]
    assert scan.cut_of(1, 100, 32, 10**7, None) == (10_000_128, 256)  # one chunk
    assert scan.cut_of(1, 2049, 32, 10**7, None).block == 0
