"""Product quantisation by faiss: a byte a subspace; a learned rotation before it lives in `opq`."""

import collections

from compressae_jax.baselines import quantisers
from compressae_jax.baselines.flat import Flat
from compressae_jax.baselines.quantisers import Parts, even, load_faiss, seed_k_means, trainable
from compressae_jax.baselines.units import Vectors, unit_rows

largest = quantisers.largest


def fit(vectors: Vectors, budget: int | None = None, seed: int = 0) -> Flat:
    """Train a quantiser of `budget` subspaces, one byte each (default: one for every eight dimensions).

    Raises:
        InputError: faiss is missing, fewer than 256 vectors, or a budget above the width.
    """
    units, budget = trainable("PQ", vectors, budget)
    return Flat("PQ", vectors.shape[1], unit_rows, quantiser("PQ", vectors.shape[1], budget, seed).train(units))


def quantiser(name: str, d: int, subspaces: int, seed: int) -> Parts:
    """Untrained subspaces whose widths differ by at most one: faiss has them of one width, so the wider come apart."""
    faiss = load_faiss(name)
    counts = collections.Counter(even(d, subspaces))
    parts = Parts(faiss.ProductQuantizer(width * count, count, 8) for width, count in counts.items())
    for one in parts.quantisers:
        seed_k_means(one.cp, seed)
    return parts
