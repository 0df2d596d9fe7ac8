"""Sample-ratio mismatch: whether as many users came to each variant as were sent; if not, no lift can be trusted."""

from typing import NamedTuple

import numpy as np
import scipy.special
from jaxtyping import Float64

from compressae_jax.notation import InputError

STRICT = 0.001  # a p below it is a mismatch: a correct split of 1,000 experiments has one
CONCENTRATION = 100.0  # users that the prior of the sequential test counts for


class Mismatch(NamedTuple):
    """Users of each variant, their shares as intended, p of one look and p that holds at all looks."""

    users: list[int]
    shares: list[float]
    p: float
    p_anytime: float

    @property
    def found(self) -> bool:
        """Whether the split is not the intended one."""
        return min(self.p, self.p_anytime) < STRICT


def of(users: Float64[np.ndarray, "v t"], shares: Float64[np.ndarray, " w"]) -> Mismatch:
    """Of the users in each variant up to each look, the last one whole, and the shares that they were sent in.

    Raises:
        InputError: shares that are not one a variant, above 0, with the sum 1.
    """
    if len(shares) != len(users) or not (shares > 0).all() or abs(shares.sum() - 1) > 1e-6:
        raise InputError(f"shares must be one a variant ({len(users)}), above 0, with the sum 1, not {shares.tolist()}")
    last = users[:, -1]
    expected = last.sum() * shares
    p = scipy.special.chdtrc(len(shares) - 1, ((last - expected) ** 2 / expected).sum())
    counts = last.astype(int).tolist()
    return Mismatch(counts, shares.tolist(), float(p), float(sequential(users, shares).min()))


def sequential(users: Float64[np.ndarray, "v t"], shares: Float64[np.ndarray, " v"]) -> Float64[np.ndarray, " t"]:
    """P at each look, valid at all: Lindon and Malek (2022), a multinomial against its mixture by Dirichlet's prior."""
    prior = CONCENTRATION * shares[:, None]
    log_odds = _log_beta(prior + users) - _log_beta(prior) - (users * np.log(shares[:, None])).sum(axis=0)
    return np.minimum(1, np.exp(-log_odds))


def _log_beta(weights: Float64[np.ndarray, "v t"]) -> Float64[np.ndarray, " t"]:
    return scipy.special.gammaln(weights).sum(axis=0) - scipy.special.gammaln(weights.sum(axis=0))
