"""The exact peer: unit vectors in float32, searched by cosine; it is also the truth of the neighbour protocol."""

from compressae_jax.baselines.flat import Flat
from compressae_jax.baselines.storage import Float32
from compressae_jax.baselines.units import Vectors, unit_rows
from compressae_jax.notation import check_range


def largest(d: int) -> int:
    """Bytes of the largest form."""
    return 4 * d


def fit(vectors: Vectors, budget: int | None = None) -> Flat:
    """Dense search over vectors of this width; a `budget` (bytes a vector) must hold all of them."""
    d = vectors.shape[1]
    check_range("budget", largest(d) if budget is None else budget, largest(d), largest(d))
    return Flat("dense float32", d, unit_rows, Float32(d))
