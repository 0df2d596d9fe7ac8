"""Advice on the disk: advice.md for people, advice.json for programs, advice.png; `recommendation` decides."""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from compressae_jax.advice import methods, recommendation
from compressae_jax.advice.measured import Measured
from compressae_jax.advice.recommendation import INT8, NOTHING, Recommendation, megabytes
from compressae_jax.base import files
from compressae_jax.evaluation import figures, intervals
from compressae_jax.evaluation.intervals import Interval
from compressae_jax.model import budgets

PAGE, NUMBERS, FIGURE = "advice.md", "advice.json", "advice.png"
DRAWN = 5  # peers in the figure, those that find most


class Advice(NamedTuple):
    """All that is told: of whom, what was measured, what follows."""

    source: dict[str, Any]
    total: int  # rows that advice is for
    sizes: dict[str, int]  # rows fitted to, searched, asking, judged queries, zero rows left out
    metric: str
    measured: list[Measured]
    left_out: list[str]
    advised: Recommendation
    command: str
    grown: list[str]  # what more rows to learn from would change
    made: dict[str, Any]  # seconds, seed, provenance

    @property
    def width(self) -> int:
        """Of the vectors."""
        return self.source["width"]


def headline(advice: Advice) -> str:
    """What to take, in a few words."""
    told = advice.advised
    if told.answer == NOTHING or told.choice is None:
        return "Compress nothing."
    if told.answer == INT8:
        return f"Take int8, {told.choice.bytes_per_vector:,.0f} bytes a vector."
    name = {"packed pursuit codes": "packed pursuit codes (ours)"}.get(told.choice.label, told.choice.label)
    return f"Take {name}, {told.choice.bytes_per_vector:,.0f} bytes a vector."


def closing(advice: Advice, out: Path) -> str:
    """What the command prints last."""
    told = advice.advised
    return "\n".join(
        [
            "",
            *_aligned(_table(advice)),
            "",
            headline(advice),
            told.reason,
            *told.notes,
            *advice.grown,
            "",
            advice.command,
            "",
            str(out / PAGE),
        ]
    )


def write(advice: Advice, out: Path) -> None:
    """The figure, where matplotlib is installed and anything was measured, numbers, and the page last."""
    drawn = figures.available() and bool(_drawn(advice))
    if drawn:
        title = f"{advice.source['name']}: {advice.sizes['queries']:,} queries, {advice.sizes['searched']:,} searched"
        figures.recall_bytes(_drawn(advice), title, out / FIGURE, advice.metric)
    files.write_bytes(out / NUMBERS, (json.dumps(as_json(advice), indent=1, ensure_ascii=False) + "\n").encode())
    files.write_bytes(out / PAGE, markdown(advice, drawn).encode())


def markdown(advice: Advice, drawn: bool) -> str:
    """The page."""
    told, sizes = advice.advised, advice.sizes
    made = advice.made
    stake = 4 * advice.total * advice.width
    figure = (
        f"![recall and bytes]({FIGURE})"
        if drawn
        else "Nothing was measured, so there is no figure."
        if not _drawn(advice)
        else "A figure needs matplotlib: pip install 'compressae_jax[figures]'."
    )
    paragraphs = [
        f"# Advice for {advice.source['name']}",
        f"**{headline(advice)}** {told.reason}",
        *told.notes,
        *advice.grown,
        *([_knee(told, advice.metric)] if told.knee is not None else []),
        "In full:",
        f"```bash\n{advice.command}\n```",
        figure,
        _markdown_table(_table(advice)),
        _read(advice),
        "## What was measured",
        f"{advice.total:,} vectors of width {advice.width}: {megabytes(stake)} as float32. Drawn of them by seed "
        f"{made['seed']}: {sizes['fitted']:,} rows that everything was fitted to, {sizes['searched']:,} that were "
        f"searched, {sizes['queries']:,} that asked; nothing was fitted to the last two."
        + (f" {sizes['zero']:,} rows of zeros were left out." if sizes["zero"] else "")
        + (
            f" nDCG@10: {sizes['judged']:,} judged queries, whose relevant rows are among those searched: "
            "with fewer rows around them they are found more easily than among all."
            if sizes["judged"]
            else ""
        ),
        *(["Left out:", "\n".join(f"- {line}" for line in advice.left_out)] if advice.left_out else []),
        *_scaled(advice),
        f"Made by `{made['command']}` on {made['hardware']['cpu']}, {made['hardware']['cores']} cores, {made['date']}, "
        f"in {made['seconds']:.0f} s"
        + (f", and {made['earlier']:,} measurements of earlier calls." if made.get("earlier") else "."),
    ]
    return "\n\n".join(paragraphs) + "\n"


def as_json(advice: Advice) -> dict[str, Any]:
    """All of it as JSON has it."""
    told = advice.advised
    return {
        "answer": told.answer,
        "method": None if told.choice is None else told.choice.name,
        "bytes_per_vector": None if told.choice is None else told.choice.bytes_per_vector,
        "budget_bytes": told.budget,
        "knee": told.knee,
        "headline": headline(advice),
        "reason": told.reason,
        "notes": [*told.notes, *advice.grown],
        "command": advice.command,
        "source": advice.source,
        "total_rows": advice.total,
        "sizes": advice.sizes,
        "metric": advice.metric,
        "verdicts": [
            {
                "budget": one.budget,
                "ours": None if one.ours is None else one.ours.name,
                "peer": None if one.peer is None else one.peer.name,
                "choice": one.choice.name,
                "difference": None if one.difference is None else one.difference._asdict(),
            }
            for one in told.verdicts
        ],
        "measured": [_plain(one) for one in advice.measured],
        "left_out": advice.left_out,
        "made": advice.made,
    }


def _plain(one: Measured) -> dict[str, Any]:
    scores = {metric: intervals.interval(values)._asdict() for metric, values in one.scores.items()}
    speed = None if one.speed is None else one.speed._asdict()
    return {**one._asdict(), "about": dict(one.about), "scores": scores, "speed": speed}


def _drawn(advice: Advice) -> list[dict[str, Any]]:
    """Ours, dense vectors and the peers that find most, as `figures` takes them."""
    metric = advice.metric
    peers = sorted(
        {one.name for one in advice.measured if one.kind == "baseline"}, key=lambda name: -_most(advice, name)
    )
    shown = [one for one in advice.measured if one.kind != "baseline" or one.name in peers[:DRAWN]]
    return [
        {
            "name": f"{one.label}, k={one.about['k']}"
            if one.ours
            else f"{one.label}, {one.bytes_per_vector:.0f} bytes",
            "kind": one.kind,
            "space": "dense_query" if one.ours else None,
            "codes": one.label if one.ours else None,
            "bytes_per_vector": one.bytes_per_vector,
            "scores": {"neighbours": {metric: intervals.interval(one.scores[metric])._asdict()}},
        }
        for one in shown
    ]


def _most(advice: Advice, name: str) -> float:
    """The highest mean of a method less what its bytes are worth: a large form alone does not make it a good one."""
    own = [one for one in advice.measured if one.name == name]
    return max(float(one.scores[advice.metric].mean()) - 0.05 * math.log2(one.bytes_per_vector) for one in own)


def _table(advice: Advice) -> list[list[str]]:
    metrics = list(advice.measured[0].scores) if advice.measured else []
    rows = [["method", "bytes", "all rows", *metrics, "fitted in", "rows encoded/s", "ms a query"]]
    for one in sorted(
        advice.measured, key=lambda one: (-(one.budget or one.bytes_per_vector), -one.scores[advice.metric].mean())
    ):
        cells = [_shown(intervals.interval(one.scores[metric])) for metric in metrics]
        name = one.label + (f", k={one.about['k']} of h={one.about['h']:,}" if one.ours else "")
        time = "" if one.speed is None else f"{_milliseconds(one.speed.ms)} ({one.speed.by})"
        size = megabytes(one.bytes_per_vector * advice.total)
        rate = "" if one.kind == "dense" else f"{one.encoded_a_second:,.0f}"
        fitted = "" if one.kind == "dense" else f"{one.fit_seconds:.1f} s"
        rows.append([name, f"{one.bytes_per_vector:,.0f}", size, *cells, fitted, rate, time])
    return rows


def _milliseconds(ms: float) -> str:
    return f"{ms:,.0f}" if ms >= 10 else f"{ms:.2g}"


def _shown(interval: Interval) -> str:
    return f"{interval.mean:.3f} ± {(interval.high - interval.low) / 2:.3f}"


def _read(advice: Advice) -> str:
    scanned = max((one.speed.rows for one in advice.measured if one.speed is not None), default=0)
    return (
        f"{advice.metric}: the share of the nearest rows by exact cosine that is found, ± half of the 95 % bootstrap "
        "interval; bytes count all that a row needs, no dictionary and no codebook. "
        f"A query is timed one by one over {scanned:,} rows (those of the sample, again and again), the median; times "
        "grow in step with rows. No time where rows are decoded here to be compared, which no engine would do."
    )


def _scaled(advice: Advice) -> list[str]:
    """What times and dictionaries of the sample say of all rows."""
    one = advice.advised.choice
    if one is None or one.name != methods.OURS or advice.total <= 2 * advice.sizes["fitted"]:
        return []
    h, own = budgets.choose(one.budget or 64, advice.width, advice.total).h, one.about["h"]
    hours = advice.total / max(one.encoded_a_second * own / h, 1e-9) / 3600
    told = f"{hours:,.1f} hours" if hours >= 1 else f"{60 * hours:,.1f} minutes"
    return [
        f"The dictionary of the sample has h={own:,}, that of all rows would have h={h:,}: it finds more, and rows a "
        f"second fall in about that proportion, so encoding all rows at {one.budget} bytes takes {told} on this "
        "machine, by what was measured on the sample."
    ]


def _knee(told: Recommendation, metric: str) -> str:
    steps = ", ".join(
        f"{one.budget} bytes {one.choice.scores[metric].mean():.3f} ({one.choice.label})" for one in told.verdicts
    )
    return (
        f"The knee is at {told.knee} bytes: twice as many gain less than {recommendation.KNEE:g} of {metric}. The best "
        f"at each: {steps}."
    )


def _markdown_table(rows: Sequence[Sequence[str]]) -> str:
    rule = ["---", *["---:"] * (len(rows[0]) - 1)]
    return "\n".join("| " + " | ".join(row) + " |" for row in (rows[0], rule, *rows[1:]))


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
