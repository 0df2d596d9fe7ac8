"""What an experiment found, for programs and for people: results.json, results.md, figures as SVG and PNG."""

import io
import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from compressae_jax.base import files
from compressae_jax.evaluation import figures, intervals
from compressae_jax.evaluation.significance import Effect
from compressae_jax.experiments.cells import Result, Results, Settings

JSON, PAGE = "results.json", "results.md"
FORMATS = ("svg", "png")
ANSWER = "Answer ("  # how the paragraph of a config's docstring begins that quotes its page
Cell = str | float | int | None


class Figure(NamedTuple):
    """A figure: its file's name without an ending, what it shows, and how it is drawn on matplotlib's Figure."""

    name: str
    caption: str
    draw: Callable[[Any], None]
    size: tuple[float, float] = (8, 4.5)  # inches


class Page(NamedTuple):
    """What is told: the answer in a sentence or two with its figures, sections of (heading, markdown), figures."""

    answer: str
    sections: Sequence[tuple[str, str]]
    figures: Sequence[Figure]


def table(heads: Sequence[str], rows: Sequence[Sequence[Cell]]) -> str:
    """A markdown table; the first column is text, numbers have three decimals, None is empty."""
    lines = ["| " + " | ".join(heads) + " |", "|---|" + "---:|" * (len(heads) - 1)]
    return "\n".join(lines + ["| " + " | ".join(map(_shown, row)) + " |" for row in rows])


def spread(results: Results, metric: str) -> str:
    """The mean over queries and seeds with the half width of its 95 % interval over queries; of several seeds, the
    standard deviation between them in brackets."""
    values = results.per_query(metric)
    if values is None:
        return ""
    one = intervals.interval(values)
    seeds = results.means(metric)
    between = f" [{np.std(seeds, ddof=1):.3f}]" if len(seeds) > 1 else ""
    return f"{one.mean:.3f} ± {(one.high - one.low) / 2:.3f}{between}"


def effect(one: Effect | None) -> str:
    """A mean difference with its 95 % interval, bold where that leaves out zero; nothing where there is none."""
    if one is None:
        return ""
    text = f"{one.mean:+.3f} ({one.low:+.3f} to {one.high:+.3f})"
    return f"**{text}**" if one.low > 0 or one.high < 0 else text


def write(
    out: Path,
    about: str,
    command: str,
    size: str,
    settings: Settings,
    results: Results,
    page: Page,
) -> None:
    """Write all; results.json is the last, and marks it as done. `about` is the docstring of the config."""
    out.mkdir(parents=True, exist_ok=True)
    if not figures.available():
        note = "Figures need matplotlib: pip install 'compressae_jax[figures]'; the same command then draws them."
        page = page._replace(figures=[], sections=[*page.sections, ("Figures", note)])
    for figure in page.figures:
        _draw(figure, out)
    files.write_bytes(out / PAGE, _markdown(about, command, size, results, page).encode())
    report = {
        "answer": page.answer,
        "command": command,
        "size": size,
        "settings": settings,
        "figures": [figure.name for figure in page.figures],
        "made": made(results),
        "cells": [_told(one) for one in results],
    }
    files.write_bytes(out / JSON, (json.dumps(report, indent=1, ensure_ascii=False, default=list) + "\n").encode())


def made(results: Results) -> dict[str, Any]:
    """Of all cells: seconds, and each commit, hardware and day that any was made with or on."""
    told: dict[str, Any] = {"seconds": round(sum(one.seconds for one in results), 1)}
    for name in ("commit", "hardware", "versions"):
        told[name] = []
        for one in results:
            if one.made[name] not in told[name]:
                told[name].append(one.made[name])
    told["days"] = sorted({one.made["date"][:10] for one in results})
    return told


def _told(one: Result) -> dict[str, Any]:
    scores = {}
    for name, values in one.scores.items():
        found = intervals.interval(values)
        scores[name] = {"mean": round(found.mean, 5), "low": round(found.low, 5), "high": round(found.high, 5)}
    queries = {len(values) for values in one.scores.values()}
    return {
        "spec": one.spec,
        "queries": max(queries, default=0),
        "scores": scores,
        "told": one.told,
        "seconds": round(one.seconds, 1),
    }


def _markdown(about: str, command: str, size: str, results: Results, page: Page) -> str:
    title, _, rest = about.strip().partition("\n")
    how = made(results)
    machines = "; ".join(
        f"{one['cores']} cores of {one['cpu']}" + ("" if one["backend"] == "cpu" else f", {', '.join(one['devices'])}")
        for one in how["hardware"]
    )
    minutes = how["seconds"] / 60
    parts = [f"# {title.rstrip('.')}", f"**{page.answer}**"]
    for figure in page.figures:
        parts += [f"![{figure.caption}]({figure.name}.png)", f"*{figure.caption}* ([SVG]({figure.name}.svg))"]
    for heading, text in page.sections:
        parts += [f"## {heading}", text]
    parts += [
        "## How it was made",
        f"`{command}` (size `{size}`): {len(results)} cells, {minutes:.1f} minutes of measuring and training, "
        f"{' and '.join(how['days'])}, {machines}; commit {', '.join(str(one)[:10] for one in how['commit'])}. "
        "±: half widths of 95 % bootstrap intervals over queries, of the mean of all seeds; [ ] behind: standard "
        "deviation between seeds. Differences are paired by query and by seed, and their intervals are for new queries "
        "and, where there are several seeds, new seeds. All cells are in [results.json](results.json).",
        *(one for one in rest.strip("\n").split("\n\n") if not one.startswith(ANSWER)),
    ]
    return "\n\n".join(parts) + "\n"


def _draw(figure: Figure, out: Path) -> None:
    from matplotlib import rc_context
    from matplotlib.figure import Figure as Canvas

    with rc_context({"svg.hashsalt": figure.name, "svg.fonttype": "none"}):
        canvas = Canvas(figsize=figure.size, layout="constrained")
        figure.draw(canvas)
        for axes in canvas.axes:
            axes.spines[["top", "right"]].set_visible(False)
            axes.title.set_fontsize(10)
            if axes.images:
                axes.grid(False)
            else:
                axes.grid(color="#DDDDDD", lw=0.6)
            axes.set_axisbelow(True)
        for form in FORMATS:
            drawn = io.BytesIO()
            canvas.savefig(drawn, format=form, dpi=130, metadata={"Date": None} if form == "svg" else None)
            files.write_bytes(out / f"{figure.name}.{form}", drawn.getvalue())


def _shown(value: Cell) -> str:
    if value is None:
        return ""
    return f"{value:.3f}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else value


def curves(
    axes: Any, lines: Mapping[str, tuple[Sequence[float], Sequence[float]]], colours: Mapping[str, str], **looks: Any
) -> None:
    """Lines by name, each of xs and ys, in the colours of their names."""
    for name, (xs, ys) in lines.items():
        axes.plot(xs, ys, color=colours[name], label=name, **{"marker": "o", "markersize": 3, **looks})


def file_name(name: str) -> str:
    """A set's name as part of a file's."""
    return re.sub(r"\W+", "_", Path(name).stem)
