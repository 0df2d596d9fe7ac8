"""Rows that a protocol searches, as vectors and as codes; who searches them is told in `contenders`."""

import functools
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from compressae_jax.codes.rows import Rows
from compressae_jax.data.sampling import Rest
from compressae_jax.data.sources import Source
from compressae_jax.evaluation import streams
from compressae_jax.model.weights import Weights
from compressae_jax.retrieval.index import Index

OWN = "own"  # among sets of codes: those of the run's own model


class Coded(NamedTuple):
    """One model's codes of the rows of a source, of a budget of bytes where one chose them."""

    weights: Weights
    rows: Rows
    budget: int | None = None


class Corpus:
    """A source and its codes, one set a model, without the rows left out (sorted); the others are numbered anew."""

    def __init__(self, source: Source, coded: Mapping[str, Coded], left_out: Int[np.ndarray, " rows"]):
        self.source, self.left_out = source, left_out
        self.rows = Rest(len(source), left_out)  # their numbers in the source
        kept = np.asarray(self.rows) if len(left_out) else slice(None)
        self.coded = {name: one._replace(rows=one.rows[kept]) for name, one in coded.items()}

    def __len__(self) -> int:
        return len(self.rows)

    def pieces(self) -> Iterator[Float[np.ndarray, "b d"]]:
        """The vectors, in order, piece by piece."""
        for _, vectors in streams.pieces(self.source, self.left_out):
            yield vectors

    def index(self, of: str, space: str, k: int) -> Index:
        """The codes of one set, of k nonzeros, in a space."""
        return self._of_k(of, k).in_space(space)

    @functools.cache  # noqa: B019, the corpora of an evaluation are few and live as long as it does
    def _index(self, of: str) -> Index:
        return Index(self.coded[of].rows, self.coded[of].weights, "sparse")

    @functools.lru_cache(maxsize=1)  # noqa: B019
    def _of_k(self, of: str, k: int) -> Index:
        if k == self.coded[of].rows.k:
            return self._index(of)
        return self._index(of).prefix(k)
