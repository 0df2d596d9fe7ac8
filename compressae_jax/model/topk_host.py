"""Selection by magnitude on a CPU, a block of rows a call; the loop is in `topk_kernels`."""

import numpy as np
from jaxtyping import Float, Int

ACTIVATIONS = ("topk", "relu_topk", "relu2_topk", "identity")  # φ, by name: see `topk.activate`
POSITIVE = ("relu_topk", "relu2_topk")  # those whose codes have no negative value


def rectify(a: Float[np.ndarray, "b h"], activation: str) -> Float[np.ndarray, "b h"]:
    """As `topk.rectified`, in place."""
    if activation in POSITIVE:
        np.maximum(a, 0, out=a)
    return np.multiply(a, a, out=a) if activation == "relu2_topk" else a


def largest(a: Float[np.ndarray, "b h"], k: int) -> tuple[Float[np.ndarray, "b k"], Int[np.ndarray, "b k"]]:
    """As `topk.largest`: the k entries of largest magnitude of each row, with their sign, and their columns."""
    from compressae_jax.model import topk_kernels

    columns = np.empty((len(a), k), np.int32)
    topk_kernels.select(a, k, columns)
    topk_kernels.order(a, columns)
    return np.take_along_axis(a, columns, axis=1), columns
