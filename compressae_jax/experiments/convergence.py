"""Does training converge in some 500 steps? Validation by step and second, the published recipe beside ours."""

import functools
from typing import Any

import numpy as np

from compressae_jax.experiments import bench, page, spaces
from compressae_jax.experiments.bench import Bench
from compressae_jax.experiments.cells import Outcome, Results, Settings, Spec, product
from compressae_jax.training import records

COLOURS = {"paper": "#D55E00", "published": "#0072B2"}
CALLED = {"paper": "the paper's training", "published": "our training of the same codes"}
METRIC = "recall@100"
NEAR = 0.99  # of the best value of a curve: what counts as converged


def cells(settings: Settings) -> list[Spec]:
    """One training each, with its validations."""
    own = {name: settings[name] for name in ("rows", "h", "k", "batch", "steps", "validate_every", "searched")}
    return [
        {**spec, **own}
        for spec in product(dataset=settings["datasets"], recipe=settings["recipes"], seed=settings["seeds"])
    ]


def measure(here: Bench, spec: Spec) -> Outcome:
    """Train, with a validation every so many steps; at the end the queries of the neighbour protocol."""
    rows = bench.split(spec["dataset"], spec["rows"])
    batch = min(spec["batch"], len(rows.training))
    fields: dict[str, Any] = {name: spec[name] for name in ("h", "k", "steps", "validate_every")}
    fields |= {"batch": batch, "microbatch": 0, "checkpoint_every": spec["validate_every"]}
    asked = spec["dataset"], rows.training, fields, spec["recipe"], spec["seed"]
    weights = here.trained(*asked, validate=spaces.validator(rows, spec["searched"]))
    lines = records.read_metrics(here.run_folder(*asked))
    curve, validating = [], 0.0
    for line in lines:
        if "validation/cosine" in line:
            point = {name.removeprefix("validation/"): line[name] for name in line if name.startswith("validation/")}
            validating += point["seconds"]
            curve.append({**point, "step": line["step"], "seconds": line["seconds"] - validating})
    told = {"batch": batch, "trained": len(rows.training), "curve": curve, "dead": spaces.dead(weights, rows.searched)}
    return Outcome(spaces.recalls(weights, rows), told)


def converged(curve: list[dict[str, float]], name: str) -> int:
    """The first step from which on a curve stays within `NEAR` of its last value."""
    values = np.array([point[name] for point in curve])
    far = np.flatnonzero(values < NEAR * values[-1])
    place = int(far[-1]) + 1 if len(far) else 0
    return int(curve[place]["step"])


def told(settings: Settings, results: Results) -> page.Page:
    """When each recipe is where it ends, and how far it comes."""
    rows, sentences = [], []
    ends = {space: f"{METRIC} {space} k={settings['k']}" for space in spaces.SPACES}
    for name in results.values("dataset"):
        for recipe in results.values("recipe"):
            own = results.where(dataset=name, recipe=recipe)
            if not len(own):
                continue
            last = [one.told["curve"][-1] for one in own]
            when = [converged(one.told["curve"], "recall@100 sparse") for one in own]
            rows.append(
                [
                    f"{name}, {recipe}",
                    next(iter(own)).told["batch"],
                    int(np.median(when)),
                    int(np.median([converged(one.told["curve"], "cosine") for one in own])),
                    float(np.mean([point["cosine"] for point in last])),
                    *(page.spread(own, ends[space]) for space in spaces.SPACES),
                    float(np.mean([one.told["dead"] for one in own])),
                    round(float(np.mean([point["seconds"] for point in last]))),
                ]
            )
            sentences.append(
                f"{CALLED[recipe]} is within 1 % of its last sparse recall@100 from step {int(np.median(when))} on "
                f"({np.mean(own.means(ends['sparse'])):.3f} sparse, "
                f"{np.mean(own.means(ends['dense_query'])):.3f} dense_query, "
                f"{np.mean([one.told['dead'] for one in own]):.0%} of the latents dead)"
            )
    batch = next(iter(results)).told["batch"]
    answer = (
        f"Of {settings['steps']} steps of {batch:,} rows on {', '.join(results.values('dataset'))} "
        f"(h={settings['h']:,}, k={settings['k']}), {'; '.join(sentences)}."
    )
    heads = [
        "set, recipe",
        "rows of a batch",
        "within 1 % of the last recall, from step",
        "of the last cosine, from step",
    ]
    heads += ["validation cosine", *(f"recall@100 {space}" for space in spaces.SPACES), "dead latents", "seconds"]
    notes = (
        "`paper`: Adam at 1e-3, no warm-up, no decay, encoder and decoder drawn independently, as the published class. "
        "`published`: our defaults for the same codes: the encoder starts as the decoder's transpose, 6e-3 with "
        "warm-up and cosine decay. Seconds are those of training, without validations. The paper trains on batches of "
        "100,000 of its own 10⁸ vectors and draws a validation loss that still falls at step 500. "
        "MS MARCO's vectors, which the method is asked to be tried on, cannot be had here: "
        "`--config.sizes.full.datasets=\"('marco.npy',)\"` takes them, or any other vectors, from a file."
    )
    sections = [("Where it ends", page.table(heads, rows)), ("What was trained", notes)]
    return page.Page(answer, sections, figures(results))


def figures(results: Results) -> list[page.Figure]:
    """Validation against steps and against seconds."""
    found = []
    for name in results.values("dataset"):
        own = results.where(dataset=name)
        found.append(
            page.Figure(
                f"convergence_{page.file_name(name)}",
                f"Validation on {name}: cosine of the reconstruction, and recall@100 in two spaces, by step and second",
                functools.partial(_draw, results=own),
                (10, 6),
            )
        )
    return found


def _draw(canvas: Any, results: Results) -> None:
    names = ("cosine", "recall@100 sparse", "recall@100 dense_query")
    grid = canvas.subplots(2, 3, sharey="col")
    for axes, over in zip(grid, ("step", "seconds"), strict=True):
        for panel, name in zip(axes, names, strict=True):
            for recipe in results.values("recipe"):
                for i, one in enumerate(results.where(recipe=recipe)):
                    curve = one.told["curve"]
                    xs, ys = [point[over] for point in curve], [point[name] for point in curve]
                    label = None if i else CALLED[recipe]
                    panel.plot(xs, ys, color=COLOURS[recipe], label=label, marker="o", markersize=3)
            panel.set(xlabel=over, title=f"validation: {name}")
    grid[0][0].legend(frameon=False, loc="lower right", fontsize=8)
