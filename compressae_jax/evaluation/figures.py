"""The report's figures, drawn by matplotlib (extra [figures]) from what `report` measured; tables are in `tables`."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from compressae_jax.notation import InputError

SPACES = {"dense_query": ("#0072B2", "o"), "reconstructed": ("#009E73", "s"), "sparse": ("#D55E00", "^")}
BASELINES = ("#666666", "#8C6BB1", "#C49A00", "#A0522D", "#999999")
MARKERS = "Dvp<>"
INK = "#333333"


def available() -> bool:
    """Whether matplotlib is installed."""
    try:
        import matplotlib.figure  # noqa: F401
    except ImportError:
        return False
    return True


def recall_bytes(contenders: Sequence[Mapping[str, Any]], title: str, path: Path) -> None:
    """Recall@100 of held-out rows against bytes per vector (log scale), with 95 % intervals; lines join one method."""
    figure, axes = _canvas()
    methods: dict[str, list[Mapping[str, Any]]] = {}
    for one in contenders:
        methods.setdefault(_method(one), []).append(one)
    plain = iter(zip(BASELINES, MARKERS, strict=True))
    for method, points in methods.items():
        kind = points[0]["kind"]
        colour, marker = (
            SPACES[points[0]["space"]] if kind == "code" else (INK, "*") if kind == "dense" else next(plain)
        )
        _line(axes, method, points, colour, marker, dashed=kind != "code")
    axes.set_xscale("log", base=2)
    ticks = sorted({2 ** int(round(np.log2(one["bytes_per_vector"]))) for one in contenders})
    axes.set_xticks(ticks, [f"{tick:,}" for tick in ticks])
    axes.set_ylim(0, 1.03)
    axes.set(xlabel="bytes per vector (log scale)", ylabel="recall@100 of the dense neighbours", title=title)
    axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False)
    _save(figure, path)


def training(lines: Sequence[Mapping[str, Any]], path: Path) -> None:
    """The curves of metrics.jsonl: loss, then what was validated, and dead latents with usage entropy, by step.

    Raises:
        InputError: no line has a loss.
    """
    shown = [
        ("loss", {"loss": "training"}),
        ("validation", {"cosine": "cosine", "recall@100": "recall@100"}),
        ("latents", {"dead_share": "share dead", "usage_entropy": "usage entropy"}),
    ]
    panels = [(title, {k: v for k, v in names.items() if any(k in line for line in lines)}) for title, names in shown]
    panels = [(title, names) for title, names in panels if names]
    if not panels:
        raise InputError("metrics.jsonl has no line to draw")
    figure, grid = _canvas(len(panels))
    for axes, (title, names) in zip(grid, panels, strict=True):
        for (name, label), colour in zip(names.items(), ("#0072B2", "#D55E00"), strict=False):
            points = [(line["step"], line[name]) for line in lines if name in line]
            steps, values = np.array(points, float).T
            axes.plot(steps, values, color=colour, label=label, marker="o" if len(points) < 20 else None, ms=4)
        axes.set(title=title, xlabel="step")
        axes.set_ylim(bottom=0)
        if len(names) > 1:
            axes.legend(frameon=False)
    _save(figure, path)


def usage(shares: Float[np.ndarray, " h"], path: Path) -> None:
    """The share of rows that each latent fires in, most used first (log scale); dead ones are counted."""
    figure, axes = _canvas()
    ordered = np.sort(shares)[::-1]
    alive = int((ordered > 0).sum())
    rank = np.arange(1, len(ordered) + 1)
    axes.fill_between(
        rank[:alive], ordered[:alive], ordered[:alive].min(initial=1) / 2, color="#0072B2", alpha=0.15, lw=0
    )
    axes.plot(rank[:alive], ordered[:alive], color="#0072B2")
    axes.axhline(shares.mean(), color=INK, ls=":", lw=1)
    axes.annotate("even use", (len(ordered), shares.mean()), ha="right", va="bottom", color=INK)
    if alive < len(ordered):
        axes.axvspan(alive, len(ordered), color="#D55E00", alpha=0.15, lw=0)
    axes.set_yscale("log")
    axes.set_xlim(1, len(ordered))
    dead = len(ordered) - alive
    axes.set_title(f"Use of {len(ordered):,} latents: {dead:,} dead ({dead / len(ordered):.1%})", loc="left")
    axes.set(xlabel="latents, most used first", ylabel="share of rows that use it (log scale)")
    _save(figure, path)


def _method(one: Mapping[str, Any]) -> str:
    return f"CompresSAE {one['space']}" if one["kind"] == "code" else one["name"].partition(",")[0]


def _line(axes: Any, method: str, points: Sequence[Mapping[str, Any]], colour: str, marker: str, dashed: bool) -> None:
    points = sorted(points, key=lambda one: one["bytes_per_vector"])
    recalls = [one["scores"]["neighbours"]["recall@100"] for one in points]
    mean = np.array([one["mean"] for one in recalls])
    ends = np.array([[one["low"] for one in recalls], [one["high"] for one in recalls]])
    axes.errorbar(
        [one["bytes_per_vector"] for one in points],
        mean,
        np.abs(ends - mean),
        color=colour,
        marker=marker,
        ms=11 if marker == "*" else 6,
        lw=1.2 if dashed else 2,
        ls="--" if dashed else "-",
        capsize=3,
        elinewidth=1,
        label=method,
    )


def _canvas(panels: int = 1) -> tuple[Any, Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.5) if panels == 1 else (4 * panels, 3.6), layout="constrained")
    grid = figure.subplots(1, panels, squeeze=False)[0]
    for axes in grid:
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(color="#DDDDDD", lw=0.6)
        axes.set_axisbelow(True)
    return figure, grid[0] if panels == 1 else grid


def _save(figure: Any, path: Path) -> None:
    aside = path.with_name(f".{path.name}.new")
    figure.savefig(aside, dpi=150, format="png")
    os.replace(aside, path)
