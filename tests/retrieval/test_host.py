import numpy as np
from numpy.testing import assert_array_equal

from compressae_jax.codes.codes import Codes
from compressae_jax.retrieval import host


def test_every_finite_float16_is_read_exactly():
    everything = np.arange(2**16, dtype=np.uint16).view(np.float16)
    everything = everything[np.isfinite(everything)]
    n = len(everything)
    codes = Codes(everything[:, None], np.zeros((n, 1), np.uint16), 1)
    for q in (1, 8):
        scores, rows = host.search(codes, np.ones(n, np.float32), np.ones((q, 1), np.float32), n)
        assert_array_equal(scores[0], everything[rows[0]].astype(np.float32))
        assert_array_equal(rows[0], np.argsort(-everything.astype(np.float32), kind="stable"))


def test_threads_and_chunks_share_one_ranking(monkeypatch):
    rng = np.random.default_rng(0)
    codes = Codes(rng.integers(-2, 3, (500, 3)).astype(np.float32), rng.integers(0, 9, (500, 3)).astype(np.uint16), 9)
    problem = codes, np.ones(500, np.float32), rng.integers(-2, 3, (12, 9)).astype(np.float32)
    results = []
    for threads, chunk in ((1, 500), (7, 3), (64, 50)):
        monkeypatch.setattr(host, "cores", lambda threads=threads: threads)
        results.append(host.search(*problem, 30, chunk=chunk))
    for scores, rows in results[1:]:
        assert_array_equal(scores, results[0][0])
        assert_array_equal(rows, results[0][1])
