"""Searches that leave rows out: by their own `exclude`, or, of those that know none, by asking deeper."""

import inspect
from collections.abc import Callable

import numpy as np
import scipy.sparse
from jaxtyping import Float, Integer

from compressae_jax.evaluation import rankings
from compressae_jax.notation import Rows, Scores

Search = Callable[..., tuple[Scores, Rows]]  # of queries and top and, where rows are left out, `exclude` (q, n)


def excluding(search: Search) -> Search:
    """A search that takes `exclude`, a matrix (q, n): itself, or one that asks for as many more as are left out."""
    parameters = inspect.signature(search).parameters.values()
    if any(one.name == "exclude" or one.kind is inspect.Parameter.VAR_KEYWORD for one in parameters):
        return search

    def deeper(queries: np.ndarray, top: int, exclude: scipy.sparse.csr_matrix) -> tuple[Scores, Rows]:
        most = int(np.diff(exclude.indptr).max(initial=0))
        scores, rows = search(queries, min(top + most, exclude.shape[1]))
        return without(scores, rows, exclude, top)

    return deeper


def without(
    scores: Scores, rows: Rows, banned: scipy.sparse.csr_matrix, top: int
) -> tuple[Float[np.ndarray, "q t"], Integer[np.ndarray, "q t"]]:
    """The first `top` of every ranking after its banned rows are taken out; -inf at row -1 stands for those."""
    out = (rankings.gains(rows, abs(banned)) != 0) | (rows < 0)
    order = np.argsort(out, axis=1, kind="stable")[:, :top]
    out = np.take_along_axis(out, order, axis=1)
    scores = np.where(out, -np.inf, np.take_along_axis(scores, order, axis=1))
    return scores, np.where(out, -1, np.take_along_axis(rows, order, axis=1))
