"""Transform coding: principal directions, bits dealt over them by variance, levels by Lloyd and Max.

What SAQ (arXiv 2509.12086) and MRQ do by segments, a dimension at a time, without their factors beside the row.
"""

import functools

import numpy as np
from jaxtyping import Float

from compressae_jax.baselines import choosing, lloyd_max, pca
from compressae_jax.baselines.flat import Flat
from compressae_jax.baselines.lloyd_max import LloydMax
from compressae_jax.baselines.storage import Unit
from compressae_jax.baselines.units import Vectors, unit_rows
from compressae_jax.notation import check_range

Basis = Float[np.ndarray, "d d"]


def largest(d: int) -> int:
    """Bytes of the largest form: a byte a dimension."""
    return lloyd_max.MOST_BITS * d // 8


def fit(vectors: Vectors, budget: int | None = None, basis: Basis | None = None, centred: Basis | None = None) -> Flat:
    """Deal the bits of `budget` bytes (default: the most) over principal directions.

    Of the second moment or of the covariance, whichever finds more of held-out rows' neighbours. Decoded rows go back
    to unit length; a direction without bits stands for its mean. `basis` is `pca.directions(vectors)` where the caller
    has it, `centred` those about the mean.
    """
    d = vectors.shape[1]
    budget = largest(d) if budget is None else budget
    check_range("budget", budget, 1, largest(d))
    turns = [pca.directions(vectors) if basis is None else basis]
    if len(vectors) >= choosing.LEAST:
        turns.append(pca.directions(vectors, centred=True) if centred is None else centred)
    forms = [functools.partial(_of_turn, turn=turn, budget=budget) for turn in turns]
    return choosing.best(vectors, forms)(vectors)


def _of_turn(vectors: Vectors, turn: Basis, budget: int) -> Flat:
    def reduce(x: Vectors) -> Float[np.ndarray, "n d"]:
        return unit_rows(x) @ turn

    along = reduce(vectors)
    bits = lloyd_max.deal(along.var(axis=0), 8 * budget)
    return Flat("transform coding", len(turn), reduce, Unit(LloydMax(along, bits)))
