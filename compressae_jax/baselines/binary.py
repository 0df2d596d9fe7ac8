"""Signs of the dimensions, a bit each, scored by the float query; factors beside the signs live in `rabitq`."""

import numpy as np
from jaxtyping import Float

from compressae_jax.baselines import pca
from compressae_jax.baselines.flat import Flat
from compressae_jax.baselines.rotation import random_rotation
from compressae_jax.baselines.storage import Signs
from compressae_jax.baselines.units import Vectors, unit_rows
from compressae_jax.notation import check_range


def largest(d: int) -> int:
    """Bytes of the signs of all dimensions."""
    return -(-d // 8)


def fit(
    vectors: Vectors, budget: int | None = None, basis: Float[np.ndarray, "d d"] | None = None, seed: int = 0
) -> Flat:
    """Keep the signs of the vector, or of as many principal directions as `budget` bytes hold, rotated at random.

    The query scores every row: what a Hamming pass with rescoring comes near to, from below, when it rescores some.
    `basis` is `pca.directions(vectors)` where the caller has it.
    """
    d = vectors.shape[1]
    budget = largest(d) if budget is None else budget
    check_range("budget", budget, 1, largest(d))
    if budget == largest(d):
        return Flat("binary", d, unit_rows, Signs(d))
    m = 8 * budget
    turn = (pca.directions(vectors) if basis is None else basis)[:, :m] @ random_rotation(m, seed)

    def reduce(x: Vectors) -> Float[np.ndarray, "n m"]:
        return unit_rows(unit_rows(x) @ turn)

    return Flat("PCA binary", d, reduce, Signs(m))
