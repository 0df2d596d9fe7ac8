"""What does each mechanism of the paper buy? The published codes with one thing changed, on three kinds of vectors."""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from compressae_jax.evaluation import significance
from compressae_jax.evaluation.significance import Effect
from compressae_jax.experiments import bench, page, paired, spaces
from compressae_jax.experiments.bench import Bench
from compressae_jax.experiments.cells import Outcome, Results, Settings, Spec, product
from compressae_jax.notation import check_choice

BASE = "as published by us"
CHANGES: dict[str, dict[str, Any]] = {
    BASE: {},
    "ReLU before TopK": {"activation": "relu_topk"},
    "no TopK in training": {"activation": "identity"},
    "L2 loss": {"distance": "l2"},
    "no 4k term": {"weight_4k": 0.0},
    "4k term at 1/2": {"weight_4k": 0.5},
    "4k term at 1": {"weight_4k": 1.0},
    "gradient through all entries": {"gradient": "all"},
    "encoder drawn apart (published class)": {"init_encoder": "kaiming"},
    "decoder gradients projected": {"decoder_rows": "projected"},
    "decoder rows of any length": {"decoder_rows": "free"},
}
BATCH = "batch of {:,}"  # as many rows seen in all: fewer steps
COLOURS = {"dense_query": "#0072B2", "reconstructed": "#009E73", "sparse": "#D55E00"}


def cells(settings: Settings) -> list[Spec]:
    """One training each; batches beside the base's see as many rows."""
    for name in settings["changes"]:
        check_choice("changes", name, CHANGES)
    wanted = {BASE, *(settings["changes"] or CHANGES)}
    changes = {
        **{name: CHANGES[name] for name in CHANGES if name in wanted},
        **{BATCH.format(batch): {"batch": batch} for batch in settings["batches"]},
    }
    own = {name: settings[name] for name in ("rows", "h", "k", "batch", "steps")}
    axes = {"dataset": settings["datasets"], "change": list(changes), "seed": settings["seeds"]}
    return [{**spec, **own, "fields": changes[spec["change"]]} for spec in product(**axes)]


def measure(here: Bench, spec: Spec) -> Outcome:
    """Train with one thing changed; recall of the neighbour protocol, and dead latents."""
    rows = bench.split(spec["dataset"], spec["rows"])
    seen = spec["steps"] * spec["batch"]
    fields = {name: spec[name] for name in ("h", "k", "batch")} | spec["fields"]
    fields |= {"steps": max(1, seen // fields["batch"]), "validate_every": 0, "checkpoint_every": 0}
    weights = here.trained(spec["dataset"], rows.training, fields, seed=spec["seed"])
    # Trained without a selection, it is served with one: k nonzeros all the same.
    served = dataclasses.replace(weights, activation="topk") if weights.activation == "identity" else weights
    told = {
        "steps": fields["steps"],
        "dead": spaces.dead(served, rows.searched),
        "cosine": float(spaces.cosines(served, rows.validation).mean()),
    }
    return Outcome(spaces.recalls(served, rows), told)


def told(settings: Settings, results: Results) -> page.Page:
    """Every change beside the base, set by set."""
    sets, changes = results.values("dataset"), [one for one in results.values("change") if one != BASE]
    sections = [(f"{name}: change of recall@100", _table(settings, results, name)) for name in sets]
    answer = (
        f"Of {len(changes)} changes to published codes of k={settings['k']} (h={settings['h']:,}), by the mean change "
        f"of recall@100 on {', '.join(sets)}: "
        + "; ".join(_sure(settings, results, space) for space in ("sparse", "dense_query"))
        + ". Batches of another size see as many rows, so in more or fewer steps."
    )
    figure = page.Figure(
        "ablations",
        "Change of recall@100 against the base, in three spaces, with 95 % intervals over queries and seeds",
        functools.partial(_draw, settings=settings, results=results),
        (4.2 * len(sets) + 2.5, 0.42 * len(changes) + 1.5),
    )
    notes = (
        f"Base: magnitude TopK, cosine loss with the 4k term at 1/8, gradient through the kept entries, the encoder as "
        f"the decoder's transpose, decoder rows brought back to unit length after each step; {settings['steps']} steps "
        f"of {settings['batch']:,} rows at the default rate, which was tuned for the base and for no change. Batches "
        "of another size see as many rows in fewer or more steps. `no TopK in training` is served by its k largest. "
        "`decoder rows of any length`: lengths go into the encoder at the end."
    )
    return page.Page(answer, [*sections, ("What was changed", notes)], [figure])


def _metric(settings: Settings, space: str) -> str:
    return f"recall@100 {space} k={settings['k']}"


def _sure(settings: Settings, results: Results, space: str) -> str:
    """Which changes surely lose or gain on every set, all comparisons of a space being one family (Holm)."""
    changes = [one for one in results.values("change") if one != BASE]
    costs = {change: _effects(settings, results, change, space) for change in changes}
    p = significance.holm(np.array([one.p for found in costs.values() for one in found]))
    everywhere = {
        change: bool((some < 1 - significance.LEVEL).all())
        for change, some in zip(changes, np.split(p, len(changes)), strict=True)
    }
    told = []
    for word, sign in (("lose", -1), ("gain", 1)):
        sure = [one for one in changes if everywhere[one] and all(sign * found.mean > 0 for found in costs[one])]
        told.append(f"surely {word} on all sets: {_listed(costs, sure)}")
    return f"in {space}, {', '.join(told)}"


def _listed(costs: Mapping[str, Sequence[Effect]], changes: Sequence[str]) -> str:
    """Changes with their mean over sets, the largest losses first."""
    means = {change: float(np.mean([one.mean for one in costs[change]])) for change in changes}
    return ", ".join(f"{change} {means[change]:+.3f}" for change in sorted(means, key=lambda one: means[one])) or "none"


def _effects(settings: Settings, results: Results, change: str, space: str) -> list[Effect]:
    """The change of recall, set by set."""
    found = []
    for name in results.values("dataset"):
        own, base = (results.where(dataset=name, change=one) for one in (change, BASE))
        effect = paired.difference(own, base, _metric(settings, space))
        found += [] if effect is None else [effect]
    return found


def _table(settings: Settings, results: Results, name: str) -> str:
    rows = []
    for change in results.values("change"):
        own, base = results.where(dataset=name, change=change), results.where(dataset=name, change=BASE)
        cells: list[page.Cell] = [change]
        for space in spaces.SPACES:
            metric = _metric(settings, space)
            changed = page.effect(paired.difference(own, base, metric))
            cells.append(page.spread(own, metric) if change == BASE else changed)
        cells += [
            float(np.mean([one.told["dead"] for one in own])),
            float(np.mean([one.told["cosine"] for one in own])),
        ]
        rows.append(cells)
    return page.table(["change", *spaces.SPACES, "dead latents", "validation cosine"], rows)


def _draw(canvas: Any, settings: Settings, results: Results) -> None:
    names = [change for change in results.values("change") if change != BASE]
    sets = results.values("dataset")
    for axes, name in zip(canvas.subplots(1, len(sets), sharey=True, squeeze=False)[0], sets, strict=True):
        own = Results(one for one in results if one.spec["dataset"] == name)
        for offset, space in zip((-0.22, 0, 0.22), spaces.SPACES, strict=True):
            for place, change in enumerate(names):
                for one in _effects(settings, own, change, space):
                    ends = [[one.mean - one.low], [one.high - one.mean]]
                    looks = {"fmt": "o", "markersize": 4, "color": COLOURS[space], "capsize": 2}
                    axes.errorbar([one.mean], [place + offset], xerr=ends, label=None if place else space, **looks)
        axes.axvline(0, color="#333333", lw=0.8)
        axes.set(title=name, xlabel="change of recall@100")
        axes.set_yticks(range(len(names)), names)
    canvas.axes[0].invert_yaxis()
    canvas.axes[-1].legend(frameon=False, fontsize=8)
