"""The lift of a click-through rate: of users' sums, with the error that their clusters leave; levels are elsewhere.

A click-through rate is a ratio of sums, clicks over impressions, of users who differ and whose impressions depend on
each other. The logarithm of the ratio of two rates is normal for many users, with a variance by linearisation (the
delta method): a user adds (c - R m) / mean c to the logarithm of its variant's rate R.
"""

from typing import NamedTuple

import numpy as np
import scipy.special
from jaxtyping import Float64

from compressae_jax.evaluation.online.sums import Number, Sums


class Lift(NamedTuple):
    """The logarithm of one rate over another, its standard error, and users of both; NaN where a rate is unknown."""

    log: Float64[np.ndarray, "*s"]
    error: Float64[np.ndarray, "*s"]
    users: Float64[np.ndarray, "*s"]

    @property
    def relative(self) -> Float64[np.ndarray, "*s"]:
        """.02: two per cent more clicks an impression."""
        return np.expm1(self.log)

    @property
    def z(self) -> Float64[np.ndarray, "*s"]:
        """Standard errors from no lift."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return self.log / self.error

    def within(self, half: Float64[np.ndarray, "*s"]) -> tuple[Float64[np.ndarray, "*s"], Float64[np.ndarray, "*s"]]:
        """The relative lifts that are so many standard errors below and above."""
        return np.expm1(self.log - half * self.error), np.expm1(self.log + half * self.error)


def of(variant: Sums, base: Sums) -> Lift:
    """The lift of a variant over the base, of sums of one shape."""
    (log, error), (log_base, error_base) = _log_rate(variant), _log_rate(base)
    return Lift(log - log_base, np.hypot(error, error_base), variant.users + base.users)


def rate(sums: Sums) -> Float64[np.ndarray, "*s"]:
    """Clicks an impression."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return sums.c / sums.m


def variance(sums: Sums) -> Float64[np.ndarray, "*s"]:
    """The variance that one user adds to the logarithm of the rate."""
    r = rate(sums)
    with np.errstate(divide="ignore", invalid="ignore"):
        return sums.users * np.maximum(sums.cc - 2 * r * sums.mc + r**2 * sums.mm, 0) / sums.c**2


def fixed(level: Number) -> float:
    """Half the width, in standard errors, of the interval for one look at a number of users set beforehand."""
    return float(scipy.special.ndtri((1 + level) / 2))


def p_fixed(z: Float64[np.ndarray, "*s"]) -> Float64[np.ndarray, "*s"]:
    """Two-sided p for such a look."""
    return 2 * scipy.special.ndtr(-np.abs(z))


def _log_rate(sums: Sums) -> tuple[Float64[np.ndarray, "*s"], Float64[np.ndarray, "*s"]]:
    with np.errstate(divide="ignore", invalid="ignore"):
        log = np.where(sums.c > 0, np.log(rate(sums)), np.nan)
        return log, np.where(sums.c > 0, np.sqrt(variance(sums) / sums.users), np.nan)
