"""Does training converge in some 500 steps? Validation by step and second, the published recipe beside ours."""

import functools
from typing import Any

import numpy as np

from compressae_jax.baselines import matryoshka
from compressae_jax.evaluation import contenders, neighbours
from compressae_jax.evaluation.contenders import PUBLISHED_BYTES
from compressae_jax.experiments import bench, page, spaces
from compressae_jax.experiments.bench import Bench
from compressae_jax.experiments.cells import Outcome, Results, Settings, Spec, product
from compressae_jax.training import records

COLOURS = {"paper": "#D55E00", "published": "#0072B2"}
CALLED = {"paper": "the paper's training", "published": "our training of the same codes"}
CALLED |= {"truncation": "truncation", "matryoshka": "learned Matryoshka", "pca": "PCA"}
METRIC = "recall@100"
SPARSE = f"{METRIC} sparse"  # of a validation
NEAR = 0.99  # of the best value of a curve: what counts as converged


def cells(settings: Settings) -> list[Spec]:
    """One training each, with its validations."""
    own = {name: settings[name] for name in ("rows", "h", "k", "batch", "steps", "validate_every", "searched")}
    axes = {"dataset": settings["datasets"], "recipe": settings["recipes"], "seed": settings["seeds"]}
    peers = {
        "dataset": settings["datasets"],
        "peer": settings["peers"],
        "width": settings["widths"],
        "rows": [settings["rows"]],
    }
    return [*({**spec, **own} for spec in product(**axes)), *product(**peers)]


def measure(here: Bench, spec: Spec) -> Outcome:
    """Train, with a validation every so many steps; at the end the queries of the neighbour protocol."""
    rows = bench.split(spec["dataset"], spec["rows"])
    if "peer" in spec:
        return _of_peer(rows, spec)
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


def _of_peer(rows: bench.Rows, spec: Spec) -> Outcome:
    """Fewer coordinates of float32, fitted to the same rows, asked by dense queries."""
    options = {"projection": _projection(spec["dataset"], spec["rows"])} if spec["peer"] == "matryoshka" else {}
    fitted = contenders.BASELINES[spec["peer"]].fit(rows.training, 4 * spec["width"], **options)
    _, found = fitted.search_stored(rows.queries, [fitted.encode(rows.searched)], bench.DEEPEST)
    return Outcome(neighbours.per_query(found, rows.truth), {"bytes": 4 * spec["width"]})


@functools.lru_cache(maxsize=1)
def _projection(name: str, most: int) -> np.ndarray:
    """The learned map, once for all widths."""
    return matryoshka.learned(bench.split(name, most).training)


def converged(curve: list[dict[str, float]], name: str) -> int:
    """The first step from which on a curve stays within `NEAR` of its last value."""
    values = np.array([point[name] for point in curve])
    far = np.flatnonzero(values < NEAR * values[-1])
    place = int(far[-1]) + 1 if len(far) else 0
    return int(curve[place]["step"])


def late_gain(curve: list[dict[str, float]], name: str) -> float:
    """What a curve gains in the last fifth of its steps."""
    last = curve[-1]
    before = [point for point in curve if point["step"] <= 0.8 * last["step"]] or curve[:1]
    return last[name] - before[-1][name]


def told(settings: Settings, results: Results) -> page.Page:
    """When each recipe is where it ends, and how far it comes."""
    peers = Results(one for one in results if "peer" in one.spec)
    results = Results(one for one in results if "recipe" in one.spec)
    rows, sentences = [], []
    ends = {space: f"{METRIC} {space} k={settings['k']}" for space in spaces.SPACES}
    for name in results.values("dataset"):
        for recipe in results.values("recipe"):
            own = results.where(dataset=name, recipe=recipe)
            if not len(own):
                continue
            curves = [one.told["curve"] for one in own]
            when = int(np.median([converged(curve, "cosine") for curve in curves]))
            gain = float(np.mean([late_gain(curve, "cosine") for curve in curves]))
            best = int(np.median([max(curve, key=lambda point: point[SPARSE])["step"] for curve in curves]))
            dead = float(np.mean([one.told["dead"] for one in own]))
            cosine = float(np.mean([curve[-1]["cosine"] for curve in curves]))
            seconds = round(float(np.mean([curve[-1]["seconds"] for curve in curves])))
            recalls = [page.spread(own, ends[space]) for space in spaces.SPACES]
            batch = next(iter(own)).told["batch"]
            rows.append([f"{name}, {recipe}", batch, when, f"{gain:+.4f}", best, cosine, *recalls, dead, seconds])
            means = [f"{np.mean(own.means(ends[space])):.3f} {space}" for space in spaces.SPACES]
            sentences.append(
                f"{CALLED[recipe]} is within 1 % of its last validation cosine ({cosine:.3f}) from step {when} on, "
                f"gains {gain:+.4f} in the last fifth, is best in the sparse space at step {best}, and ends at a "
                f"recall@100 of {', '.join(means)} with {dead:.0%} of the latents dead"
            )
    batch = next(iter(results)).told["batch"]
    answer = (
        f"Of {settings['steps']} steps of {batch:,} rows on {', '.join(results.values('dataset'))} "
        f"(h={settings['h']:,}, k={settings['k']}): {'; '.join(sentences)}.{_beside(settings, peers)}"
    )
    heads = ["set, recipe", "rows of a batch", "within 1 % of the last cosine, from step", "gain in the last fifth"]
    heads += ["best sparse recall, at step", "validation cosine", *(f"recall@100 {space}" for space in spaces.SPACES)]
    heads += ["dead latents", "seconds"]
    notes = (
        "`paper`: Adam at 1e-3, no warm-up, no decay, encoder and decoder drawn independently, as the published class. "
        "`published`: our defaults for the same codes: the encoder starts as the decoder's transpose, 6e-3 with "
        "warm-up and cosine decay. Seconds are those of training, without validations. The paper trains on batches of "
        "100,000 of its own 10⁸ vectors and draws a validation loss that still falls at step 500; `--config.size=full` "
        "takes batches as near to that as the set allows. MS MARCO's vectors, which the method is asked to be tried "
        "on, cannot be had here: `--config.sizes.full.datasets=\"('marco.npy',)\"` takes them, or any other vectors, "
        "from a file."
    )
    sections = [("Where it ends", page.table(heads, rows))]
    sections += [("Beside fewer coordinates of float32: recall@100 of dense queries", _peers(settings, peers))]
    sections += [("What was trained", notes)]
    return page.Page(answer, sections, figures(results))


def _beside(settings: Settings, peers: Results) -> str:
    """A sentence on the peers of as many bytes as the paper counts for the codes."""
    width, told = PUBLISHED_BYTES * settings["k"] // 4, ""
    for name in peers.values("dataset"):
        same = {
            peer: peers.where(dataset=name, peer=peer, width=width).per_query(METRIC) for peer in peers.values("peer")
        }
        found = [f"{CALLED[peer]} {values.mean():.3f}" for peer, values in same.items() if values is not None]
        if found:
            told += f" The first {width} coordinates, as many bytes as the paper counts, find on {name}: "
            told += f"{', '.join(found)}."
    return told


def _peers(settings: Settings, peers: Results) -> str:
    rows = [
        [f"{name}, {CALLED[peer]}"]
        + [page.spread(peers.where(dataset=name, peer=peer, width=width), METRIC) for width in settings["widths"]]
        for name in peers.values("dataset")
        for peer in peers.values("peer")
    ]
    return page.table(["set, method", *(f"{width} ({4 * width} bytes)" for width in settings["widths"])], rows)


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
            panel.set(xlabel=over, title=name)
    grid[0][0].legend(frameon=False, loc="lower right", fontsize=8)
