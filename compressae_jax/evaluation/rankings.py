"""What a ranked list of rows earns, one score a query; which lists are ranked is told by the protocols beside this one.

Wanted rows stand in a CSR matrix (queries × rows) of gains: 1, or a grade. Gains count as they are, not as 2^gain − 1;
below 0, as TREC grades junk, they count as 0: not relevant.
"""

import numpy as np
import scipy.sparse
from jaxtyping import Float

from compressae_jax.notation import Rows

PerQuery = Float[np.ndarray, " q"]


def gains(rows: Rows, wanted: scipy.sparse.csr_matrix) -> Float[np.ndarray, "q r"]:
    """The gain at every rank; row -1, which stands for nothing found, gains 0."""
    query = np.arange(len(rows))[:, None]
    if not rows.size or not wanted.nnz:
        return np.zeros(rows.shape)
    found = np.asarray(wanted[np.broadcast_to(query, rows.shape), np.maximum(rows, 0)].todense(), np.float64)
    return np.where(rows >= 0, np.maximum(found, 0), 0)


def ndcg(gained: Float[np.ndarray, "q r"], wanted: scipy.sparse.csr_matrix, top: int) -> PerQuery:
    """nDCG@top: discounted gains over those of the best possible list; 0 where nothing is wanted."""
    ideal = np.zeros((wanted.shape[0], top))
    for query, (start, stop) in enumerate(zip(wanted.indptr[:-1], wanted.indptr[1:], strict=True)):
        best = np.maximum(np.sort(wanted.data[start:stop])[::-1][:top], 0)
        ideal[query, : len(best)] = best
    return _ratio(_discounted(gained[:, :top]), _discounted(ideal))


def recall(gained: Float[np.ndarray, "q r"], wanted: scipy.sparse.csr_matrix, top: int) -> PerQuery:
    """Share of all wanted rows within the first `top`."""
    return _ratio((gained[:, :top] > 0).sum(axis=1), count(wanted))


def capped_recall(gained: Float[np.ndarray, "q r"], wanted: scipy.sparse.csr_matrix, top: int) -> PerQuery:
    """Hits within the first `top`, over as many hits as fit there: min(top, wanted)."""
    return _ratio((gained[:, :top] > 0).sum(axis=1), np.minimum(count(wanted), top))


def precision(gained: Float[np.ndarray, "q r"], wanted: scipy.sparse.csr_matrix, top: int) -> PerQuery:
    """Hits within the first `top`, over `top`."""
    return (gained[:, :top] > 0).sum(axis=1) / top


def average_precision(gained: Float[np.ndarray, "q r"], wanted: scipy.sparse.csr_matrix, top: int) -> PerQuery:
    """The precision at every hit within the first `top`, summed, over all wanted rows."""
    hit = gained[:, :top] > 0
    return _ratio((hit * np.cumsum(hit, axis=1) / np.arange(1, hit.shape[1] + 1)).sum(axis=1), count(wanted))


def reciprocal_rank(gained: Float[np.ndarray, "q r"], wanted: scipy.sparse.csr_matrix, top: int) -> PerQuery:
    """1 / the rank of the first wanted row, 0 where none is within the first `top`."""
    hit = gained[:, :top] > 0
    return hit.any(axis=1) / (1.0 + hit.argmax(axis=1)) if hit.shape[1] else np.zeros(len(hit))


def count(wanted: scipy.sparse.csr_matrix) -> np.ndarray:
    """How many rows every query wants."""
    return np.asarray((wanted > 0).sum(axis=1)).reshape(-1)


def _discounted(gained: Float[np.ndarray, "q r"]) -> PerQuery:
    return gained @ (1 / np.log2(np.arange(2, gained.shape[1] + 2)))


def _ratio(part: np.ndarray, whole: np.ndarray) -> PerQuery:
    return np.divide(part, whole, out=np.zeros(len(part)), where=whole > 0)
