"""A log of an experiment made a report: lifts over a base, at the end and over time, by segment, and the split."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import scipy.special
from jaxtyping import Bool, Int64

from compressae_jax.evaluation import significance
from compressae_jax.evaluation.online import lift, power, sequences, srm, sums
from compressae_jax.evaluation.online.lift import Lift
from compressae_jax.evaluation.online.log import Log, Places
from compressae_jax.evaluation.online.sums import Number, Sums
from compressae_jax.notation import InputError, check_choice

LEVEL = 0.99
KNOWN = 0.1  # standard error of the logarithm of each rate from which on lifts are taken for normal
LOOKS = 50  # of a log without periods
BASES = ("base", "control", "a", "off")  # what a base is usually called
PLANNED = (0.01, 0.02, 0.05)  # relative lifts whose users are told
CHANCE = 0.9  # power of what is told
LAST = slice(-1, None)

Report = dict[str, Any]


def analyse(
    log: Log,
    base: str | None = None,
    level: Number = LEVEL,
    horizon: Number = sequences.HORIZON,
    shares: Sequence[Number] | None = None,
    seed: int = 0,
) -> Report:
    """What a log says, as JSON has it: docs/AB_TESTS.md explains the fields.

    `base`: the variant that the others are compared with; `level`: of intervals; `horizon`: users of two variants at
    which the sequences are narrowest, set before the first look; `shares`: of users that were sent to the variants, in
    the order of their names (default: equal). `seed` orders users where there are no periods.

    Raises:
        InputError: no such base, a level or horizon or shares that are none, too few clicks.
    """
    check(level, horizon)
    there = _there(log)
    base = _base(there, base)
    others = [name for name in there if name != base]
    period, looks = _looks(log, seed)
    place = {name: log.variant.names.index(name) for name in there}
    whole = _sums(log, log.variant, period, len(looks))
    intended = np.full(len(there), 1 / len(there)) if shares is None else np.asarray(shares, np.float64)
    mismatch = srm.of(np.stack([whole.users[place[name]] for name in there]), intended)
    lifts = [
        {
            "variant": name,
            **_lift(whole.of(place[name]), whole.of(place[base]), level, horizon, looks, timed=log.period is not None),
        }
        for name in others
    ]
    if all(one["lift"] is None for one in lifts):
        raise InputError(
            f"{log.name}: no lift can be measured yet: the rates of two variants must be known within {KNOWN:.0%} "
            "(standard errors), by a hundred users or more who clicked, and not on everything"
        )
    _adjust(lifts)
    return {
        "log": log.name,
        "rows": len(log.user),
        "users_in_two_variants_left_out": log.crossed,
        "level": level,
        "horizon": horizon,
        "base": base,
        "looks": {"of": "periods" if log.period is not None else "users in a random order", "names": looks},
        "split": {"variants": there, **mismatch._asdict(), "mismatch": mismatch.found},
        "variants": [_variant(name, whole.of(place[name], LAST)) for name in there],
        "lifts": lifts,
        "segments": _segments(log, others, base, level, horizon),
        "power": [_power(name, whole.of(place[name], LAST), whole.of(place[base], LAST), level) for name in others],
    }


def check(level: Number, horizon: Number) -> None:
    """Raise InputError unless both are what they must be."""
    if not 0.5 <= level < 1:
        raise InputError(f"level must be from 0.5 to below 1, as 0.99, not {level}")
    if not 1 <= horizon < np.inf:
        raise InputError(f"horizon must be a number of users, at least 1, not {horizon}")


def _there(log: Log) -> list[str]:
    count = np.bincount(log.variant.of, minlength=len(log.variant.names))
    return [name for name, rows in zip(log.variant.names, count, strict=True) if rows]


def _base(there: Sequence[str], asked: str | None) -> str:
    if asked is not None:
        check_choice("base", asked, there)
        return asked
    found = [name for name in there if name.lower() in BASES]
    if len(found) != 1:
        raise InputError(f"base must say which variant the others are compared with: {', '.join(map(repr, there))}")
    return found[0]


def _looks(log: Log, seed: int) -> tuple[Int64[np.ndarray, " n"], list[str]]:
    """The look from which on each row is seen, and what the looks are called."""
    if log.period is not None:
        return log.period.of, log.period.names
    users = int(log.user.max()) + 1
    looks = min(LOOKS, users)
    rank = np.random.default_rng(seed).permutation(users)
    ends = np.cumsum(np.bincount(rank * looks // users, minlength=looks))
    return (rank * looks // users)[log.user], [f"{end:,}" for end in ends]


def _sums(log: Log, group: Places, period: Int64[np.ndarray, " n"], periods: int) -> Sums:
    sizes = len(group.names), periods
    return sums.over_time(group.of, sizes[0], log.user, period, sizes[1], log.impressions, log.clicks)


def _lift(variant: Sums, base: Sums, level: Number, horizon: Number, looks: Sequence[str], timed: bool) -> Report:
    """A lift at the last look, with the curve that led to it."""
    found, known = lift.of(variant, base), _known(variant, base)
    report = _at(found, known, -1, level, horizon)
    if report["lift"] is None:
        return {**report, "first_seen": None, "curve": []}
    half, half_fixed = sequences.half_width(found.users, level, horizon), np.full(len(looks), lift.fixed(level))
    seen = known & (np.abs(found.z) > half)
    p = np.where(known, sequences.p_value(found.z, found.users, level, horizon), 1.0)
    if timed:
        report["p_anytime"] = float(p.min())  # that holds at all looks, so the best of them may be taken
    curve = [
        {
            "look": looks[t],
            "users": int(found.users[t]),
            "lift": float(found.relative[t]),
            "fixed": [float(end[t]) for end in found.within(half_fixed)],
            "anytime": [float(end[t]) for end in found.within(half)],
        }
        for t in np.flatnonzero(known).tolist()
    ]
    first = looks[int(np.argmax(seen))] if timed and seen.any() else None
    return {**report, "first_seen": first, "curve": curve}


def _at(found: Lift, known: Bool[np.ndarray, " t"], t: int, level: Number, horizon: Number) -> Report:
    """A lift with its intervals and p-values at one look; all None where too few clicked for them."""
    names = ("lift", "fixed", "anytime", "p_fixed", "p_anytime")
    if not known[t]:
        return {"users": int(found.users[t]), **dict.fromkeys(names)}
    halves = np.full_like(found.users, lift.fixed(level)), sequences.half_width(found.users, level, horizon)
    fixed, anytime = ([float(end[t]) for end in found.within(half)] for half in halves)
    ps = lift.p_fixed(found.z), sequences.p_value(found.z, found.users, level, horizon)
    values = (float(found.relative[t]), fixed, anytime, *(float(p[t]) for p in ps))
    return {"users": int(found.users[t]), **dict(zip(names, values, strict=True))}


def _known(variant: Sums, base: Sums) -> Bool[np.ndarray, " t"]:
    """Whether both rates are known well enough for a normal lift; no variance at all is no knowledge."""
    with np.errstate(divide="ignore", invalid="ignore"):
        errors = [np.sqrt(lift.variance(one) / one.users) for one in (variant, base)]
    return np.logical_and.reduce([(error > 0) & (error < KNOWN) for error in errors])


def _adjust(lifts: Sequence[Report]) -> None:
    """Add Holm's p-values of the family to each lift that there is."""
    there = [one for one in lifts if one["lift"] is not None]
    for kind in ("fixed", "anytime"):
        adjusted = significance.holm(np.array([one[f"p_{kind}"] for one in there], np.float64))
        for one, p in zip(there, adjusted, strict=True):
            one[f"p_{kind}_holm"] = float(p)


def _segments(log: Log, others: Sequence[str], base: str, level: Number, horizon: Number) -> list[Report]:
    """Each variant in each segment, one family; a user of several segments counts in each with what was done there."""
    if log.segment is None:
        return []
    names, count = log.segment.names, len(log.segment.names)
    group = Places([f"{v}/{s}" for v in log.variant.names for s in names], log.variant.of * count + log.segment.of)
    cells = _sums(log, group, np.zeros_like(log.user), 1)
    users = cells.users.reshape(-1, count).sum(axis=0)
    share = users / users.sum()  # of the horizon: a segment comes to it with the others
    rows = []
    for variant in others:
        for s, name in enumerate(names):
            own, its = (cells.of(log.variant.names.index(v) * count + s) for v in (variant, base))
            found = _at(lift.of(own, its), _known(own, its), 0, level, max(1.0, horizon * share[s]))
            rows.append({"variant": variant, "segment": name, **found})
    _adjust(rows)
    for variant in others:
        seen = [row for row in rows if row["variant"] == variant and row["lift"] is not None]
        for row in seen:
            row["p_segments_differ"] = _differ(seen, level)
    return rows


def _differ(rows: Sequence[Report], level: Number) -> float | None:
    """P that the lifts of a variant's segments are one and the same (Cochran's Q)."""
    if len(rows) < 2:
        return None
    logs = np.array([np.log1p(row["lift"]) for row in rows])
    errors = np.array([np.log1p(row["fixed"][1]) for row in rows]) - logs
    weights = (lift.fixed(level) / errors) ** 2
    q = (weights * (logs - np.average(logs, weights=weights)) ** 2).sum()
    return float(scipy.special.chdtrc(len(rows) - 1, q))


def _variant(name: str, one: Sums) -> Report:
    return {
        "variant": name,
        "users": int(one.users.item()),
        "impressions": int(one.m.item()),
        "clicks": int(one.c.item()),
        "ctr": lift.rate(one).item() if one.m.item() else None,
        "variance_of_a_user": lift.variance(one).item() if one.c.item() else None,
    }


def _power(name: str, own: Sums, base: Sums, level: Number) -> Report:
    """What as many users show, and how many show what, by the variance that the users of this log have."""
    variances = [lift.variance(one).item() if one.c.item() else 0.0 for one in (own, base)]
    if not all(variances):
        return {"variant": name, "least_lift": None, "users_a_variant": None}
    mean = sum(variances) / 2
    # As many users a variant as give the same error where both variants have the mean variance.
    equal = 2 * mean / (variances[0] / own.users.item() + variances[1] / base.users.item())
    return {
        "variant": name,
        "least_lift": {design: power.detectable(equal, mean, level, CHANCE, design) for design in power.DESIGNS},
        "users_a_variant": {
            design: {f"{wanted:g}": round(power.users(wanted, mean, level, CHANCE, design)) for wanted in PLANNED}
            for design in power.DESIGNS
        },
    }
