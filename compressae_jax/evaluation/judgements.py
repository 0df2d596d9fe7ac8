"""The judgement protocol: what people judged relevant, found or not; the metrics themselves live in `rankings`."""

import numpy as np
import scipy.sparse
from jaxtyping import Float, Int

from compressae_jax.evaluation import rankings
from compressae_jax.evaluation.exclusion import Search, excluding
from compressae_jax.evaluation.rankings import PerQuery
from compressae_jax.notation import InputError, Rows

METRICS = ("nDCG@10", "recall@100", "MRR@10")


def judged(wanted: scipy.sparse.csr_matrix) -> Int[np.ndarray, " judged"]:
    """Numbers of the queries with at least one relevant row; the others say nothing about a ranking."""
    return np.flatnonzero(rankings.count(wanted))


def per_query(
    search: Search,
    queries: Float[np.ndarray, "q d"],
    wanted: scipy.sparse.csr_matrix,
    own_rows: Int[np.ndarray, " q"] | None = None,
) -> dict[str, Float[np.ndarray, " judged"]]:
    """Every metric of `METRICS` for every judged query; one that finds nothing scores 0 and stays.

    `wanted` (q, n) holds gains, `own_rows` the row that is the query itself, which is no answer and is left out.
    """
    if wanted.shape[0] != len(queries):
        raise InputError(f"judgements are of {wanted.shape[0]} queries, and {len(queries)} queries were given")
    kept, n = judged(wanted), wanted.shape[1]
    wanted = wanted[kept]
    if own_rows is None:
        _, rows = search(queries[kept], min(100, n))
    else:
        itself = _one_each(own_rows[kept], n)
        _, rows = excluding(search)(queries[kept], min(100, n), exclude=itself)
        wanted = scipy.sparse.csr_matrix(wanted - wanted.multiply(itself))
        wanted.eliminate_zeros()
    return of_ranking(rows, wanted)


def of_ranking(rows: Rows, wanted: scipy.sparse.csr_matrix) -> dict[str, PerQuery]:
    """The metrics of ranked rows, -1 where nothing was found; queries that want nothing score 0."""
    gained = rankings.gains(rows, wanted)
    return {
        "nDCG@10": rankings.ndcg(gained, wanted, 10),
        "recall@100": rankings.recall(gained, wanted, 100),
        "MRR@10": rankings.reciprocal_rank(gained, 10),
    }


def _one_each(rows: Int[np.ndarray, " q"], n: int) -> scipy.sparse.csr_matrix:
    ones = np.ones(len(rows), np.int8)
    return scipy.sparse.csr_matrix((ones, rows, np.arange(len(rows) + 1)), shape=(len(rows), n))
