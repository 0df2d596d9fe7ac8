"""Rows that a protocol searches, as vectors and as codes; who searches them is told in `contenders`."""

import functools
from collections.abc import Iterator

import numpy as np
from jaxtyping import Float, Int

from compressae_jax.codes.rows import Rows
from compressae_jax.data.sampling import Rest
from compressae_jax.data.sources import Source
from compressae_jax.evaluation import streams
from compressae_jax.model.weights import Weights
from compressae_jax.retrieval.index import Index


class Corpus:
    """A source and the rows of its codes without the rows left out (sorted); the others are numbered anew, in order."""

    def __init__(
        self,
        source: Source,
        weights: Weights,
        rows: Rows,
        left_out: Int[np.ndarray, " rows"],
    ):
        self.source, self.weights, self.left_out = source, weights, left_out
        self.rows = Rest(len(source), left_out)  # their numbers in the source
        self.codes = rows[np.asarray(self.rows)] if len(left_out) else rows

    def __len__(self) -> int:
        return len(self.rows)

    def pieces(self) -> Iterator[Float[np.ndarray, "b d"]]:
        """The vectors, in order, piece by piece."""
        for _, vectors in streams.pieces(self.source, self.left_out):
            yield vectors

    def index(self, space: str, k: int) -> Index:
        """The codes of budget k, in a space."""
        return self._of_budget(k).in_space(space)

    @functools.cached_property
    def _index(self) -> Index:
        return Index(self.codes, self.weights, "sparse")

    @functools.lru_cache(maxsize=1)  # noqa: B019, the corpora of an evaluation are few and live as long as it does
    def _of_budget(self, k: int) -> Index:
        if k == self.codes.k:
            return self._index
        return self._index.prefix(k)
