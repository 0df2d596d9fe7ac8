"""Every backend against the oracle: one signature, one test."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_array_equal
from retrieval import oracle

from compressae_jax.codes.codes import Codes
from compressae_jax.codes.joined import join
from compressae_jax.codes.storage.packed import Packing, pack
from compressae_jax.notation import InputError
from compressae_jax.retrieval.backends import bcoo, host, lists, scan

C = 16
BACKENDS = {"host": host, "scan": scan, "bcoo": bcoo}


@pytest.fixture(params=BACKENDS)
def backend(request):
    return BACKENDS[request.param]


def check(backend, problem, top, truth=None, **options):
    scores, rows = backend.search(*problem, top, **options)
    wanted_scores, wanted_rows = oracle.search(*(truth or problem), top)
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


def test_jax_arrays_prefixes_and_parts(backend):
    codes, space, u = oracle.integer_problem(45, 8, k=9)
    on_device = {name: jnp.asarray(getattr(codes, name)) for name in ("values", "columns", "norms")}
    check(backend, (oracle.replaced(codes, **on_device), space, jnp.asarray(u)), 11, chunk=C)
    few = oracle.replaced(codes.prefix(4), norms=codes.norms)
    check(backend, (few, space, u), 11, chunk=C)
    parts = join([codes[:1], codes[1:20], codes[20:]])
    check(backend, (parts, space, u), 11, (codes, space, u), chunk=C)


def test_memory_maps(backend, tmp_path):
    codes, *asked = oracle.integer_problem(45, 8, values="float16")
    for name in ("values", "columns"):
        np.save(tmp_path / f"{name}.npy", getattr(codes, name))
    mapped = {name: np.load(tmp_path / f"{name}.npy", mmap_mode="r") for name in ("values", "columns")}
    check(backend, (oracle.replaced(codes, **mapped), *asked), 11, chunk=C)


@pytest.mark.parametrize("n", [1, C, C + 1, 9 * C + 1])
@pytest.mark.parametrize(
    ("h", "k", "storage"),
    [
        (37, 5, "packed3"),
        (37, 37, "packed4"),
        (70_001, 1, "packed8"),
        (1000, 42, "packed4"),
        (37, 5, "fast4"),
        (1000, 42, "fast4"),
    ],
)
def test_packed_rows(backend, n, h, k, storage):
    asked = [(1, None), (9, C)]  # each is a compilation where a backend is jitted
    for q, chunk in [*asked, (1, C), (9, None)] if backend is host else asked:
        check(backend, oracle.packed_problem(n, q, h, k, storage), n, chunk=chunk)


@pytest.mark.parametrize("packed", [True, False])
def test_rows_that_are_scaled_to_unit_length_as_they_are_read(backend, packed):
    """Lengths are powers of two here, so that sums stay exact; zero rows score 0."""
    codes = oracle.integer_problem(77, 1, k=4)[0]
    codes.values[:] = np.where(np.arange(77)[:, None] % 3, 2, -1)
    codes.values[::5] = 0
    rows = pack(codes, Packing(37, 4, 2, (1.0, 2.0))) if packed else oracle.replaced(codes, norms=None)
    for q in (1, 9):
        check(backend, (rows, "sparse", np.random.default_rng(q).integers(-2, 3, (q, 37)).astype(np.float32)), 77)


def test_eager_equals_jit():
    for backend in (scan, bcoo):
        with jax.disable_jit():
            check(backend, oracle.integer_problem(C + 1, 3), 4, chunk=C)


@pytest.mark.parametrize("backend", [scan, bcoo])
def test_any_number_of_queries_costs_few_compilations(backend):
    problem = oracle.integer_problem(C, 16)
    count = {scan: lambda: scan._absorb_chunks._cache_size(), bcoo: lambda: bcoo._scores._cache_size()}[backend]
    before = count()
    for q in range(1, 17):
        backend.search(*problem[:2], problem[2][:q], 3, chunk=C)
    assert count() - before <= 5  # of 1, 2, 4, 8 and 16 queries


@pytest.mark.parametrize("q", [1, 9])
def test_identical_rows_tie_exactly_wherever_they_stand(backend, q):
    """Real-valued scores round; the same row must round the same way, or its copies come in the wrong order."""
    rng = np.random.default_rng(1)
    values = np.tile(rng.standard_normal((1, 13)).astype(np.float32), (101, 1))
    columns = np.tile(rng.permutation(200)[:13].astype(np.uint16), (101, 1))
    u = rng.standard_normal((q, 200)).astype(np.float32)
    rows = Codes(values, columns, 200, np.full((101, 2), 0.3, np.float32))
    assert_array_equal(backend.search(rows, "sparse", u, 101, chunk=C)[1], np.tile(np.arange(101), (q, 1)))


def test_real_scores_are_close_to_float64(backend):
    rng = np.random.default_rng(2)
    columns = oracle.integer_problem(300, 1, 99, 32)[0].columns
    codes = Codes(rng.standard_normal((300, 32)).astype(np.float16), columns, 99, np.ones((300, 2), np.float32))
    u = rng.standard_normal((10, 99)).astype(np.float32)
    scores, rows = backend.search(codes, "sparse", u, 40)
    wanted, _ = oracle.search(codes, "sparse", u, 40)
    np.testing.assert_allclose(scores, wanted, rtol=1e-5, atol=1e-5)
    exact = u.astype(np.float64) @ codes.to_dense().astype(np.float64).T
    np.testing.assert_allclose(np.take_along_axis(exact, rows, 1), scores, rtol=1e-5, atol=1e-5)


def test_rows_that_nobody_verified_are_never_scored_outside(backend):
    codes, *asked = oracle.integer_problem(45, 3)
    codes.columns[7, 2] = 37
    with pytest.raises(InputError, match=r"row 7 has a column outside 0\.\.36"):
        backend.search(oracle.replaced(codes, verified=False), *asked, 3, chunk=C)


@pytest.mark.parametrize(
    ("top", "chunk", "message"),
    [
        (0, None, "top must be an integer from 1 .* not 0"),
        (3, 0, "chunk must be an integer from 1 .* not 0"),
        (3, -1, "chunk must be an integer from 1 .* not -1"),
    ],
)
def test_numbers_out_of_range(backend, top, chunk, message):
    with pytest.raises(InputError, match=message):
        backend.search(*oracle.integer_problem(45, 2), top, chunk=chunk)


@pytest.mark.parametrize("bad", [-1, 37, 10**6])
@pytest.mark.parametrize("form", [lambda rows: rows, lambda rows: join([rows[:20], rows[20:]])], ids=["one", "joined"])
def test_rows_that_nobody_verified_are_never_scored_outside_h(backend, bad, form):
    rows, space, u = oracle.integer_problem(2 * C + 1, 3, columns="int32")
    rows.columns[C + 5, 1] = bad
    unverified = form(oracle.replaced(rows, verified=False))
    with pytest.raises(InputError, match="has a column outside 0"):
        backend.search(unverified, space, u, 3)
    with pytest.raises(InputError, match="has a column outside 0"):
        lists.build(unverified)  # which would write there
