"""Scores of rows held on devices: JAX's own, and the kernel's source run on a CPU, against float64."""

import cuda_on_cpu
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from compressae_jax.base import cuda
from compressae_jax.codes.storage import fast_kernels
from compressae_jax.codes.storage.fast import Fast, low_bits
from compressae_jax.retrieval.backends import held
from compressae_jax.retrieval.backends.held import Held, Part

N = 301


def plain(h, k, values, columns):
    rng = np.random.default_rng(k)
    some = rng.standard_normal((N, k)).astype(values)
    some[3], some[4, k // 2 :] = 0, 0
    return Held((some, rng.integers(0, h, (N, k)).astype(columns)), None, h, k)


def records(h, k):
    """Rows of any bytes, the zero row, all bits set, and sound ones."""
    how, rng = Fast(h, k, 4, tuple((np.arange(1, 9) / 4).tolist())), np.random.default_rng(h)
    some = rng.integers(0, 256, (N, how.width), np.uint8)
    some[3], some[4] = 0, 255
    columns = np.sort(rng.random((N // 2, h)).argsort(axis=1)[:, :k], axis=1)
    some[N - N // 2 :] = how.records(rng.integers(0, 16, columns.shape, np.uint8), columns, columns[:, 0] >= 0)
    some[:40, ((how.low + 4) * k + 7) // 8 :] &= 17  # too few bits of columns
    return Held((some,), how.signed, h, k)


def scored(rows, scales, u, part=(0, 0, N), allowed=None, count=N):
    rows, scales, u, allowed = jax.tree.map(jnp.asarray, (rows, scales, u, allowed))
    return np.asarray(held.scores(rows, scales, u, Part(*map(jnp.asarray, part)), allowed, count))


def exact(rows, scales, u):
    if rows.signed is None:
        values, columns = rows.arrays
    else:
        shape = len(rows), rows.k
        values, columns = np.empty(shape, np.float32), np.empty(shape, np.uint16)
        fast_kernels.unpack(rows.arrays[0], rows.h, low_bits(rows.h, rows.k), rows.signed, values, columns)
    return (values.astype(np.float64) * u[:, columns.astype(int)]).sum(axis=2) * scales


def on_cpu(monkeypatch):
    """Kernels run where a program would call them, of one block a group of queries, which has several tiles of rows."""

    def called(kernel, out, *arrays):
        groups = int(np.asarray(arrays[4])[4])
        found = cuda_on_cpu.called(kernel._replace(blocks=groups), out, *map(np.asarray, arrays))
        return [jnp.asarray(one) for one in found]

    monkeypatch.setattr(cuda, "called", called)
    monkeypatch.setattr(cuda, "usable", lambda: True)
    monkeypatch.setattr(cuda, "dispatched", lambda kernel, twin, *arrays: kernel(*arrays))


@pytest.mark.parametrize(
    ("make", "sizes", "q"),
    [
        (plain, (40, 32, "float16", "uint16"), 1),
        (plain, (40, 32, "float16", "uint16"), 16),
        (plain, (333, 7, "float32", "uint32"), 2),
        (plain, (50, 12, "float16", "int32"), 4),
        (plain, (37, 6, "float16", "uint16"), 1),
        (plain, (60_000, 3, "float32", "uint16"), 2),  # u is not in shared memory
        (records, (4096, 32), 1),
        (records, (4096, 32), 16),
        (records, (41, 3), 2),
        (records, (512, 59), 4),
        (records, (65_536, 101), 2),
    ],
)
def test_the_kernel_scores_what_the_twin_scores(make, sizes, q, monkeypatch):
    rows = make(*sizes)
    rng = np.random.default_rng(q)
    scales, u = rng.random(N, np.float32), rng.standard_normal((q, rows.h)).astype(np.float32)
    scales[3] *= -1  # of a row of zeros, if not of random bytes
    allowed, wanted = rng.random(N) < 0.9, exact(rows, scales, u)
    twin = scored(rows, scales, u)
    assert_allclose(twin, wanted, rtol=1e-4, atol=1e-4)
    on_cpu(monkeypatch)
    found = scored(rows, scales, u)
    assert_allclose(found, twin, rtol=1e-5, atol=1e-5)
    assert not np.signbit(found[:, 3]).any()
    if q in (2, 16):  # a chunk that starts among rows that were seen, and one longer than all rows
        for part, mask, count in [((7, 12, 290), allowed, 290), ((0, 0, N), None, 2 * N), ((5, 5, 5), None, 9)]:
            found, row = scored(rows, scales, u, part, mask, count), part[0] + np.arange(count)
            real = (row >= part[1]) & (row < part[2]) & (True if mask is None else mask[np.minimum(row, N - 1)])
            assert_array_equal(np.isneginf(found), np.tile(~real, (q, 1)))
            assert_allclose(found[:, real], wanted[:, row[real]], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", ["plain", "records"])
def test_sums_of_integers_are_exact(kind, monkeypatch):
    rows = plain(40, 32, "float16", "uint16") if kind == "plain" else records(41, 3)
    if rows.signed is None:
        rows = Held((np.round(rows.arrays[0]), rows.arrays[1]), None, rows.h, rows.k)
    else:
        rows = Held(rows.arrays, np.arange(-8, 8, dtype=np.float32), rows.h, rows.k)
    u, scales = np.random.default_rng(0).integers(-3, 4, (4, rows.h)).astype(np.float32), np.ones(N, np.float32)
    twin = scored(rows, scales, u)
    on_cpu(monkeypatch)
    assert_array_equal(scored(rows, scales, u), twin)


@pytest.mark.parametrize(("shared", "together"), [(99, 4), (163, 8), (227, 8)])  # KiB of an RTX, an A100, an H100
def test_launches_fit_a_multiprocessor(shared, together, monkeypatch):
    monkeypatch.setattr(held, "limits", lambda: held.Limits(100, shared * 2**10))
    for q in (1, 2, 8, 64):
        for rows in (plain(4096, 32, "float16", "uint16"), plain(60_000, 3, "float32", "uint16"), records(4096, 32)):
            kernel = held.kernel(rows, q, 10**7, False)
            blocks = kernel.constants["BLOCKS"]
            assert blocks * (kernel.shared + held.RESERVED) <= shared * 2**10 + held.RESERVED
            assert held.LEAST <= kernel.threads * blocks <= held.RESIDENT
            assert q % kernel.constants["Q"] == 0 and kernel.blocks % (q // kernel.constants["Q"]) == 0
    assert held.kernel(plain(4096, 32, "float16", "uint16"), 64, 10**7, False).constants["Q"] == together
    wide = Held((np.zeros((5, 1500), np.uint8),), np.zeros(16, np.float32), 65_536, 880)
    assert held.kernel(wide, 8, 10**7, False).threads == (128 if shared == 227 else 64)
    assert held.kernel(plain(40, 3, "float64", "uint16"), 64, 10**7, False) is None


def test_programs_for_gpus_hold_the_kernel(monkeypatch):
    monkeypatch.setenv("COMPRESSAE_CUDA_KERNELS", "1")
    if not cuda.usable():
        pytest.skip("no NVRTC: pip install 'cuda-bindings<13' nvidia-cuda-nvrtc-cu12")
    for rows in (plain(40, 32, "float16", "uint16"), records(41, 3)):
        rows = jax.tree.map(jnp.asarray, rows)
        given = rows, jnp.ones(N), jnp.ones((8, rows.h)), Part(*map(jnp.asarray, (0, 0, N)))
        program = jax.jit(lambda *given: held.scores(*given, None, N)).trace(*given)
        assert cuda.TARGET in program.lower(lowering_platforms=("cuda",)).as_text()
        assert cuda.TARGET not in program.lower(lowering_platforms=("cpu",)).as_text()


@pytest.mark.parametrize("piece", [1, 100, N - 1])
@pytest.mark.parametrize("kind", ["plain", "records"])
def test_the_twin_scores_rows_in_pieces_where_a_kernel_was_to_take_all(kind, piece, monkeypatch):
    rows = plain(40, 32, "float16", "uint16") if kind == "plain" else records(41, 3)
    u, scales = np.random.default_rng(0).standard_normal((4, rows.h)).astype(np.float32), np.ones(N, np.float32)
    wanted = scored(rows, scales, u, (2, 5, N), None, N - 2)
    monkeypatch.setattr(held, "PIECE_BYTES", 4 * rows.k * len(u) * piece)
    assert_allclose(scored(rows, scales, u, (2, 5, N), None, N - 2), wanted, rtol=1e-4, atol=1e-5)


def test_the_twin_holds_no_more_than_a_piece():
    rows = Held((jax.ShapeDtypeStruct((2**26, 52), np.uint8),), jax.ShapeDtypeStruct((16,), np.float32), 4096, 32)
    given = rows, *(jax.ShapeDtypeStruct(shape, np.float32) for shape in ((2**26,), (1, 4096)))
    program = jax.jit(lambda *given: held.scores(*given, Part(*map(jnp.asarray, (0, 0, 2**26))), None, 2**26))
    assert program.lower(*given).compile().memory_analysis().temp_size_in_bytes < 2**32
