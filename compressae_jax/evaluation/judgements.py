"""The judgement protocol: what people judged relevant, found or not; the metrics themselves live in `rankings`."""

from collections.abc import Sequence

import numpy as np
import scipy.sparse
from jaxtyping import Float, Int

from compressae_jax.evaluation import metrics, rankings
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
    n: int | None = None,
    names: Sequence[str] | None = None,
) -> dict[str, Float[np.ndarray, " judged"]]:
    """Metrics by name for every judged query; one that finds nothing scores 0 and stays.

    `wanted` (q, m) holds gains, `own_rows` the row that is the query itself, which is no answer and is left out. `n`
    rows are searched (default: m); what is wanted beyond them is never found. `names` default to `METRICS`, the recall
    at a depth that suits n.
    """
    if wanted.shape[0] != len(queries):
        raise InputError(f"judgements are of {wanted.shape[0]} queries, and {len(queries)} queries were given")
    kept, n = judged(wanted), wanted.shape[1] if n is None else n
    asked = metrics.named(metrics.suited(METRICS, n) if names is None else names)
    wanted, top = wanted[kept], min(metrics.deepest(asked), n)
    if own_rows is None:
        _, rows = search(queries[kept], top)
    else:
        own = own_rows[kept]
        _, rows = excluding(search)(queries[kept], top, exclude=_one_each(own, n))
        wanted = scipy.sparse.csr_matrix(wanted - wanted.multiply(_one_each(own, wanted.shape[1])))
        wanted.eliminate_zeros()
    return metrics.of_ranking(asked, rows, wanted)


def of_ranking(rows: Rows, wanted: scipy.sparse.csr_matrix) -> dict[str, PerQuery]:
    """`METRICS` of ranked rows, -1 where nothing was found; queries that want nothing score 0."""
    return metrics.of_ranking(metrics.named(METRICS), rows, wanted)


def _one_each(rows: Int[np.ndarray, " q"], n: int) -> scipy.sparse.csr_matrix:
    """Of the rows that are there: a query may be none of them (-1)."""
    there = rows >= 0
    indptr = np.concatenate([[0], np.cumsum(there)])
    return scipy.sparse.csr_matrix((np.ones(indptr[-1], np.int8), rows[there], indptr), shape=(len(rows), n))
