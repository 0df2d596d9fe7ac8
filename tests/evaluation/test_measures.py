import numpy as np
from evaluation import small
from numpy.testing import assert_allclose

from compressae_jax.codes.codes import Codes
from compressae_jax.evaluation import measures
from compressae_jax.evaluation.contenders import Contender


def contender(name: str, size: float, k: int | None = None) -> Contender:
    return Contender(
        name, "code" if k else "baseline", size, lambda corpus, queries, top: (queries, queries), None, None, k
    )


def test_means_intervals_and_paired_differences():
    compared = [contender("base", 40.0), contender("other", 16.0, 2)]
    rng = np.random.default_rng(0)
    base = rng.random(50)
    scores = {"asked": {"base": {"metric": base}, "other": {"metric": base - 0.125}}}

    first, second = measures.measured(compared, scores, d=10, resamples=200, seed=0)

    assert (first["ratio"], second["ratio"]) == (1.0, 2.5)
    assert (first["bytes_as_published"], second["bytes_as_published"]) == (None, 16)
    score = second["scores"]["asked"]["metric"]
    assert_allclose(score["mean"], base.mean() - 0.125, atol=1e-6)
    assert score["low"] < score["mean"] < score["high"]
    assert score["difference"] == {"mean": -0.125, "low": -0.125, "high": -0.125}
    assert first["scores"]["asked"]["metric"]["difference"] == {"mean": 0, "low": 0, "high": 0}


def test_usage_counts_nonzeros_only(monkeypatch):
    monkeypatch.setattr(measures, "PIECE", 2)
    codes = Codes(np.float16([[2, 0], [1, -1], [3, 0]]), np.uint16([[4, 0], [4, 1], [1, 0]]), 6)
    assert_allclose(measures.usage(codes, 2), [0, 2 / 3, 0, 0, 2 / 3, 0])


def test_usage_of_a_smaller_k_counts_the_largest_nonzeros():
    codes = Codes(np.float16([[2, 1], [-3, 1]]), np.uint16([[4, 0], [1, 0]]), 6)
    assert_allclose(measures.usage(codes, 1), [0, 0.5, 0, 0, 0.5, 0])


def test_usage_of_a_model_sums_to_k():
    from compressae_jax import compression

    codes = compression.encode(small.weights(), small.vectors(11))
    assert_allclose(measures.usage(codes, 6).sum(), 6)
