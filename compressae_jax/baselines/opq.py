"""Optimised product quantisation by faiss: a rotation learned for the quantiser that `pq` has."""

import numpy as np
from jaxtyping import Float

from compressae_jax.baselines import pq, quantisers
from compressae_jax.baselines.flat import Flat
from compressae_jax.baselines.quantisers import load_faiss, seed_k_means, trainable
from compressae_jax.baselines.units import Vectors, unit_rows

largest = quantisers.largest


def fit(vectors: Vectors, budget: int | None = None, seed: int = 0) -> Flat:
    """Train a rotation and a quantiser of `budget` subspaces (default: one for every eight dimensions).

    Raises:
        InputError: faiss is missing, fewer than 256 vectors, or a budget above the width.
    """
    units, budget = trainable("OPQ", vectors, budget)
    turn = rotation(units, budget, seed)

    def reduce(x: Vectors) -> Float[np.ndarray, "n m"]:
        return unit_rows(x) @ turn

    return Flat("OPQ", vectors.shape[1], reduce, pq.quantiser("OPQ", turn.shape[1], budget, seed).train(units @ turn))


def rotation(units: Vectors, subspaces: int, seed: int) -> Float[np.ndarray, "d m"]:
    """Orthonormal rows, learned in faiss's 50 rounds; m is d, or the next multiple of the subspaces."""
    faiss = load_faiss("OPQ")
    d = units.shape[1]
    m = -(-d // subspaces) * subspaces
    quantiser = faiss.ProductQuantizer(m, subspaces, 8)
    seed_k_means(quantiser.cp, seed)
    matrix = faiss.OPQMatrix(d, subspaces, m)
    matrix.pq = quantiser
    matrix.train(units)
    return np.ascontiguousarray(faiss.vector_to_array(matrix.A).reshape(m, d).T)
