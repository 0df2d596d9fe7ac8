"""Full vectors in symmetric int8 with one float32 scale a row; fewer dimensions in int8 live in `pca`."""

from compressae_jax.baselines.flat import Flat
from compressae_jax.baselines.storage import Int8Rows
from compressae_jax.baselines.units import Vectors, unit_rows
from compressae_jax.notation import check_range


def largest(d: int) -> int:
    """Bytes of the only form."""
    return d + 4


def fit(vectors: Vectors, budget: int | None = None) -> Flat:
    """Int8 search over vectors of this width; a `budget` (bytes a vector) must be the d + 4 that it needs."""
    d = vectors.shape[1]
    check_range("budget", largest(d) if budget is None else budget, largest(d), largest(d))
    return Flat("int8", d, unit_rows, Int8Rows(d))
