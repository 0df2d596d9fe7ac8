"""How does accuracy depend on k, h and the space, and is one model enough for all k?"""

import functools
from typing import Any

import numpy as np

from compressae_jax import compression
from compressae_jax.baselines import dense
from compressae_jax.evaluation import protocols
from compressae_jax.evaluation.corpus import Corpus
from compressae_jax.evaluation.significance import Effect
from compressae_jax.experiments import bench, page, paired, spaces
from compressae_jax.experiments.bench import Bench
from compressae_jax.experiments.cells import Outcome, Results, Settings, Spec, product
from compressae_jax.model.weights import Weights
from compressae_jax.retrieval.index import Index

KEEPS = (0.90, 0.95, 0.99)  # of what dense vectors score
JUDGED = ("nDCG@10", "recall@100")
BYTES = {"published": 8, "float16": 4}  # of a nonzero: float32 and int32, uint16 and float16
COLOURS = ("#0072B2", "#009E73", "#D55E00", "#CC79A7", "#C49A00")


def cells(settings: Settings) -> list[Spec]:
    """One training for every h and k, the largest k first, whose codes are also cut to the others; dense vectors."""
    own = {name: settings[name] for name in ("rows", "batch", "steps")}
    ks = sorted(settings["ks"], reverse=True)
    axes = {"dataset": settings["datasets"], "h": settings["hs"], "k": ks, "seed": settings["seeds"]}
    found = [{**spec, **own, "prefixes": ks[1:] if spec["k"] == ks[0] else []} for spec in product(**axes)]
    return [*product(dataset=settings["datasets"], dense=[True]), *(one for one in found if one["k"] < one["h"])]


def measure(here: Bench, spec: Spec) -> Outcome:
    """Neighbours in three spaces, at k and at prefixes; where the set has judgements, those, too."""
    if spec.get("dense"):
        return Outcome(_judged_dense(spec["dataset"]), {})
    rows = bench.split(spec["dataset"], spec["rows"])
    fields = {name: spec[name] for name in ("h", "k", "batch", "steps")}
    fields |= {"validate_every": 0, "checkpoint_every": 0}
    weights = here.trained(spec["dataset"], rows.training, fields, seed=spec["seed"])
    scores = spaces.recalls(weights, rows, (spec["k"], *spec["prefixes"]))
    return Outcome(scores | _judged(weights, spec["dataset"]), {"dead": spaces.dead(weights, rows.searched)})


def _asked(name: str) -> protocols.Protocol | None:
    """The judgements of a set; None where there are none."""
    if name not in bench.data.names() or bench.dataset(name).judgements() is None:
        return None
    source = bench.source(name)
    return protocols.of_dataset(name, bench.dataset(name), Corpus(source, {}, np.empty(0, np.int64)))


def _judged_dense(name: str) -> dict[str, Any]:
    asked = _asked(name)
    if asked is None:
        return {}
    x = bench.source(name).read(0, len(bench.source(name)))
    return {f"judged {metric}": values for metric, values in asked.ask(dense.fit(x).add(x).search).items()}


def _judged(weights: Weights, name: str) -> dict[str, Any]:
    asked = _asked(name)
    if asked is None:
        return {}
    x = bench.source(name).read(0, len(bench.source(name)))
    index = Index(compression.encode(weights, x), weights, "sparse")
    return {
        f"judged {metric} {space} k={weights.k}": values
        for space in spaces.SPACES
        for metric, values in asked.ask(index.in_space(space).search).items()
    }


def told(settings: Settings, results: Results) -> page.Page:
    """Tables by h and k, operating points, prefixes beside models of their own."""
    sections, sentences = [], []
    for name in results.values("dataset"):
        own = results.where(dataset=name)
        sections.append((f"{name}: recall@100 of the dense neighbours", _recalls(own)))
        sections.append((f"{name}: one model by prefix against one model a k", _prefixes(own)))
        points = _points(own)
        if points:
            sections.append((f"{name}: the least that keeps a share of dense nDCG@10 and recall@100", _kept(points)))
            sentences += [_sentence(name, points)]
        sentences += [_of_prefixes(name, own)]
    figures = [
        page.Figure(
            f"sensitivity_{page.file_name(name)}",
            f"recall@100 on {name} against k, a panel a space, a line an h; dashed: the model of the largest k, cut",
            functools.partial(_draw, results=results.where(dataset=name)),
            (11, 4),
        )
        for name in results.values("dataset")
    ]
    notes = (
        f"Published one-pass codes, {settings['steps']} steps of {settings['batch']:,} rows each. Bytes: as the paper "
        "counts them, 8 a nonzero (float32 and int32), and as rows are kept by default, 4 (float16 and uint16), "
        "without the two of a row's scale. Packed pursuit codes need fewer; they are in the experiment `tasks`."
    )
    return page.Page(" ".join(sentences), [*sections, ("How to read it", notes)], figures)


def _sizes(results: Results) -> tuple[list[int], list[int]]:
    return sorted(results.values("h")), sorted(results.values("k"))


def _recalls(results: Results) -> str:
    hs, ks = _sizes(results)
    rows = []
    for h in hs:
        for space in spaces.SPACES:
            cells = [page.spread(results.where(h=h, k=k), f"recall@100 {space} k={k}") for k in ks]
            rows.append([f"h={h:,}, {space}", *cells])
        dead = [np.mean([one.told["dead"] for one in results.where(h=h, k=k)] or [np.nan]) for k in ks]
        rows.append([f"h={h:,}, dead latents", *("" if np.isnan(share) else f"{share:.1%}" for share in dead)])
    return page.table(["", *(f"k={k}" for k in ks)], rows)


def _gap(results: Results, h: int, k: int, space: str) -> Effect | None:
    """What a prefix of the model of the largest k finds, less what the model of this k does."""
    most = max(results.where(h=h).values("k"))
    return paired.difference(results.where(h=h, k=most), results.where(h=h, k=k), f"recall@100 {space} k={k}")


def _prefixes(results: Results) -> str:
    hs, ks = _sizes(results)
    rows = []
    for h in hs:
        most = max(results.where(h=h).values("k"))
        for space in spaces.SPACES:
            cells = [page.effect(_gap(results, h, k, space)) for k in ks if k < most]
            rows.append([f"h={h:,}, {space}, cut from k={most}", *cells, *[""] * (len(ks) - 1 - len(cells))])
    return page.table(["by prefix less a model of its own", *(f"k={k}" for k in ks[:-1])], rows)


def _points(results: Results) -> dict[tuple[str, float], tuple[int, int, str] | None]:
    """By measure and share kept: the smallest k with an h and a space that keeps it, None where none does."""
    whole = results.where(dense=True)
    found: dict[tuple[str, float], tuple[int, int, str] | None] = {}
    hs, ks = _sizes(results)
    for metric in JUDGED:
        base = whole.per_query(f"judged {metric}")
        if base is None:
            return {}
        for share in KEEPS:
            keeping = [
                (k, h, space)
                for k in ks
                for h in hs
                for space in spaces.SPACES
                if (score := results.where(h=h, k=k).per_query(f"judged {metric} {space} k={k}")) is not None
                and score.mean() >= share * base.mean()
            ]
            found[metric, share] = min(keeping, default=None)
    return found


def _kept(points: dict[tuple[str, float], tuple[int, int, str] | None]) -> str:
    rows: list[list[page.Cell]] = []
    for (metric, share), found in points.items():
        if found is None:
            rows.append([f"{share:.0%} of {metric}", "none of these", "", "", "", ""])
        else:
            k, h, space = found
            rows.append([f"{share:.0%} of {metric}", k, h, space, *(k * size for size in BYTES.values())])
    return page.table(["keeps", "smallest k", "h", "space", "bytes as published", "bytes as float16 rows"], rows)


def _sentence(name: str, points: dict[tuple[str, float], tuple[int, int, str] | None]) -> str:
    told = []
    for share in KEEPS:
        found = points["nDCG@10", share]
        told.append(
            f"{share:.0%} by none of these k"
            if found is None
            else f"{share:.0%} by k={found[0]} (h={found[1]:,}, {found[2]}, {found[0] * BYTES['float16']} bytes)"
        )
    return f"On {name}, dense nDCG@10 is kept to {', to '.join(told)}."


def _of_prefixes(name: str, results: Results) -> str:
    h = max(results.values("h"))
    most = max(results.where(h=h).values("k"))
    told = []
    for k in [k for k in _sizes(results)[1] if k < most]:
        gap = _gap(results, h, k, "dense_query")
        if gap is not None:
            told.append(f"{gap.mean:+.3f} at k={k}")
    return (
        f"One model of k={most} cut to fewer (h={h:,}, {name}) changes recall@100 of dense queries against models of "
        f"their own by {', '.join(told)}."
    )


def _draw(canvas: Any, results: Results) -> None:
    hs, ks = _sizes(results)
    for axes, space in zip(canvas.subplots(1, 3, sharey=True), spaces.SPACES, strict=True):
        for h, colour in zip(hs, COLOURS, strict=False):
            means = [results.where(h=h, k=k).per_query(f"recall@100 {space} k={k}") for k in ks]
            points = [(k, one.mean()) for k, one in zip(ks, means, strict=True) if one is not None]
            axes.plot(*zip(*points, strict=True), "o-", color=colour, label=f"h={h:,}", markersize=4)
            most = max(results.where(h=h).values("k"))
            cuts = [(k, results.where(h=h, k=most).per_query(f"recall@100 {space} k={k}")) for k in ks]
            cut = [(k, values.mean()) for k, values in cuts if values is not None and k <= most]
            axes.plot(*zip(*cut, strict=True), "--", color=colour, lw=1)
        axes.set_xscale("log", base=2)
        axes.set_xticks(ks, [str(k) for k in ks])
        axes.set(title=space, xlabel="k")
    canvas.axes[0].set_ylabel("recall@100")
    canvas.axes[0].legend(frameon=False, fontsize=8)
