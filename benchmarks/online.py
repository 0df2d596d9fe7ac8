"""What the paper's A/B test could show: its lifts, confirmed or not by simulated users, 8.5 million a variant.

    python -m benchmarks.online --out=results                # a minute on two cores
    python -m benchmarks.online --out=results --size=small   # some seconds

The subject is statistical power, so simulation is the method; nothing here is a measurement of the paper's system. The
paper (arXiv 2505.11388) gives some 8.5 million users a variant, anytime-valid 99 % intervals and the lifts of the
click-through rate (CTR) below. It gives neither the rate nor impressions a user nor how much users differ: these are
the axes. Users are drawn by the model of `evaluation.online.power`; what an experiment keeps of a block of users, the
five sums that its lifts are made of, is drawn as a normal vector with the mean and covariance that such users have.
"""

import argparse
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

from benchmarks import timing
from compressae_jax.evaluation.online import analysis, lift, power, sequences, sums

USERS, LEVEL, CHANCE = 8.5e6, 0.99, 0.9
ARMS = {"SBERT-512": 0.0, "Nomic-768": 0.0486, "CompresSAE": 0.0344, "Matryoshka-64": 0.0189}
CLAIMS = (
    ("Nomic-768", "SBERT-512"),
    ("CompresSAE", "SBERT-512"),
    ("Matryoshka-64", "SBERT-512"),
    ("CompresSAE", "Matryoshka-64"),
    ("Nomic-768", "CompresSAE"),
)
ASKED = CLAIMS[3]  # the paper's comparison at equal bytes
# Coefficients of variation between users: of impressions, and of the probability of a click.
USERS_ARE = {"alike": (0.0, 0.0), "different": (1.0, 1.0), "very different": (3.0, 2.0)}
CTRS = (0.005, 0.01, 0.02, 0.05)
IMPRESSIONS = (3, 10, 30, 100)
COLUMNS = ("users are", "CTR", "impressions", "clicks a user", "variance", "half width")
VARIANCES = (1.0, 3.0, 10.0, 30.0, 100.0)
FEW = 10_000  # users of a variant whose sums are near to normal
PIECE = 200  # experiments at once
SIZES = {
    "full": {
        "experiments": 2000,
        "looks": 100,
        "pool": 400_000,
        "false": 20_000,
        "drawn": int(USERS),
        "false_drawn": 1000,
        "small": 50_000,
    },
    "small": {
        "experiments": 200,
        "looks": 20,
        "pool": 20_000,
        "false": 1000,
        "drawn": 100_000,
        "false_drawn": 50,
        "small": 5000,
    },
}


class Users(NamedTuple):
    """Of one variant: the mean of (m, c, mm, mc, cc) over users, and a root of its covariance."""

    mean: np.ndarray
    root: np.ndarray


def main() -> None:
    """Simulate, write online.json, online.md and online.png."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--size", default="full", choices=SIZES)
    parser.add_argument("--out", default="", help="folder for online.json, online.md and online.png")
    flags = parser.parse_args()
    report = simulated(SIZES[flags.size]) | {"command": f"python -m benchmarks.online --size={flags.size}"}
    text = table(report)
    if flags.out:
        timing.write(flags.out, "online", report, text)
        draw(report, Path(flags.out) / "online.png")
    print(text)


def simulated(size: dict[str, int]) -> dict[str, Any]:
    """All cells, false alarms, and what 8.5 million users are enough for."""
    start = time.perf_counter()
    cells = [(are, ctr, m) for are in USERS_ARE for ctr in CTRS for m in IMPRESSIONS]
    report = {
        "claim": "which lifts of the paper's A/B test as many users confirm, by what is not published about them",
        "data": "simulated users; the subject is statistical power",
        "settings": {**size, "users_a_variant": USERS, "level": LEVEL, "power": CHANCE, "arms": ARMS, "seed": 0},
        "claims": [{"of": of, "over": over, "lift": claimed(of, over)} for of, over in CLAIMS],
        "limits": [limits(claimed(*claim)) for claim in CLAIMS],
        "cells": [cell(number, *one, size) for number, one in enumerate(tqdm(cells, "cells"))],
        "false_alarms": [
            alarms(are, 0.02, 10, size, one_by_one) for one_by_one in (False, True) for are in tqdm(USERS_ARE, "alarms")
        ],
        "drawn": checked(size["drawn"]),
        "machine": timing.machine(),
    }
    return report | {"seconds": round(time.perf_counter() - start, 1)}


def claimed(of: str, over: str) -> float:
    """The true lift of one variant over another."""
    return (1 + ARMS[of]) / (1 + ARMS[over]) - 1


def limits(relative: float) -> dict[str, float]:
    """The largest variance of a user at which a lift is shown, with all users and with a tenth of them."""
    of_one = {design: power.users(relative, 1.0, LEVEL, CHANCE, design) for design in power.DESIGNS}
    return {
        "anytime": USERS / of_one["anytime"],
        "fixed": USERS / of_one["fixed"],
        "anytime_in_a_tenth": USERS / 10 / of_one["anytime"],
    }


def cell(number: int, are: str, ctr: float, impressions: int, size: dict[str, int]) -> dict[str, Any]:
    """Simulated experiments of all arms at one place: how often each claim is confirmed, and when."""
    rng = np.random.default_rng([0, number])
    spread, taste = USERS_ARE[are]
    arms = {name: of_users(rng, ctr, impressions, spread, taste, up, size["pool"]) for name, up in ARMS.items()}
    ends = USERS * np.arange(1, size["looks"] + 1) / size["looks"]
    half = sequences.half_width(2 * ends, LEVEL, 2 * USERS)
    seen: list[list[np.ndarray]] = [[] for _ in CLAIMS]
    for some in pieces(size["experiments"]):
        made = {name: experiments(rng, one, some, ends) for name, one in arms.items()}
        for place, (of, over) in enumerate(CLAIMS):
            z = lift.of(made[of], made[over]).z
            seen[place].append(np.stack([z > half, z > lift.fixed(LEVEL)]))  # shown to be above 0
    variance = power.variance(ctr, impressions, spread, taste)
    error = np.sqrt(2 * variance / USERS)
    claims = []
    for (of, over), parts in zip(CLAIMS, seen, strict=True):
        anytime, fixed = np.concatenate(parts, axis=1)
        ever = anytime.any(axis=1)
        claims.append(
            {
                "anytime": float(ever.mean()),
                "fixed": float(fixed[:, -1].mean()),
                "by_formula": power.power(claimed(of, over), USERS, variance, LEVEL, "anytime"),
                "users_when_seen": float(np.median(ends[anytime[ever].argmax(axis=1)])) if ever.any() else None,
                "users_needed": power.users(claimed(of, over), variance, LEVEL, CHANCE, "anytime"),
            }
        )
    return {
        "users_are": are,
        "ctr": ctr,
        "impressions": impressions,
        "clicks_a_user": ctr * impressions,
        "variance_of_a_user": variance,
        "half_width": float(np.expm1(half[-1] * error)),
        "claims": claims,
    }


def alarms(are: str, ctr: float, impressions: int, size: dict[str, int], one_by_one: bool) -> dict[str, Any]:
    """Experiments without any lift, looked at again and again: how often one is seen.

    From some thousand users to all of them by normal sums; or `one_by_one`, each user drawn, from the first hundred.
    """
    rng = np.random.default_rng([1, list(USERS_ARE).index(are), one_by_one])
    most, count = (size["small"], size["false_drawn"]) if one_by_one else (USERS, size["false"])
    ends = np.geomspace(100 if one_by_one else FEW, most, size["looks"]).round()
    pool = of_users(rng, ctr, impressions, *USERS_ARE[are], 0.0, size["pool"])
    wrong = {"fixed, one look": 0, "fixed, every look": 0, "anytime, every look": 0}
    for some in pieces(count, PIECE // 20 if one_by_one else PIECE):
        arms = [
            each(rng, some, ends, ctr, impressions, *USERS_ARE[are])
            if one_by_one
            else experiments(rng, pool, some, ends)
            for _ in range(2)
        ]
        found = lift.of(*arms)
        known = np.logical_and.reduce([np.sqrt(lift.variance(arm) / arm.users) < analysis.KNOWN for arm in arms])
        early = (np.abs(found.z) > lift.fixed(LEVEL)) & known
        wrong["fixed, one look"] += int(early[:, -1].sum())
        wrong["fixed, every look"] += int(early.any(axis=1).sum())
        within = sequences.half_width(found.users, LEVEL, 2 * most)
        wrong["anytime, every look"] += int(((np.abs(found.z) > within) & known).any(axis=1).sum())
    share = {name: times / count for name, times in wrong.items()}
    return {"users_are": are, "users_a_variant": [int(ends[0]), int(most)], "experiments": count, "share": share}


def checked(users: int) -> dict[str, float]:
    """Every user of two variants drawn, of the most different ones: their error beside the formula's."""
    rng, spread, taste = np.random.default_rng(2), *USERS_ARE["very different"]
    arms = [sums.of_users(*drawn(rng, 0.02, 10, spread, taste, up, users)) for up in (0.0, 0.0152)]
    found = lift.of(arms[1], arms[0])
    return {
        "users_a_variant": users,
        "error": float(found.error[0]),
        "error_by_formula": float(np.sqrt(2 * power.variance(0.02, 10, spread, taste) / users)),
        "lift": float(found.relative[0]),
    }


def of_users(
    rng: np.random.Generator, ctr: float, impressions: float, spread: float, taste: float, up: float, pool: int
) -> Users:
    """What users of a variant add: the mean by the model, the covariance by a pool of them."""
    m, c = (one.astype(np.float64) for one in drawn(rng, ctr, impressions, spread, taste, up, pool))
    covariance = np.cov(np.stack([m, c, m * m, m * c, c * c]))
    values, vectors = np.linalg.eigh(covariance)  # of no full rank where impressions are all one number
    rate, mm = ctr * (1 + up), impressions**2 * (1 + spread**2)
    twice = rate**2 * (1 + taste**2)  # the probability that two given impressions are clicked
    mean = np.array([impressions, impressions * rate, mm, mm * rate, impressions * (rate - twice) + mm * twice])
    return Users(mean, vectors * np.sqrt(np.maximum(values, 0)))


def drawn(
    rng: np.random.Generator, ctr: float, impressions: float, spread: float, taste: float, up: float, users: int
) -> tuple[np.ndarray, np.ndarray]:
    """Impressions (one and a negative binomial) and clicks (each user's own probability: beta) of users."""
    m = np.full(users, int(impressions))
    if spread:
        more, variance = impressions - 1, (spread * impressions) ** 2
        shape = more**2 / (variance - more)
        m = 1 + rng.poisson(rng.gamma(shape, more / shape, users))
    p: Any = ctr
    if taste:
        alike = (1 - ctr) / ctr / taste**2 - 1
        p = rng.beta(ctr * alike, (1 - ctr) * alike, users)
    return m, rng.binomial(m, np.minimum(p * (1 + up), 1))


def experiments(rng: np.random.Generator, one: Users, count: int, ends: np.ndarray) -> sums.Sums:
    """The sums of one variant in so many experiments (count, looks), at so many users each."""
    blocks = np.diff(ends, prepend=0)
    noise = rng.standard_normal((count, len(ends), 5)) @ one.root.T
    added = blocks[:, None] * one.mean + np.sqrt(blocks)[:, None] * noise
    total = np.cumsum(added, axis=1)
    return sums.Sums(np.broadcast_to(ends, total.shape[:2]), *np.moveaxis(total, 2, 0))


def each(rng: np.random.Generator, count: int, ends: np.ndarray, *model: float) -> sums.Sums:
    """As `experiments`, every user drawn."""
    at = ends.astype(int) - 1
    m, c = (one.reshape(count, -1) for one in drawn(rng, *model, 0.0, count * int(ends[-1])))  # type: ignore[arg-type]
    terms = (np.cumsum(one, axis=1, dtype=np.float64)[:, at] for one in (m, c, m * m, m * c, c * c))
    return sums.Sums(np.broadcast_to(at + 1.0, (count, len(at))), *terms)


def pieces(count: int, piece: int = PIECE) -> Iterator[int]:
    """So many, a few at a time."""
    for start in range(0, count, piece):
        yield min(piece, count - start)


def table(report: dict[str, Any]) -> str:
    """The page."""
    settings = report["settings"]
    heads = [f"{one['of']} over {one['over']}, {one['lift']:+.2%}" for one in report["claims"]]
    limit = [
        [head, *(f"{one[name]:,.0f}" if one[name] >= 10 else f"{one[name]:.1f}" for name in one)]
        for head, one in zip(heads, report["limits"], strict=True)
    ]
    needed = [[f"{one['lift']:+.2%}", *(millions(one["lift"], v) for v in VARIANCES)] for one in report["claims"]]
    cells = [
        [
            one["users_are"],
            f"{one['ctr']:.1%}",
            one["impressions"],
            f"{one['clicks_a_user']:.3g}",
            f"{one['variance_of_a_user']:.3g}",
            f"{one['half_width']:.2%}",
            *(f"{claim['anytime']:.0%} ({claim['fixed']:.0%})" for claim in one["claims"]),
            f"{one['claims'][CLAIMS.index(ASKED)]['users_needed'] / 1e6:.2g} M",
        ]
        for one in report["cells"]
    ]
    wrong = [
        [
            one["users_are"],
            f"{one['users_a_variant'][0]:,} to {one['users_a_variant'][1]:,}",
            f"{one['experiments']:,}",
            *(f"{share:.2%}" for share in one["share"].values()),
        ]
        for one in report["false_alarms"]
    ]
    users_are = [
        f"*{are}*: coefficient of variation {spread:g} of impressions, {taste:g} of the probability of a click"
        for are, (spread, taste) in USERS_ARE.items()
    ]
    check = report["drawn"]
    return "\n".join(
        [
            "**Simulated users**: the subject is statistical power, nothing here is measured on the paper's system. "
            f"{USERS / 1e6:g} million users a variant and the lifts are the paper's; rate, impressions and differences "
            f"between users are assumed, an axis each. {settings['experiments']:,} experiments a row, each looked at "
            f"{settings['looks']} times; shown: the {LEVEL:.0%} confidence sequence lies above no lift at some look "
            "(in brackets: the interval of one look at the end does).",
            "",
            "![online](online.png)",
            "",
            f"What they are enough for: the largest variance that one user may add to the logarithm of a rate, power "
            f"{CHANCE:g} (formula):",
            "",
            *timing.markdown("lift | at any time | one look | at any time, in a tenth of the users", limit),
            "",
            f"Users a variant that each lift needs, millions, at any time (one look), power {CHANCE:g}, by the "
            "variance of a user (formula):",
            "",
            *timing.markdown(" | ".join(["lift", *(f"{one:g}" for one in VARIANCES)]), needed),
            "",
            f"How often each lift is shown; {'; '.join(users_are)}. Half width: of the sequence at the end; needed: "
            f"users a variant for {claimed(*ASKED):+.2%}, power {CHANCE:g}.",
            "",
            *timing.markdown(
                " | ".join([*COLUMNS, *heads, "needed"]),
                cells,
            ),
            "",
            f"False alarms of two variants that are the same (CTR 2 %, 10 impressions), {settings['looks']} looks, "
            f"ever further apart; at most {1 - LEVEL:.0%} is right. The last three rows draw every user:",
            "",
            *timing.markdown(
                "users are | users a variant | experiments | fixed, one look | fixed, every look | anytime, every look",
                wrong,
            ),
            "",
            f"Check: {check['users_a_variant']:,} very different users a variant drawn one by one (CTR 2 %, 10 "
            f"impressions) give a standard error of {check['error']:.3%}, the formula {check['error_by_formula']:.3%}.",
            "",
        ]
    )


def millions(relative: float, variance: float) -> str:
    """Users a variant for a sequence, and in brackets for one look."""
    anytime, fixed = (power.users(relative, variance, LEVEL, CHANCE, one) / 1e6 for one in ("anytime", "fixed"))
    return f"{anytime:.2g} ({fixed:.2g})"


def draw(report: dict[str, Any], path: Path) -> None:
    """How often the lift at equal bytes is shown, by cell; and all lifts by the variance of a user."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(15, 4.2), layout="constrained")
    *maps, curve = figure.subplots(1, len(USERS_ARE) + 1, width_ratios=[1] * len(USERS_ARE) + [1.5])
    place = CLAIMS.index(ASKED)
    for panel, are in zip(maps, USERS_ARE, strict=True):
        own = [one for one in report["cells"] if one["users_are"] == are]
        shares = np.array([one["claims"][place]["anytime"] for one in own]).reshape(len(CTRS), len(IMPRESSIONS))
        panel.imshow(shares, vmin=0, vmax=1, cmap="Blues", origin="lower")
        for (row, column), share in np.ndenumerate(shares):
            colour = "white" if share > 0.6 else "black"
            panel.text(column, row, f"{share:.0%}", ha="center", va="center", color=colour)
        panel.set_xticks(range(len(IMPRESSIONS)), IMPRESSIONS)
        panel.set_yticks(range(len(CTRS)), [f"{ctr:.1%}" for ctr in CTRS])
        panel.set(xlabel="impressions a user", ylabel="CTR", title=f"users are {are}")
    variances = np.geomspace(1, 2000, 200)
    for one in report["claims"]:
        chance = [power.power(one["lift"], USERS, float(v), LEVEL, "anytime") for v in variances]
        curve.plot(variances, chance, label=f"{one['lift']:+.2%} {one['of']} over {one['over']}")
        seen = [(c["variance_of_a_user"], c["claims"][report["claims"].index(one)]["anytime"]) for c in report["cells"]]
        curve.plot(*np.array(seen).T, ".", color=curve.lines[-1].get_color(), markersize=4)
    curve.set(xscale="log", xlabel="variance of a user", ylabel="power", title="line: formula, dots: simulated")
    curve.set_ylim(0, 1.02)
    curve.grid(alpha=0.3)
    curve.legend(frameon=False, fontsize=7, loc="lower left")
    figure.suptitle(
        f"How often {claimed(*ASKED):+.2%} at equal bytes is shown, 99 % at any time, 8.5 M users a variant"
    )
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    main()
