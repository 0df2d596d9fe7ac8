"""What an experiment could show before it is run: variance of a user by a model, power, users needed.

The model: a user has m impressions, of mean M and coefficient of variation `spread`, and clicks each with a probability
of its own, of mean `ctr` and coefficient of variation `taste`, independent of m.
"""

import numpy as np
import scipy.special

from compressae_jax.evaluation.online import lift, sequences
from compressae_jax.evaluation.online.sums import Number
from compressae_jax.notation import InputError, check_choice

DESIGNS = ("fixed", "anytime")


def variance(ctr: Number, impressions: Number, spread: Number = 0.0, taste: Number = 0.0) -> float:
    """The variance that one user adds to the logarithm of a rate, as `lift.variance` measures it.

    Raises:
        InputError: a rate outside 0 to 1, no impression, a coefficient of variation that no probability can have, or
            numbers so extreme that the variance is none.
    """
    if not 0 < ctr < 1:
        raise InputError(f"ctr must lie between 0 and 1, not {ctr}")
    if not impressions >= 1 or not np.isfinite(impressions):
        raise InputError(f"impressions a user must be at least 1, not {impressions}")
    if not 0 <= spread < np.inf:
        raise InputError(f"spread must be at least 0, not {spread}")
    between = np.sqrt((1 - ctr) / ctr)
    if not 0 <= taste <= between:
        raise InputError(f"taste must be from 0 to {between:.3g}, which a rate of {ctr} leaves, not {taste}")
    chance = ((1 - ctr) / ctr - taste * taste) / impressions
    found = float(chance + (1 + spread * spread) * (taste * taste))  # products, since ** raises where they are infinite
    if not np.isfinite(found):
        raise InputError(
            f"ctr, spread and taste must leave a finite variance, not {found}: they are {ctr}, {spread} and {taste}"
        )
    return found


def power(relative: Number, users: Number, variance: Number, level: Number, design: str = "fixed") -> float:
    """The chance that a lift is seen with so many users a variant: at the end, for either design.

    A sequence that is looked at earlier, too, sees it no less often.

    Raises:
        InputError: an unknown design, a lift of -1 or less.
    """
    error = np.sqrt(2 * variance / users)
    shift, half = abs(_log(relative)) / error, factor(level, design)
    return float(scipy.special.ndtr(shift - half) + scipy.special.ndtr(-shift - half))


def users(relative: Number, variance: Number, level: Number, power: Number = 0.9, design: str = "fixed") -> float:
    """The users a variant with which a lift is seen with this chance; of a sequence whose horizon they are.

    Raises:
        InputError: as `power`; no lift, or next to none; a power that is no chance.
    """
    if not 0 < power < 1:
        raise InputError(f"power must lie between 0 and 1, not {power}")
    if not relative:
        raise InputError("lift must not be 0: no number of users shows that there is none")
    errors = float(factor(level, design) + scipy.special.ndtri(power)) / _log(relative)
    found = 2 * float(variance) * (errors * errors)
    if not np.isfinite(found):
        raise InputError(f"lift must be so large that a number of users shows it, not {relative}")
    return found


def detectable(users: Number, variance: Number, level: Number, power: Number = 0.9, design: str = "fixed") -> float:
    """The least relative lift that so many users a variant show with this chance."""
    half = factor(level, design) + scipy.special.ndtri(power)
    return float(np.expm1(half * np.sqrt(2 * variance / users)))


def factor(level: Number, design: str) -> float:
    """Half the width in standard errors, of a sequence at its horizon."""
    check_choice("design", design, DESIGNS)
    if design == "fixed":
        return lift.fixed(level)
    return float(sequences.half_width(np.ones(1), level, 1)[0])


def _log(relative: Number) -> float:
    if not -1 < relative < np.inf:
        raise InputError(f"lift must be above -1 (that is -100 %), not {relative}")
    return float(np.log1p(relative))
