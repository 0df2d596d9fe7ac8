"""Every metric beside ir-measures', on random rankings with the ties that ours are broken by."""

import hypothesis.strategies as st
import ir_measures
import numpy as np
import pytest
import scipy.sparse
from hypothesis import given
from numpy.testing import assert_allclose

from compressae_jax.evaluation import metrics, purchases, rankings
from compressae_jax.notation import InputError

THEIRS = {"nDCG": "nDCG", "recall": "R", "MRR": "RR", "MAP": "AP", "precision": "P"}


@st.composite
def rankings_and_grades(draw):
    """Rows ranked by scores full of ties (the lower row first), some places empty; grades from -2 to 3."""
    q, n = draw(st.integers(1, 4)), draw(st.integers(1, 25))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    scores = rng.integers(0, 3, (q, n))
    ranked = np.argsort(-scores, axis=1, kind="stable")[:, : draw(st.integers(1, n))]
    ranked = np.where(np.arange(ranked.shape[1]) < rng.integers(0, n + 1, (q, 1)), ranked, -1)
    grades = rng.integers(-2, 4, (q, n)) * (rng.random((q, n)) < 0.4)
    grades[:, rng.integers(n)] = 1  # of a query that wants nothing they say 0 or nothing at all
    return ranked, scipy.sparse.csr_matrix(grades)


def theirs(ranked, wanted, names):
    """By ir-measures, to which a ranking is told by falling scores."""
    parsed = {name: ir_measures.parse_measure(name) for name in names}
    run = [
        ir_measures.ScoredDoc(str(q), str(row), float(-rank))
        for q, rows in enumerate(ranked)
        for rank, row in enumerate(rows)
        if row >= 0
    ]
    coo = wanted.tocoo()
    qrels = [ir_measures.Qrel(str(q), str(r), int(g)) for q, r, g in zip(coo.row, coo.col, coo.data, strict=True)]
    found = {str(one): np.zeros(wanted.shape[0]) for one in parsed.values()}
    for one in ir_measures.iter_calc(list(parsed.values()), qrels, run):
        found[str(one.measure)][int(one.query_id)] = one.value
    return {name: found[str(one)] for name, one in parsed.items()}


@given(rankings_and_grades(), st.sampled_from([1, 3, 5, 10, 20, 100]))
def test_every_metric_equals_ir_measures(case, depth):
    ranked, wanted = case
    ours = metrics.of_ranking(metrics.named([f"{kind}@{depth}" for kind in metrics.KINDS]), ranked, wanted)
    expected = theirs(ranked, wanted, [f"{THEIRS[kind]}@{depth}" for kind in metrics.KINDS])
    for (name, values), (their_name, their_values) in zip(ours.items(), expected.items(), strict=True):
        assert_allclose(values, their_values, atol=1e-6, err_msg=f"{name}, {their_name}")


@given(rankings_and_grades())
def test_purchases_equal_ir_measures(case):
    ranked, grades = case
    test = scipy.sparse.csr_matrix((grades > 0).astype(np.int8))
    train = scipy.sparse.csr_matrix(test.shape, dtype=np.int8)
    ranked = np.pad(ranked, ((0, 0), (0, test.shape[1] - ranked.shape[1])), constant_values=-1)
    scores = purchases.per_user(
        lambda profiles, top, exclude: (ranked[:, :top], ranked[:, :top]), np.ones((len(ranked), 2)), train, test
    )
    recall, ndcg = scores
    depth = int(recall.partition("@")[2])
    their_recall, their_ndcg = theirs(ranked[:, :20], test, [f"R@{depth}", ndcg]).values()
    wanted = rankings.count(test)
    assert_allclose(scores[recall], their_recall * wanted / np.minimum(wanted, depth), atol=1e-6)
    assert_allclose(scores[ndcg], their_ndcg, atol=1e-6)


@pytest.mark.parametrize(("n", "expected"), [(101, 100), (100, 20), (60, 20), (20, 10), (7, 5), (2, 1), (1, 1)])
def test_no_recall_is_as_deep_as_all_rows(n, expected):
    assert metrics.suited(("nDCG@10", "recall@100"), n) == ("nDCG@10", f"recall@{expected}")


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["ndcg@10"], "must be one of 'nDCG', 'recall'"),
        (["nDCG"], "needs a depth from 1 to 10,000, as in nDCG@10"),
        (["recall@0"], "needs a depth"),
        ([], "at least one"),
    ],
)
def test_names_that_are_no_metrics(names, message):
    with pytest.raises(InputError, match=message):
        metrics.named(names)
