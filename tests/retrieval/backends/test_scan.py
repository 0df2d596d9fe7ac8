import jax
import numpy as np
import pytest
from numpy.testing import assert_array_equal
from retrieval import oracle

from compressae_jax.codes.codes import Codes
from compressae_jax.notation import InputError
from compressae_jax.retrieval.backends import scan


# Fewer rows than devices; an even split; padding at the end.
@pytest.mark.parametrize(("n", "devices"), [(3, 8), (64, 2), (65, 8)])
def test_split_over_devices_equals_one(n, devices):
    codes, row_scales, u = oracle.integer_problem(n, 4)
    placed, scales = scan.place(codes, row_scales - 3, jax.devices()[:devices])  # scores below the padding's 0
    assert len(placed.values.sharding.device_set) == devices
    for top in {min(n, 20), n}:
        scores, rows = scan.search(placed, scales, u, top, chunk=7, n=n)
        wanted_scores, wanted_rows = oracle.search(codes, row_scales - 3, u, top)
        assert_array_equal(rows, wanted_rows)
        assert_array_equal(scores, wanted_scores)


def test_one_compilation_serves_corpora_of_three_sizes():
    scan._absorb_chunks.clear_cache()
    for n in (17, 31, 129):
        scan.search(*oracle.integer_problem(n, 3), 5, chunk=8)
    assert scan._absorb_chunks._cache_size() == 1


def test_codes_split_in_another_way_are_refused():
    codes, row_scales, u = oracle.integer_problem(16, 2, k=8)
    mesh = jax.sharding.Mesh(np.array(jax.devices()[:8]), ("x",))
    by_column = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec(None, "x"))
    split = Codes(jax.device_put(codes.values, by_column), jax.device_put(codes.columns, by_column), codes.h)
    with pytest.raises(InputError, match="split by rows"):
        scan.search(split, row_scales, u, 3)
