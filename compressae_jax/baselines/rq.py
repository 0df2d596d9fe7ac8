"""Residual quantisation by faiss: a byte a stage, each on what the stages before leave; many stages are for `prq`."""

from compressae_jax.baselines.flat import Flat
from compressae_jax.baselines.quantisers import Parts, even, load_faiss, seed_k_means, trainable
from compressae_jax.baselines.units import Vectors, unit_rows

# Half faiss's five in training: within .005 of their recall@100, at less than half of their time.
TRAINING_BEAM, BEAM = 2, 16
STAGES = 64  # tables of encoding take half a gigabyte then, and grow with the square


def largest(d: int) -> int:
    """Bytes of the largest form."""
    return min(d, STAGES)


def fit(vectors: Vectors, budget: int | None = None, seed: int = 0) -> Flat:
    """Train `budget` stages, one byte each (default: one for every eight dimensions).

    Raises:
        InputError: faiss is missing, fewer than 256 vectors, or a budget above the largest.
    """
    units, budget = trainable("RQ", vectors, budget, largest(vectors.shape[1]))
    return Flat("RQ", vectors.shape[1], unit_rows, quantiser("RQ", units, budget, 1, seed))


def quantiser(name: str, units: Vectors, stages: int, splits: int, seed: int) -> Parts:
    """Stages trained on each of the splits of the dimensions."""
    faiss = load_faiss(name)
    sizes = zip(even(units.shape[1], splits), even(stages, splits), strict=True)
    parts = Parts(faiss.ResidualQuantizer(width, count, 8) for width, count in sizes)
    for one in parts.quantisers:
        seed_k_means(one.cp, seed)
        one.max_beam_size = TRAINING_BEAM
    parts.train(units)
    for one in parts.quantisers:
        one.max_beam_size, one.use_beam_LUT = BEAM, 1  # by tables: five times as fast
    return parts
