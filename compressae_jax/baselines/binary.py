"""Signs of the dimensions, a bit each, scored by the float query; factors beside the signs live in `rabitq`."""

import functools

import numpy as np
from jaxtyping import Float

from compressae_jax.baselines import choosing, pca, projection
from compressae_jax.baselines.flat import Flat
from compressae_jax.baselines.rotation import random_rotation
from compressae_jax.baselines.storage import Reduced, Signs
from compressae_jax.baselines.units import Vectors
from compressae_jax.notation import check_range


def largest(d: int) -> int:
    """Bytes of the signs of all dimensions."""
    return -(-d // 8)


def fit(
    vectors: Vectors,
    budget: int | None = None,
    basis: Float[np.ndarray, "d d"] | None = None,
    centred: Float[np.ndarray, "d d"] | None = None,
    seed: int = 0,
) -> Flat:
    """Keep the signs of the vector, or of as many principal directions as `budget` bytes hold, rotated at random.

    The threshold is zero, or each dimension's mean, about which a bit stands for the mean deviation: whichever finds
    more of held-out rows' neighbours. The query scores every row: what a Hamming pass with rescoring comes near to,
    from below, when it rescores some. `basis` is `pca.directions(vectors)` where the caller has it,
    `centred` those about the mean.
    """
    d = vectors.shape[1]
    budget = largest(d) if budget is None else budget
    check_range("budget", budget, 1, largest(d))
    if budget == largest(d):
        name, turns = "binary", [np.eye(d, dtype=np.float32)] * 2
    else:
        name, turn = "PCA binary", random_rotation(8 * budget, seed)
        plain = pca.directions(vectors) if basis is None else basis
        about = pca.directions(vectors, centred=True) if centred is None else centred
        turns = [one[:, : 8 * budget] @ turn for one in (plain, about)]
    forms = [
        functools.partial(projection.about_zero, name, turns[0], lambda reduced: Signs(reduced.shape[1])),
        functools.partial(projection.about_mean, name, turns[1], deviations),
    ]
    return choosing.best(vectors, forms, seed)(vectors)


def deviations(reduced: Reduced) -> Signs:
    """Signs that stand for each dimension's mean magnitude."""
    return Signs(reduced.shape[1], np.abs(reduced).mean(axis=0))
