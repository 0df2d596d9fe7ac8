import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from codes.storage.test_residual import packing
from numpy.testing import assert_array_equal
from retrieval import oracle

from compressae_jax.codes.codes import Codes
from compressae_jax.codes.joined import join
from compressae_jax.codes.storage import fast_avx512_kernels, fast_kernels
from compressae_jax.codes.storage.fast import Fast
from compressae_jax.codes.storage.packed import Packed
from compressae_jax.retrieval.backends import host


@pytest.mark.parametrize("k", [1, 4, 16])  # vectors of each width
def test_every_finite_float16_is_read_exactly(k):
    everything = np.arange(2**16, dtype=np.uint16).view(np.float16)
    everything = everything[np.isfinite(everything)]
    n = len(everything)
    values = np.where(np.arange(n)[:, None] % k == np.arange(k), everything[:, None], np.float16(0))
    codes = Codes(values, np.tile(np.arange(k, dtype=np.uint16), (n, 1)), k, np.ones((n, 2), np.float32))
    for q in (1, 8):
        scores, rows = host.search(codes, "sparse", np.ones((q, k), np.float32), n)
        assert_array_equal(scores[0], everything[rows[0]].astype(np.float32))
        assert_array_equal(rows[0], np.argsort(-everything.astype(np.float32), kind="stable"))


@pytest.mark.parametrize(
    ("h", "k"),
    [(99, 3), (8192, 8), (8192, 17), (8192, 34), (8192, 37), (200, 64), (300, 64), (512, 25), (1024, 49), (8192, 70)],
)
def test_rows_that_loops_take_apart_score_the_bits_of_their_floats(h, k, numbers=(1, 9, 70)):
    """Rows of any bytes, many of them damaged, zero rows, and the last ones of an array, which have no room behind."""
    how, rng = Fast(h, k, 4, tuple(np.linspace(0.1, 2, 8, dtype=np.float32).tolist())), np.random.default_rng(k)
    records = rng.integers(0, 256, (601, how.width), np.uint8)
    records[::7] = 0
    rows, u = Packed(records, how), rng.standard_normal((70, h)).astype(np.float32)
    floats = oracle.replaced(rows.codes(), norms=np.ones((601, 2), np.float32))
    allowed = rng.random(601) < 0.1
    for q in numbers:
        wanted = host.search(floats, "reconstructed", u[:q], 50)
        few = host.search(floats, "reconstructed", u[:q], 50, allowed=allowed)
        for form in (rows, join([rows[:100], rows[100:130], rows[130:]])):
            for chunk in (None, 90):
                for ours, exact in zip(host.search(form, "reconstructed", u[:q], 50, chunk=chunk), wanted, strict=True):
                    assert_array_equal(ours, exact)
            for ours, exact in zip(host.search(form, "reconstructed", u[:q], 50, allowed=allowed), few, strict=True):
                assert_array_equal(ours, exact)
    assert rows.encoded("sparse") is None  # whose scales follow from values
    assert fast_kernels.in_registers(h, k, how.low) == (
        fast_avx512_kernels in fast_kernels.with_vectors() and k <= 64 and how.bitmap_bits <= 128
    )


@pytest.mark.parametrize(
    ("h", "k", "d", "count"), [(600, 4, 20, 9), (600, 17, 150, 60), (512, 9, 128, 126), (4096, 8, 384, 111)]
)
def test_rows_with_coordinates_score_the_bits_of_their_floats(h, k, d, count, numbers=(1, 9, 70)):
    how, rng = packing(h, k, d, count), np.random.default_rng(k)
    records = rng.integers(0, 256, (601, how.width), np.uint8)
    records[::7] = 0
    rows, u = Packed(records, how), rng.standard_normal((70, how.h)).astype(np.float32)
    floats = oracle.replaced(rows.codes(), norms=np.ones((601, 2), np.float32))
    allowed = rng.random(601) < 0.5
    for q in numbers:
        for chosen in (None, allowed):
            wanted = host.search(floats, "reconstructed", u[:q], 50, allowed=chosen)
            for form in (rows, join([rows[:100], rows[100:130], rows[130:]])):
                for chunk in (None, 90):
                    found = host.search(form, "reconstructed", u[:q], 50, allowed=chosen, chunk=chunk)
                    for ours, exact in zip(found, wanted, strict=True):
                        assert_array_equal(ours, exact)
    assert rows.beside("sparse") is None and rows.beside("reconstructed") is not None


def test_processors_without_newer_instructions_read_the_same():
    program = (
        "import sys; sys.path.insert(0, sys.argv[1]); import conftest; from retrieval.backends import test_host;"
        "test_host.test_every_finite_float16_is_read_exactly(16);"
        "test_host.test_rows_that_loops_take_apart_score_the_bits_of_their_floats(8192, 17, (1,));"
        "test_host.test_rows_with_coordinates_score_the_bits_of_their_floats(600, 17, 150, 60, (1,));"
        "from numba.core.registry import cpu_target;"
        "assert '+f16c' not in cpu_target.target_context.codegen().magic_tuple()[2];"
        "assert not test_host.fast_kernels.with_vectors();"
        "from compressae_jax.codes.storage import residual_kernels; assert not residual_kernels.with_vectors()"
    )
    tests = Path(__file__).resolve().parents[2]
    environment = {**os.environ, "NUMBA_CPU_NAME": "generic"}
    subprocess.run([sys.executable, "-c", program, tests], env=environment, check=True)


@pytest.mark.parametrize("k", [*range(1, 22), 31, 32, 33, 53])
def test_any_number_of_subnormal_nonzeros(k):
    """Multiples of 2^-24 add up exactly; columns are unaligned, as a memory map's may be."""
    codes, space, u = oracle.integer_problem(70, 57, h=60, k=k)
    values = (codes.values * 2.0**-24).astype(np.float16)
    columns = np.frombuffer(b"-" + codes.columns.tobytes(), np.uint16, offset=1).reshape(70, k)
    codes = oracle.replaced(codes, values=values, columns=columns)
    for q in (1, 9, 20, 40, 57):
        found = host.search(codes, space, u[:q], 70, chunk=9)
        for ours, wanted in zip(found, oracle.search(codes, space, u[:q], 70), strict=True):
            assert_array_equal(ours, wanted)


@pytest.mark.parametrize("values", [np.float16, np.float32])
@pytest.mark.parametrize("k", [1, 3, 8, 15, 16, 31, 42])  # every mixture of sums of 8 lanes, of 4 and of one
def test_a_query_gets_the_same_bits_alone_and_in_company(k, values):
    rng = np.random.default_rng(k)
    columns = rng.random((300, 99)).argsort(1)[:, :k].astype(np.uint16)
    codes = Codes(rng.standard_normal((300, k)).astype(values), columns, 99)
    u = rng.standard_normal((70, 99)).astype(np.float32)
    scores, rows = host.search(codes, "sparse", u, 50)
    for some in (slice(0, 1), slice(69, 70), slice(3, 23)):  # one by one, and in blocks of 16 and 64 queries
        alone = host.search(codes, "sparse", u[some], 50)
        assert_array_equal(alone[0], scores[some])
        assert_array_equal(alone[1], rows[some])


def test_threads_and_chunks_share_one_ranking(monkeypatch):
    rng = np.random.default_rng(0)
    values, columns = rng.integers(-2, 3, (500, 3)).astype(np.float32), rng.integers(0, 9, (500, 3)).astype(np.uint16)
    codes = Codes(values, columns, 9, np.ones((500, 2), np.float32))
    problem = codes, "sparse", rng.integers(-2, 3, (12, 9)).astype(np.float32)
    results = []
    for threads, chunk in ((1, 500), (7, 3), (64, 50)):
        monkeypatch.setattr(host, "cores", lambda threads=threads: threads)
        results.append(host.search(*problem, 30, chunk=chunk))
    for scores, rows in results[1:]:
        assert_array_equal(scores, results[0][0])
        assert_array_equal(rows, results[0][1])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning", "ignore:.*fork:RuntimeWarning")
def test_a_forked_process_searches_too(monkeypatch):
    monkeypatch.setattr(host, "cores", lambda: 3)
    problem = oracle.integer_problem(900, 2, h=60, k=4)
    found = host.search(*problem, 5, chunk=100)
    child = os.fork()
    if not child:
        threading.Timer(20, os._exit, [2]).start()  # a search that waits for threads it does not have
        again = host.search(*problem, 5, chunk=100)
        os._exit(int(not all(np.array_equal(*pair) for pair in zip(found, again, strict=True))))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_an_error_of_a_kept_thread_is_raised_and_the_next_search_works(monkeypatch):
    monkeypatch.setattr(host, "cores", lambda: 4)
    problem = oracle.integer_problem(900, 2, h=60, k=4)
    found = host.search(*problem, 5, chunk=10)
    read = Codes.reader

    def fails(*arguments):
        if threading.current_thread() is not threading.main_thread():
            raise OSError("the disk is gone")
        return read(*arguments)

    with monkeypatch.context() as broken:
        broken.setattr(Codes, "reader", fails)
        with pytest.raises(OSError, match="disk is gone"):
            host.search(*problem, 5, chunk=10)
    for one, other in zip(host.search(*problem, 5, chunk=10), found, strict=True):
        assert_array_equal(one, other)


def test_the_running_best_of_many_queries_is_bounded(monkeypatch):
    problem = oracle.integer_problem(90, 200)
    wanted, sizes = host.search(*problem, 7), []
    best = host.best_of_threads
    monkeypatch.setattr(host, "HEAPS", 2 * 12 * 7 * 70)
    monkeypatch.setattr(host, "cores", lambda: 2)
    monkeypatch.setattr(host, "best_of_threads", lambda *all_: sizes.append(all_[2]) or best(*all_))
    for found, one in zip(host.search(*problem, 7, chunk=9), wanted, strict=True):
        assert_array_equal(found, one)
    assert sizes == [64, 64, 64, 8]
