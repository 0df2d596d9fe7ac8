"""Unit vectors along some directions, about their mean or not: what of them is stored; how it is stored: `storage`."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float

from compressae_jax.baselines.flat import Flat
from compressae_jax.baselines.storage import Centred, Reduced, Storage
from compressae_jax.baselines.units import Vectors, unit_rows

ROUNDING = 1e-4  # of the mean: less beside the directions is none

Columns = Float[np.ndarray, "d m"]


def about_zero(name: str, kept: Columns, make: Callable[[Reduced], Storage], vectors: Vectors) -> Flat:
    """Rows along orthonormal directions `kept`, back at unit length before they are stored."""

    def reduce(x: Vectors) -> Float[np.ndarray, "n m"]:
        return unit_rows(unit_rows(x) @ kept)

    return Flat(name, len(kept), reduce, make(reduce(vectors)))


def about_mean(name: str, kept: Columns, make: Callable[[Reduced], Storage], vectors: Vectors) -> Flat:
    """Rows less their mean along orthonormal directions `kept`; decoded, with the mean, they are of unit length.

    The mean is a constant of the fit: what of it lies beside the directions kept is one dimension more, of no bytes.
    """
    mean = unit_rows(vectors).mean(axis=0)
    beside = mean - kept @ (mean @ kept)
    length = np.linalg.norm(beside)
    beside = beside / length if length > ROUNDING * np.linalg.norm(mean) else np.zeros_like(mean)
    columns = np.hstack([kept, beside[:, None]])

    def reduce(x: Vectors) -> Float[np.ndarray, "n p"]:
        return unit_rows(x) @ columns

    return Flat(name, len(kept), reduce, Centred(make, reduce(vectors)))
