"""The report of an experiment in words: aligned for a screen, or as a page; what it says is measured in `analysis`."""

from collections.abc import Mapping, Sequence
from typing import Any

from compressae_jax.evaluation.online import srm
from compressae_jax.evaluation.online.sums import Number
from compressae_jax.evaluation.tables import aligned, markdown_table, p_value

Report = Mapping[str, Any]
FIGURE = "ab_test.png"
TOO_FEW = "too few clicks"


def on_screen(report: Report) -> str:
    """The tables and what must be said of them, as text."""
    return "\n\n".join(block if isinstance(block, str) else aligned(*block) for block in _blocks(report))


def markdown(report: Report, figure: str | None = FIGURE) -> str:
    """The report as a page, with the figure of that name."""
    blocks = [block if isinstance(block, str) else _escaped(*block) for block in _blocks(report)]
    return "\n\n".join([f"# {report['log']}", *blocks, *([f"![lifts]({figure})"] if figure else [])]) + "\n"


def plan(ctr: Number, impressions: Number, variance: Number, level: Number, rows: Sequence[Sequence[str]]) -> str:
    """What an experiment needs that has not been run."""
    said = f"A user adds {variance:.3g} to the variance of the logarithm of a rate: CTR {ctr:.3g}, {impressions:g} "
    said += f"impressions a user. Users a variant at {_level(level)}:"
    return f"{said}\n\n{aligned(['lift', 'power', 'one look', 'at any time'], rows)}"


def _blocks(report: Report) -> list[Any]:
    level = _level(report["level"])
    dropped = report["users_in_two_variants_left_out"]
    by = "the last period" if report["looks"]["of"] == "periods" else "the end"
    blocks: list[Any] = [
        *_split(report["split"]),
        *([f"{dropped:,} users were in two variants and are left out."] if dropped else []),
        (
            ["variant", "users", "impressions", "clicks", "CTR", "clicks a user"],
            [_variant(one) for one in report["variants"]],
        ),
        f"Lift of the CTR over {report['base']} at {by}, {level} intervals clustered by user. One look: valid if this "
        "number of users was set beforehand and nobody acted on an earlier look. At any time: valid at all looks "
        f"(narrowest at {report['horizon']:,.0f} users of two variants).",
        (
            ["variant", "lift", "one look", "at any time", "p one look", "p any time", "first seen"],
            [[*_lift(one), one["first_seen"] or "–"] for one in report["lifts"]],
        ),
    ]
    if report["segments"]:
        blocks += [
            f"By segment, p-values by Holm over all {len(report['segments'])} rows:",
            (
                ["variant", "segment", "users", "lift", "one look", "at any time", "p one look", "p any time"],
                [[one["variant"], one["segment"], f"{one['users']:,}", *_lift(one)[1:]] for one in report["segments"]],
            ),
        ]
        told = {one["variant"]: one.get("p_segments_differ") for one in report["segments"] if one["lift"] is not None}
        ps = [f"{name} p = {p_value(p)}" for name, p in told.items() if p is not None]
        blocks += [f"That segments have one and the same lift (Cochran's Q): {', '.join(ps)}."] if ps else []
    planned = [row for one in report["power"] for row in _planned(one)]
    if planned:
        wanted = list(next(one for one in report["power"] if one["users_a_variant"])["users_a_variant"]["fixed"])
        heads = [f"users for {float(lift):+.0%}" for lift in wanted]
        said = (
            f"With power 0.9 at {level}, by the variance of these users: the least lift that as many users show, and "
        )
        blocks += [
            f"{said}the users a variant that a lift needs.",
            (["variant", "look", "least lift", *heads], planned),
        ]
    return blocks


def _split(split: Report) -> list[str]:
    shares = ", ".join(
        f"{name} {users:,} ({share:.3g})"
        for name, users, share in zip(split["variants"], split["users"], split["shares"], strict=True)
    )
    ps = f"p = {p_value(split['p'])}, {p_value(split['p_anytime'])} at any time"
    if split["mismatch"]:
        return [
            f"WARNING: SAMPLE RATIO MISMATCH. Users came in other shares than intended: {shares}; {ps}, below "
            f"{srm.STRICT}. Variants differ in more than what is tested, and no lift below can be trusted."
        ]
    return [f"Users came as intended: {shares}; {ps}."]


def _variant(one: Report) -> list[str]:
    rate = "–" if one["ctr"] is None else f"{one['ctr']:.4%}"
    counts = [f"{one[name]:,}" for name in ("users", "impressions", "clicks")]
    return [one["variant"], *counts, rate, f"{one['clicks'] / one['users']:.3g}"]


def _lift(one: Report) -> list[str]:
    if one["lift"] is None:
        return [one["variant"], TOO_FEW, "–", "–", "–", "–"]
    bands = [f"[{low:+.2%}, {high:+.2%}]" for low, high in (one["fixed"], one["anytime"])]
    ps = [p_value(one[f"p_{kind}_holm"]) for kind in ("fixed", "anytime")]
    return [one["variant"], f"{one['lift']:+.2%}", *bands, *ps]


def _planned(one: Report) -> list[list[str]]:
    if one["least_lift"] is None:
        return []
    looks = {"fixed": "one", "anytime": "any time"}
    return [
        [
            one["variant"],
            looks[design],
            f"{one['least_lift'][design]:+.2%}",
            *(f"{users:,}" for users in one["users_a_variant"][design].values()),
        ]
        for design in looks
    ]


def _level(level: Number) -> str:
    return f"{100 * level:g} %"


def _escaped(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table whose cells may hold what people named."""
    return markdown_table(headings, [[" ".join(cell.replace("|", "\\|").split()) for cell in row] for row in rows])
