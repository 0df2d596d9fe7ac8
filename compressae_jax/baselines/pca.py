"""Uncentred PCA of unit vectors, in float32, int8 or int4; plain leading dimensions live in `truncation`.

Centring would subtract from every inner product a term that differs between rows, and so change the ranking.
"""

import functools

import numpy as np
from jaxtyping import Float

from compressae_jax.baselines.flat import Flat
from compressae_jax.baselines.storage import Float32, Int4Dimensions, Int8Dimensions
from compressae_jax.baselines.units import Vectors, unit_rows
from compressae_jax.notation import check_choice, check_range

BITS = {"float32": 32, "int8": 8, "int4": 4}  # of a dimension


def largest(d: int, storage: str = "float32") -> int:
    """Bytes of the largest form."""
    check_choice("storage", storage, BITS)
    return -(-BITS[storage] * d // 8)


def fit(
    vectors: Vectors,
    budget: int | None = None,
    storage: str = "float32",
    basis: Float[np.ndarray, "d d"] | None = None,
) -> Flat:
    """Keep as many principal directions of vectors as `budget` bytes a vector hold (default: all).

    Rows go back to unit length after the projection: .02 to .04 of recall@100 better than without it at few
    dimensions of text vectors. `basis` is `directions(vectors)` where the caller has it.
    """
    d = vectors.shape[1]
    budget = largest(d, storage) if budget is None else budget
    check_range("budget", budget, largest(1, storage), largest(d, storage))
    m = 8 * budget // BITS[storage]
    kept = (directions(vectors) if basis is None else basis)[:, :m]

    def reduce(x: Vectors) -> Float[np.ndarray, "n m"]:
        return unit_rows(unit_rows(x) @ kept)

    if storage == "float32":
        return Flat("PCA", d, reduce, Float32(m))
    integers = Int8Dimensions if storage == "int8" else Int4Dimensions
    return Flat(f"PCA {storage}", d, reduce, integers(reduce(vectors)))


fit_int8 = functools.partial(fit, storage="int8")
largest_int8 = functools.partial(largest, storage="int8")
fit_int4 = functools.partial(fit, storage="int4")
largest_int4 = functools.partial(largest, storage="int4")


def directions(vectors: Vectors) -> Float[np.ndarray, "d d"]:
    """Eigenvectors of the unit vectors' second moment as columns, float32, by falling eigenvalue."""
    d = vectors.shape[1]
    moment = np.zeros((d, d))
    for start in range(0, len(vectors), 8192):
        block = unit_rows(vectors[start : start + 8192])
        moment += block.T @ block
    return np.ascontiguousarray(np.linalg.eigh(moment)[1][:, ::-1], np.float32)
