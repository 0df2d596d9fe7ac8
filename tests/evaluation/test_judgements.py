import numpy as np
import pytest
import scipy.sparse
from numpy.testing import assert_allclose, assert_array_equal

from compressae_jax.baselines import dense
from compressae_jax.evaluation import judgements
from compressae_jax.notation import InputError

Q, N = 21, 157


@pytest.fixture(scope="module")
def case():
    """Queries and rows full of ties, graded judgements, two queries without any."""
    rng = np.random.default_rng(0)
    rows = rng.integers(-1, 2, (N, 4)).astype(np.float32)
    queries = rng.integers(-1, 2, (Q, 4)).astype(np.float32)
    queries[(queries == 0).all(axis=1)] = 1
    gains = rng.integers(1, 4, (Q, N)) * (rng.random((Q, N)) < 0.1)
    gains[:, 0] = 1
    gains[[4, 9]] = 0
    return queries, rows, scipy.sparse.csr_matrix(gains)


def theirs(rows, wanted, queries):
    """The same from ir-measures, to which a ranking is told by falling scores."""
    ir_measures = pytest.importorskip("ir_measures")
    measures = {str(m): m for m in map(ir_measures.parse_measure, ("nDCG@10", "R@100", "RR@10"))}
    run = [
        ir_measures.ScoredDoc(str(q), str(row), float(-rank))
        for q in queries
        for rank, row in enumerate(rows[q])
        if row >= 0
    ]
    coo = wanted.tocoo()
    qrels = [ir_measures.Qrel(str(q), str(r), int(g)) for q, r, g in zip(coo.row, coo.col, coo.data, strict=True)]
    found = {name: np.zeros(wanted.shape[0]) for name in measures}
    for one in ir_measures.iter_calc(list(measures.values()), qrels, run):
        found[str(one.measure)][int(one.query_id)] = one.value
    return {ours: found[name][queries] for ours, name in zip(judgements.METRICS, measures, strict=True)}


@pytest.mark.parametrize("top", [7, 100, N])
def test_equals_ir_measures(case, top):
    queries, rows, wanted = case
    _, found = dense.fit(rows).add(rows).search(queries, top)
    found[3] = -1  # a judged query that finds nothing
    found[6, 5:] = -1
    judged = judgements.judged(wanted)

    ours = judgements.of_ranking(found[judged], wanted[judged])

    for metric, values in theirs(found, wanted, judged).items():
        assert_allclose(ours[metric], values, atol=1e-6, err_msg=metric)
        assert values.mean() > 0


def test_only_judged_queries_are_scored(case):
    queries, rows, wanted = case
    peer = dense.fit(rows).add(rows)
    scores = judgements.per_query(peer.search, queries, wanted)
    _, found = peer.search(queries, 100)
    kept = np.setdiff1d(np.arange(Q), [4, 9])
    for metric, values in judgements.of_ranking(found[kept], wanted[kept]).items():
        assert_array_equal(scores[metric], values)
        assert len(values) == Q - 2


def test_a_judged_query_that_finds_nothing_lowers_the_mean(case):
    queries, _, wanted = case
    nothing = judgements.per_query(
        lambda q, top: (np.full((len(q), top), -np.inf), np.full((len(q), top), -1)), queries, wanted
    )
    assert all(values.tolist() == [0] * (Q - 2) for values in nothing.values())


def test_the_query_itself_is_no_answer():
    rows = np.eye(3, dtype=np.float32) + 0.1 * np.arange(3, dtype=np.float32)
    wanted = scipy.sparse.csr_matrix(np.array([[1, 0, 1], [0, 0, 1], [1, 0, 0]]))  # the first one is its own answer
    peer = dense.fit(rows).add(rows)

    scores = judgements.per_query(peer.search, rows, wanted, own_rows=np.arange(3))

    _, found = peer.search(rows, 3)
    assert_array_equal(found[:, 0], [0, 1, 2])
    ranks = [next(i for i, row in enumerate(found[q][1:], 1) if wanted[q, row]) for q in range(3)]
    assert_allclose(scores["MRR@10"], 1 / np.array(ranks))
    assert_array_equal(scores["recall@1"], np.array(ranks) == 1)  # of three rows any deeper would find all


def test_other_queries_than_judgements(case):
    queries, _, wanted = case
    with pytest.raises(InputError, match=f"judgements are of {Q} queries, and {Q - 1} queries were given"):
        judgements.per_query(lambda q, top: (q, q), queries[1:], wanted)
