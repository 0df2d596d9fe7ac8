"""benchmarks.carried: differences to peers are paired, and told as sure where their interval is on one side of zero."""

import numpy as np

from benchmarks import carried
from compressae_jax.data.named import Judgements


def test_differences_are_paired_query_by_query():
    base = {carried.NDCG: np.linspace(0.2, 1, 50)}
    peer = {carried.NDCG: base[carried.NDCG] * 0.8, carried.RECALL: np.linspace(0.1, 0.9, 50)}
    ours = {carried.NDCG: base[carried.NDCG] * 0.8 + 0.06, carried.RECALL: peer[carried.RECALL] - 0.1}
    told = carried.ahead(ours, peer, base)
    assert np.allclose(told[carried.SHARE], 0.06 / 0.6, atol=1e-5), "alike of every query: nothing is left to chance"
    assert np.allclose(told[carried.RECALL], -0.1, atol=1e-5)
    assert carried.SHARE not in carried.ahead(ours, {carried.RECALL: peer[carried.RECALL]}, base)


def test_what_is_sure_is_bold():
    one = {"encoder": "minilm", "set": "scifact", "method": "pq", "budget": 32}
    lines = [
        one | {"ahead": {carried.RECALL: [0.1, 0.05, 0.15], carried.SHARE: [0.01, -0.02, 0.04]}},
        one | {"budget": 64, "ahead": {carried.RECALL: [-0.1, -0.15, -0.05]}},
        one | {"method": carried.OURS},
    ]
    _, _, share, recall = carried.differences(lines, "minilm").splitlines()
    assert share == "| scifact | share of dense nDCG@10 | pq | +0.010 [-0.020, +0.040] |  |"
    assert recall == "| scifact | recall@100 | pq | **+0.100** [+0.050, +0.150] | **-0.100** [-0.150, -0.050] |"


def test_what_is_judged_of_a_sample_is_numbered_as_the_sample():
    judged = Judgements(np.array([1, 1, 4, 9]), np.array([4, 5, 9, 1]), np.array([1, 1, 2, 1]))
    told = carried.among(judged, np.array([1, 4, 9, 11]))
    assert [one.tolist() for one in told] == [[0, 1, 2], [1, 2, 0], [1, 2, 1]], "5 is not among them"
