"""Residual quantisation of parts of the dimensions, for budgets at which `rq` is slow."""

from compressae_jax.baselines import quantisers, rq
from compressae_jax.baselines.flat import Flat
from compressae_jax.baselines.quantisers import trainable
from compressae_jax.baselines.units import Vectors, unit_rows

STAGES = 16  # of a part, at most
largest = quantisers.largest


def fit(vectors: Vectors, budget: int | None = None, seed: int = 0) -> Flat:
    """Train `budget` stages in parts of 8 to 16 (default: a stage for every eight dimensions).

    faiss.ProductResidualQuantizer wants parts of one size; these differ by one, so that every budget is filled.

    Raises:
        InputError: faiss is missing, fewer than 256 vectors, or a budget above the width.
    """
    units, budget = trainable("PRQ", vectors, budget)
    return Flat("PRQ", vectors.shape[1], unit_rows, rq.quantiser("PRQ", units, budget, -(-budget // STAGES), seed))
