"""Rows of unit length in NumPy, of any number at once; the jitted form of one batch lives in `codes.spaces`."""

import numpy as np
from jaxtyping import Float

Vectors = Float[np.ndarray, "n d"]


def unit_rows(x: Vectors) -> Vectors:
    """Each row divided by its length, float32; a zero row stays zero. Safe for any finite magnitude."""
    largest = np.abs(x).max(axis=1, keepdims=True, initial=0)
    x = np.divide(x, largest, out=np.zeros(x.shape, np.float32), where=largest > 0, casting="same_kind")
    length = np.linalg.norm(x, axis=1, keepdims=True)
    return np.divide(x, length, out=x, where=length > 0)
