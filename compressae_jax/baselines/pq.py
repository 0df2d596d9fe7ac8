"""Product quantisation by faiss, 8 bits a subspace, inner product on unit vectors; needs the extra [bench]."""

from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

from compressae_jax.baselines.flat import Flat
from compressae_jax.baselines.units import Vectors, unit_rows
from compressae_jax.notation import InputError, check_range

CENTROIDS = 256  # of a subspace: one byte


def largest(d: int) -> int:
    """Bytes of the largest form: a code for every dimension."""
    return d


def fit(vectors: Vectors, budget: int | None = None) -> Flat:
    """Train a quantiser of `budget` subspaces, one byte each (default: one for every eight dimensions).

    Raises:
        InputError: faiss is missing, fewer than 256 vectors, or a budget above the width.
    """
    quantiser = Quantiser(vectors.shape[1], max(1, vectors.shape[1] // 8) if budget is None else budget)
    quantiser.train(unit_rows(vectors))
    return Flat("PQ", vectors.shape[1], unit_rows, quantiser)


class Quantiser:
    """faiss's ProductQuantizer for any number of subspaces up to d.

    faiss wants subspaces of one width; here the wider are filled up to it with zeros, which cost and change nothing.
    """

    def __init__(self, d: int, subspaces: int):
        check_range("budget", subspaces, 1, largest(d))
        self.width = subspaces
        sub_width = -(-d // subspaces)
        self._padded = subspaces * sub_width
        dimension = np.arange(d)
        subspace = dimension * subspaces // d
        first = np.searchsorted(subspace, np.arange(subspaces))
        self._places = subspace * sub_width + dimension - first[subspace]
        self._pq = _faiss().ProductQuantizer(self._padded, subspaces, 8)

    def train(self, units: Vectors) -> None:
        """k-means in every subspace, faiss's defaults (25 rounds, at most 65,536 rows)."""
        if len(units) < CENTROIDS:
            raise InputError(f"PQ must be trained on at least {CENTROIDS} vectors, not {len(units)}")
        self._pq.train(self._pad(units))

    def pack(self, reduced: Vectors) -> UInt8[np.ndarray, "n m"]:
        """The nearest centroid of every subspace."""
        return self._pq.compute_codes(self._pad(reduced))

    def unpack(self, stored: UInt8[np.ndarray, "n m"]) -> Vectors:
        """The centroids side by side."""
        return self._pq.decode(np.ascontiguousarray(stored))[:, self._places]

    def _pad(self, x: Vectors) -> Float[np.ndarray, "n p"]:
        padded = np.zeros((len(x), self._padded), np.float32)
        padded[:, self._places] = x
        return padded


def _faiss() -> Any:
    try:
        import faiss
    except ImportError as error:
        raise InputError("the baseline 'pq' needs faiss: pip install 'compressae_jax[bench]'") from error
    return faiss
