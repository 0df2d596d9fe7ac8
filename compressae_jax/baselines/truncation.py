"""The first m dimensions in float32, brought back to unit length: what Matryoshka-trained vectors are made for."""

from compressae_jax.baselines.flat import Flat
from compressae_jax.baselines.storage import Float32
from compressae_jax.baselines.units import Vectors, unit_rows
from compressae_jax.notation import check_range


def largest(d: int) -> int:
    """Bytes of the largest form."""
    return 4 * d


def fit(vectors: Vectors, budget: int | None = None) -> Flat:
    """Keep as many leading dimensions as `budget` bytes a vector hold (default: all)."""
    d = vectors.shape[1]
    budget = largest(d) if budget is None else budget
    check_range("budget", budget, 4, largest(d))
    m = budget // 4
    return Flat("truncation", d, lambda x: unit_rows(x[:, :m]), Float32(m))
