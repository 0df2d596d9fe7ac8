"""The running top r of exact scores seen block by block, in NumPy; what makes the scores lives in `flat`."""

import numpy as np
from jaxtyping import Float

from compressae_jax.notation import Rows, Scores


class TopRows:
    """The r best rows of q queries so far: higher score first, then the lower row number."""

    def __init__(self, q: int, top: int):
        self.scores = np.full((q, top), -np.inf, np.float32)
        self.rows = np.full((q, top), -1, np.int64)

    def absorb(self, scores: Float[np.ndarray, "q c"], first_row: int) -> None:
        """Merge the finite scores of c rows that start at `first_row`, above all rows seen before."""
        query, column = np.nonzero(self._contenders(scores))
        q, top = self.scores.shape
        of_query = np.concatenate([np.repeat(np.arange(q), top), query])
        rows = np.concatenate([self.rows.reshape(-1), first_row + column])
        scores = np.concatenate([self.scores.reshape(-1), scores[query, column]])
        order = np.lexsort((rows, -scores, of_query))
        # Every query brings its own r old entries, so it has at least r to keep.
        first = np.searchsorted(of_query[order], np.arange(q))
        kept = order[first[:, None] + np.arange(top)]
        self.scores, self.rows = scores[kept], rows[kept]

    def _contenders(self, scores: np.ndarray) -> np.ndarray:
        """Scores that may enter; those equal to the r-th best so far lose to it, since their rows are higher."""
        worst = self.scores[:, -1:]
        top = self.scores.shape[1]
        if scores.shape[1] <= top or not np.isneginf(worst).any():
            return scores > worst
        return scores >= np.partition(scores, -top, axis=1)[:, -top, None]

    def result(self) -> tuple[Scores, Rows]:
        """Scores float32 and rows int64; minus infinity at row -1 where fewer than r rows were seen."""
        return self.scores, self.rows
