"""A random rotation, after which all dimensions carry alike; one that is learned lives in `opq`."""

import numpy as np
from jaxtyping import Float


def random_rotation(m: int, seed: int) -> Float[np.ndarray, "m m"]:
    """An orthogonal matrix drawn evenly from all of them, float32."""
    q, r = np.linalg.qr(np.random.default_rng(seed).normal(size=(m, m)))
    return (q * np.sign(np.diag(r))).astype(np.float32)
