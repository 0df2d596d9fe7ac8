"""Every backend against the oracle: one signature, one test."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_array_equal
from retrieval import oracle

from compressae_jax.codes.codes import Codes
from compressae_jax.codes.storage.packed import Packed, Packing, pack
from compressae_jax.notation import InputError
from compressae_jax.retrieval.backends import bcoo, host, scan

C = 16
BACKENDS = {"host": host, "scan": scan, "bcoo": bcoo}


@pytest.fixture(params=BACKENDS)
def backend(request):
    return BACKENDS[request.param]


def check(backend, problem, top, unpacked=None, **options):
    scores, rows = backend.search(*problem, top, **options)
    wanted_scores, wanted_rows = oracle.search(*(unpacked or problem), top)
    assert scores.dtype == np.float32 and rows.dtype == np.int64
    assert_array_equal(rows, wanted_rows)
    assert_array_equal(scores, wanted_scores)


@pytest.mark.parametrize("n", [1, C, C + 1, 2 * C + 1])
def test_sizes_around_a_chunk(backend, n):
    for top in {1, n}:
        check(backend, oracle.integer_problem(n, 3), top, chunk=C)


@pytest.mark.parametrize("q", [1, 9, 65])  # one, a padded block, a block and one more
def test_numbers_of_queries(backend, q):
    check(backend, oracle.integer_problem(2 * C + 1, q), 6, chunk=C)


@pytest.mark.parametrize("values", ["float16", "float32"])
@pytest.mark.parametrize("columns", ["uint16", "uint32", "int32"])
def test_dtypes_are_scored_as_stored(backend, values, columns):
    for q in (2, 9) if backend is host else (2,):
        check(backend, oracle.integer_problem(45, q, k=11, values=values, columns=columns), 7, chunk=C)


@pytest.mark.parametrize("k", [1, 8, 19, 37])  # below and above vectors of 16, and k = h
def test_numbers_of_nonzeros(backend, k):
    for q in (1, 20) if backend is host else (20,):
        check(backend, oracle.integer_problem(2 * C + 1, q, k=k), 5, chunk=C)


@pytest.mark.parametrize("chunk", [1, 7, 1000, None])
def test_chunk_size_does_not_matter(backend, chunk):
    check(backend, oracle.integer_problem(61, 10), 20, chunk=chunk)


def test_jax_arrays_and_prefixes_of_codes(backend):
    codes, row_scales, u = oracle.integer_problem(45, 8, k=9)
    on_device = Codes(jnp.asarray(codes.values), jnp.asarray(codes.columns), codes.h)
    check(backend, (on_device, jnp.asarray(row_scales), jnp.asarray(u)), 11, chunk=C)
    check(backend, (codes.prefix(4), row_scales, u), 11, chunk=C)


def test_memory_maps(backend, tmp_path):
    codes, row_scales, u = oracle.integer_problem(45, 8, values="float16")
    for name in ("values", "columns"):
        np.save(tmp_path / f"{name}.npy", getattr(codes, name))
    mapped = Codes(*(np.load(tmp_path / f"{name}.npy", mmap_mode="r") for name in ("values", "columns")), codes.h)
    check(backend, (mapped, row_scales, u), 11, chunk=C)


@pytest.mark.parametrize("n", [1, C, C + 1, 9 * C + 1])
@pytest.mark.parametrize(("h", "k", "bits"), [(37, 5, 3), (37, 37, 4), (70_001, 1, 8), (1000, 42, 4)])
def test_packed_rows(backend, n, h, k, bits):
    for q in (1, 9):
        problem, unpacked = oracle.packed_problem(n, q, h, k, bits)
        for chunk in (C, None):
            check(backend, problem, n, unpacked, chunk=chunk)


def test_packed_rows_of_unit_length(backend):
    """Scales that are computed while unpacking, powers of two here so that sums stay exact; zero rows score 0."""
    codes = oracle.integer_problem(77, 1, k=4)[0]
    codes.values[:] = np.where(np.arange(77)[:, None] % 3, 2, -1)
    codes.values[::5] = 0
    packed = pack(codes, Packing(37, 4, 2, (1.0, 2.0)))
    lengths = np.linalg.norm(packed.unpack().values, axis=1)
    row_scales = np.divide(1, lengths, out=np.zeros_like(lengths), where=lengths > 0)
    for q in (1, 9):
        u = np.random.default_rng(q).integers(-2, 3, (q, 37)).astype(np.float32)
        check(backend, (packed, None, u), 77, (packed.unpack(), row_scales, u), chunk=C)


def test_packed_memory_maps(backend, tmp_path):
    (packed, *others), unpacked = oracle.packed_problem(45, 8)
    np.save(tmp_path / "records.npy", packed.records)
    mapped = Packed(np.load(tmp_path / "records.npy", mmap_mode="r"), packed.packing)
    check(backend, (mapped, *others), 11, unpacked, chunk=C)


def test_eager_equals_jit():
    for backend in (scan, bcoo):
        with jax.disable_jit():
            check(backend, oracle.integer_problem(C + 1, 3), 4, chunk=C)


@pytest.mark.parametrize("q", [1, 9])
def test_identical_rows_tie_exactly_wherever_they_stand(backend, q):
    """Real-valued scores round; the same row must round the same way, or its copies come in the wrong order."""
    rng = np.random.default_rng(1)
    values = np.tile(rng.standard_normal((1, 13)).astype(np.float32), (101, 1))
    columns = np.tile(rng.permutation(200)[:13].astype(np.uint16), (101, 1))
    u = rng.standard_normal((q, 200)).astype(np.float32)
    _, rows = backend.search(Codes(values, columns, 200), np.full(101, 0.3, np.float32), u, 101, chunk=C)
    assert_array_equal(rows, np.tile(np.arange(101), (q, 1)))


def test_real_scores_are_close_to_float64(backend):
    rng = np.random.default_rng(2)
    codes = Codes(
        rng.standard_normal((300, 32)).astype(np.float16), oracle.integer_problem(300, 1, 99, 32)[0].columns, 99
    )
    u = rng.standard_normal((10, 99)).astype(np.float32)
    scores, rows = backend.search(codes, np.ones(300, np.float32), u, 40)
    wanted, _ = oracle.search(codes, np.ones(300), u, 40)
    np.testing.assert_allclose(scores, wanted, rtol=1e-5, atol=1e-5)
    exact = u.astype(np.float64) @ codes.to_dense().astype(np.float64).T
    np.testing.assert_allclose(np.take_along_axis(exact, rows, 1), scores, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("top", [0, 46])
def test_top_out_of_range(backend, top):
    with pytest.raises(InputError, match=f"top must be an integer from 1 to 45, not {top}"):
        backend.search(*oracle.integer_problem(45, 2), top)
