"""Principal directions under a learned rotation, one, two or four bits each: ITQ (Gong & Lazebnik 2011), of more bits.

With float queries, as ASH (arXiv 2606.07870) has them; a random rotation is `binary`'s and `rabitq`'s.
"""

import functools
from statistics import NormalDist

import numpy as np
from jaxtyping import Float

from compressae_jax.baselines import choosing, lloyd_max, pca, projection
from compressae_jax.baselines.flat import Flat
from compressae_jax.baselines.lloyd_max import LloydMax
from compressae_jax.baselines.rotation import random_rotation
from compressae_jax.baselines.storage import Reduced, Storage, Unit
from compressae_jax.baselines.units import Vectors, unit_rows
from compressae_jax.notation import InputError, check_range

BITS = (1, 2, 4)  # of a dimension
ROUNDS = 15  # recall rises no more
ROWS = 8192  # that a rotation is learned from, at most

Square = Float[np.ndarray, "m m"]


def largest(d: int) -> int:
    """Bytes of the largest form."""
    return BITS[-1] * d // 8


def fit(
    vectors: Vectors,
    budget: int | None = None,
    basis: Float[np.ndarray, "d d"] | None = None,
    centred: Float[np.ndarray, "d d"] | None = None,
    seed: int = 0,
) -> Flat:
    """Learn a rotation of as many principal directions as `budget` bytes hold at each number of bits.

    Bits, and whether directions are about zero or about the mean, are those that find most of held-out rows'
    neighbours. The learned rotation begins with a random one, of `seed`. `basis` is `pca.directions(vectors)` where the
    caller has it, `centred` those about the mean.

    Raises:
        InputError: a budget above the largest form, or one that no form fills.
    """
    d = vectors.shape[1]
    budget = largest(d) if budget is None else budget
    check_range("budget", budget, 1, largest(d))
    bits = [b for b in BITS if 8 * budget // b <= d]
    if not bits:
        raise InputError(f"budget must be one that some form of ITQ fills, not {budget}")
    bases = {False: pca.directions(vectors) if basis is None else basis}
    if len(vectors) >= choosing.LEAST:
        bases[True] = pca.directions(vectors, centred=True) if centred is None else centred
    forms = [
        functools.partial(_of_form, kept=turn[:, : 8 * budget // b], bits=b, centred=about_mean, seed=seed)
        for about_mean, turn in bases.items()
        for b in bits
    ]
    return choosing.best(vectors, forms, seed)(vectors)


def _of_form(vectors: Vectors, kept: Float[np.ndarray, "d m"], bits: int, centred: bool, seed: int) -> Flat:
    some = unit_rows(vectors[:: -(-len(vectors) // ROWS)])
    some = (some - some.mean(axis=0)) @ kept if centred else unit_rows(some @ kept)
    turned = np.ascontiguousarray(kept @ rotation(some, bits, seed))
    if centred:
        return projection.about_mean("ITQ", turned, functools.partial(quantiser, bits), vectors)
    return projection.about_zero("ITQ", turned, lambda reduced: Unit(quantiser(bits, reduced)), vectors)


def quantiser(bits: int, reduced: Reduced) -> Storage:
    """Levels of every dimension by Lloyd and Max, as many for each."""
    return LloydMax(reduced, np.full(reduced.shape[1], bits))


def rotation(along: Float[np.ndarray, "n m"], bits: int, seed: int) -> Square:
    """The rotation that brings rows nearest to their levels: each in turn, the other held (Procrustes).

    Levels are a Gaussian's, of each dimension's variance.
    """
    turn = random_rotation(along.shape[1], seed)
    for _ in range(ROUNDS):
        turned = along @ turn
        left, _, right = np.linalg.svd(along.T @ rounded(turned, bits))
        turn = (left @ right).astype(np.float32)
    return turn


def rounded(values: Float[np.ndarray, "n m"], bits: int) -> Float[np.ndarray, "n m"]:
    """Values at the nearest of a Gaussian's levels, which have the root mean square of all of them."""
    units = lloyd_levels(bits) * np.sqrt(np.square(values).mean())
    return units[np.searchsorted((units[1:] + units[:-1]) / 2, values)].astype(np.float32)


@functools.cache
def lloyd_levels(bits: int) -> Float[np.ndarray, " levels"]:
    """Those of a standard Gaussian, learned from its quantiles."""
    quantiles = np.array([NormalDist().inv_cdf((i + 0.5) / 10_000) for i in range(10_000)])
    return lloyd_max.levels(quantiles, bits)
