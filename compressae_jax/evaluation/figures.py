"""The report's figures, drawn by matplotlib (extra [figures]) from what `report` measured; tables are in `tables`."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from compressae_jax.base import files
from compressae_jax.model import weights
from compressae_jax.notation import InputError

PURSUIT = ("#CC79A7", "o")
SPACES = {"dense_query": ("#0072B2", "o"), "reconstructed": ("#009E73", "s"), "sparse": ("#D55E00", "^")}
BASELINES = ("#666666", "#8C6BB1", "#C49A00", "#A0522D", "#999999")
MARKERS = "Dvp<>"
INK = "#333333"
DENSE = (INK, "*")
RUNS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#C49A00", "#56B4E9", "#333333", "#8C6BB1")
USAGE = ("dead_share", "usage_entropy")  # drawn for one run, not for several
ROUNDS = "rounds of the dictionary"
CURVES = (
    ("training loss", {"loss": "loss"}),
    ("validation", {"validation/cosine": "cosine", "validation/recall@100": "recall@100"}),
    ("latents", {"dead_share": "share dead", "usage_entropy": "usage entropy"}),
    (ROUNDS, {"cosine": "mean cosine"}),
)


def available() -> bool:
    """Whether matplotlib is installed."""
    try:
        import matplotlib.figure  # noqa: F401
    except ImportError:
        return False
    return True


def recall_bytes(contenders: Sequence[Mapping[str, Any]], title: str, path: Path, metric: str = "recall@100") -> None:
    """A recall of held-out rows against bytes per vector (log scale), with 95 % intervals; lines join one method."""
    figure, axes = _canvas()
    methods: dict[str, list[Mapping[str, Any]]] = {}
    for one in contenders:
        methods.setdefault(_method(one), []).append(one)
    plain = iter(zip(BASELINES, MARKERS, strict=True))
    for method, points in methods.items():
        kind, space = points[0]["kind"], points[0]["space"]
        codes = PURSUIT if points[0].get("codes") == weights.PURSUIT else SPACES.get(space, DENSE)
        looks = codes if kind == "code" else DENSE if kind == "dense" else next(plain)
        _line(axes, method, points, metric, *looks, dashed=kind != "code")
    axes.set_xscale("log", base=2)
    sizes = np.log2([one["bytes_per_vector"] for one in contenders])
    ticks = 2 ** np.arange(int(np.floor(sizes.min())), int(np.ceil(sizes.max())) + 1)
    axes.set_xticks(ticks, [f"{tick:,}" for tick in ticks])
    axes.set_ylim(0, 1.03)
    axes.set(xlabel="bytes per vector (log scale)", ylabel=f"{metric} of the dense neighbours")
    axes.set_title(title, loc="left")
    handles, labels = axes.get_legend_handles_labels()
    lines = [handle.lines[0] for handle in handles]  # without their error bars
    axes.legend(lines, labels, loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False)
    _save(figure, path)


def training(lines: Sequence[Mapping[str, Any]], path: Path) -> None:
    """The curves of metrics.jsonl, as far as lines have them: loss, validation, dead latents and usage entropy by step,
    the cosine by round.

    Raises:
        InputError: no line has any of them.
    """
    panels = [
        (title, {name: label for name, label in names.items() if any(name in line for line in lines)})
        for title, names in CURVES
    ]
    panels = [(title, names) for title, names in panels if names]
    if not panels:
        raise InputError("lines must have a loss, a validation, a share of dead latents or a cosine, not none of them")
    figure, grid = _canvas(len(panels))
    for axes, (title, names) in zip(np.atleast_1d(grid), panels, strict=True):
        for (name, label), colour in zip(names.items(), ("#0072B2", "#D55E00"), strict=False):
            place = "round" if title == ROUNDS else "step"
            steps, values = np.array([(line[place], line[name]) for line in lines if name in line], float).T
            marker = "o" if len(steps) < 20 else None
            axes.plot(steps, values, color=colour, label=label, marker=marker, markersize=4, clip_on=False)
        axes.set_title(title, loc="left")
        axes.set(xlabel=place)
        axes.set_ylim(0, None if title == CURVES[0][0] else 1)
        if len(names) > 1:
            axes.legend(frameon=False, loc="center right")
    _save(figure, path)


def usage(shares: Float[np.ndarray, " h"], path: Path) -> None:
    """The share of rows that each latent fires in, most used first (log scale); dead ones are counted."""
    figure, axes = _canvas()
    ordered = np.sort(shares)[::-1]
    h, alive = len(ordered), int((ordered > 0).sum())
    rank, used = np.arange(1, alive + 1), ordered[:alive]
    floor = used.min(initial=1) / 2
    axes.set_yscale("log" if alive else "linear")
    axes.plot(rank, used, color="#0072B2", lw=2)
    axes.fill_between(rank, used, floor, color="#0072B2", alpha=0.15, lw=0)
    axes.axhline(shares.mean(), color=INK, ls=":", lw=1)
    axes.annotate(f"even use: {shares.mean():.2%}", (h, shares.mean()), ha="right", va="bottom", color=INK)
    if alive < h:
        axes.axvspan(alive + 0.5, h, color="#D55E00", alpha=0.15, lw=0)
    axes.set_xlim(1, max(h, 2))
    axes.set_ylim(floor, max(1.3 * ordered[0], 2 * floor))
    axes.yaxis.set_major_formatter(_percent)
    axes.yaxis.set_minor_formatter(_percent)
    axes.set_title(f"{h - alive:,} of {h:,} latents are dead ({(h - alive) / h:.1%})", loc="left")
    axes.set(xlabel="latents, most used first", ylabel="share of rows that use it (log scale)")
    _save(figure, path)


def runs(
    curves: Mapping[str, Sequence[Mapping[str, Any]]],
    codes: Sequence[Mapping[str, Any]],
    protocol: str,
    metric: str,
    path: Path,
) -> None:
    """The training curves of runs by name, as far as their lines have them, and the score of their codes by bytes.

    `codes` are contenders of reports, each with the name of its `run`; those of a run in one space are joined.
    """
    wanted = [
        (title, name, label)
        for title, names in CURVES
        for name, label in names.items()
        if name not in USAGE and any(name in line for lines in curves.values() for line in lines)
    ]
    figure, grid = _canvas(len(wanted) + 1)
    *panels, last = np.atleast_1d(grid)
    colours = {name: RUNS[i % len(RUNS)] for i, name in enumerate(curves)}
    for axes, (title, name, label) in zip(panels, wanted, strict=True):
        place = "round" if title == ROUNDS else "step"
        for run, lines in curves.items():
            seen = np.array([(line[place], line[name]) for line in lines if name in line], float).reshape(-1, 2).T
            marker = "o" if seen.shape[1] < 20 else None
            axes.plot(*seen, color=colours[run], label=run, marker=marker, markersize=4)
        axes.set_title(label if title == label else f"{title}: {label}", loc="left")
        axes.set(xlabel=place)
    for run, colour in colours.items():
        for space in dict.fromkeys(one["space"] for one in codes if one["run"] == run):
            own = [one for one in codes if (one["run"], one["space"]) == (run, space) and protocol in one["scores"]]
            own.sort(key=lambda one: one["bytes_per_vector"])
            scores = [one["scores"][protocol][metric] for one in own]
            means = np.array([one["mean"] for one in scores])
            ends = np.abs([[one["low"] for one in scores], [one["high"] for one in scores]] - means)
            sizes = [one["bytes_per_vector"] for one in own]
            marker = SPACES.get(space, PURSUIT)[1]
            last.errorbar(sizes, means, ends, color=colour, marker=marker, capsize=3, label=f"{run}, {space}")
    last.set_xscale("log", base=2)
    ticks = sorted({one["bytes_per_vector"] for one in codes})[:: 1 + len(codes) // 24]
    last.set_xticks(ticks, [f"{tick:,.0f}" for tick in ticks])
    last.minorticks_off()
    last.set_title(f"{protocol}: {metric}", loc="left")
    last.set(xlabel="bytes per vector (log scale)")
    last.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1.01, 0.5))
    _save(figure, path)


def lifts(report: Mapping[str, Any], path: Path) -> None:
    """The lift of each variant over the base, look by look, with the interval of one look and that of any time.

    Raises:
        InputError: no variant has a lift.
    """
    drawn = [one for one in report["lifts"] if one["curve"]]
    if not drawn:
        raise InputError("lifts must be known of one variant at least, to be drawn")
    figure, grid = _canvas(len(drawn))
    for axes, one in zip(np.atleast_1d(grid), drawn, strict=True):
        timed = report["looks"]["of"] == "periods"
        names = report["looks"]["names"]
        x = [names.index(at["look"]) if timed else at["users"] for at in one["curve"]]
        for kind, label, colour in (("anytime", "at any time", "#0072B2"), ("fixed", "one look", "#D55E00")):
            ends = 100 * np.array([at[kind] for at in one["curve"]])
            axes.fill_between(x, *ends.T, color=colour, alpha=0.2, lw=0)
            axes.plot(x, ends, color=colour, lw=1, label=[f"{100 * report['level']:g} %, {label}", None])
        axes.plot(x, [100 * at["lift"] for at in one["curve"]], color=INK, lw=2, marker="o" if len(x) < 20 else None)
        axes.axhline(0, color=INK, ls=":", lw=1)
        # Early bands are as wide as the sky: what is drawn is where they have come to twice their last width.
        low, high = (100 * end for end in one["curve"][-1]["anytime"])
        axes.set_ylim(min(low, 0) - 2 * (high - low), max(high, 0) + 2 * (high - low))
        axes.set_title(f"{one['variant']} over {report['base']}", loc="left")
        axes.set(xlabel="period" if timed else "users of both variants", ylabel="lift of the CTR, %")
        if timed:
            shown = x[:: max(1, len(x) // 4)]
            axes.set_xticks(shown, [names[i] for i in shown])
        axes.legend(frameon=False, loc="upper right", fontsize=8)
    _save(figure, path)


def _percent(value: float, _: object) -> str:
    """Shares of 1, 2 and 5 times a power of ten get a number, the lines between do not."""
    return f"{100 * value:.6g}%" if f"{value:.0e}"[0] in "125" else ""


def _method(one: Mapping[str, Any]) -> str:
    """What a line joins: one kind of codes in one space, or one baseline."""
    return one["name"].rpartition(", k=")[0] if one["kind"] == "code" else one["name"].partition(",")[0]


def _line(
    axes: Any,
    method: str,
    points: Sequence[Mapping[str, Any]],
    metric: str,
    colour: str,
    marker: str,
    dashed: bool,
) -> None:
    points = sorted(points, key=lambda one: one["bytes_per_vector"])
    recalls = [one["scores"]["neighbours"][metric] for one in points]
    mean = np.array([one["mean"] for one in recalls])
    ends = np.array([[one["low"] for one in recalls], [one["high"] for one in recalls]])
    axes.errorbar(
        [one["bytes_per_vector"] for one in points],
        mean,
        np.abs(ends - mean),
        color=colour,
        marker=marker,
        markersize=11 if marker == "*" else 6,
        linewidth=1.2 if dashed else 2,
        linestyle="none" if len(points) == 1 else "--" if dashed else "-",
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
    with files.replacing(path) as aside:
        figure.savefig(aside, dpi=150, format="png")
