"""What an ideal code of so many bits would find, as a mark beside real ones: the rate-distortion limit of a Gaussian.

A source with some covariance needs no more bits for a mean squared error than the Gaussian with that covariance does
(Cover & Thomas, Elements of Information Theory, 10.3.3 and problem 10.8: reverse water-filling over the principal
directions). Its rows are simulated: each direction loses what the limit says and gains the noise of its test channel.
Codes may do better, where the data is not Gaussian; where they do worse, bits are left.
"""

import numpy as np

from compressae_jax.baselines import pca
from compressae_jax.baselines.units import unit_rows


def rows(training: np.ndarray, budget: int, seed: int, searched: np.ndarray) -> np.ndarray:
    """Vectors to decode `searched` as, with the second moments of the training rows and `budget` bytes each."""
    basis = pca.directions(training).astype(np.float64)
    variances = np.maximum(((unit_rows(training) @ basis) ** 2).mean(axis=0), 1e-12)
    lost = np.minimum(variances, water_level(variances, 8 * budget))
    kept = 1 - lost / variances
    noise = np.random.default_rng(seed).standard_normal(searched.shape)
    along = unit_rows(searched) @ basis
    return ((kept * along + np.sqrt(lost * kept) * noise) @ basis.T).astype(np.float32)


def water_level(variances: np.ndarray, bits: float) -> float:
    """The error of every direction that gets bits, by bisection: Σ ½ log2(variance / level) over those above it."""
    low, high = 1e-15, float(variances.max())
    for _ in range(200):
        level = np.sqrt(low * high)
        needed = 0.5 * np.log2(np.maximum(variances / level, 1)).sum()
        low, high = (level, high) if needed > bits else (low, level)
    return level
