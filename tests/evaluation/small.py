"""A model with random weights and rows to use it on, for the tests of this folder."""

import numpy as np

from compressae_jax.baselines.units import unit_rows
from compressae_jax.model.weights import Weights


def weights(d: int = 12, h: int = 40, k: int = 6, seed: int = 0) -> Weights:
    """Unit decoder rows, the encoder their transpose."""
    decoder = unit_rows(np.random.default_rng(seed).normal(size=(h, d)).astype(np.float32))
    params = {"encoder_w": decoder.T.copy(), "encoder_b": np.zeros(h, np.float32), "decoder_w": decoder}
    return Weights(params, h, k)


def vectors(n: int, d: int = 12, seed: int = 1) -> np.ndarray:
    """Rows about a few centres."""
    rng = np.random.default_rng(seed)
    return (rng.normal(size=(7, d))[rng.integers(7, size=n)] + 0.4 * rng.normal(size=(n, d))).astype(np.float32)
