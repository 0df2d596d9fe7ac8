"""The sparse space by landmarks (recipe 'sparse') beside the published recipe.

    python -m benchmarks.landmarks --workdir=runs/landmarks --out=results

Neighbour protocol: 1,000 rows, at most a tenth, held out as queries, recall of their exact dense neighbours. A
dataset's `:unseen` form has landmarks from, or trains on, a random half of the rows and searches the other one.
Queries are compressed; with `query_times` 2 they keep twice the nonzeros of a row, which the rows do not pay for.
Published models are trained once a seed, and kept in the work folder.
"""

import argparse
import dataclasses
import time
from pathlib import Path
from typing import Any

import numpy as np

import compressae_jax as cs
from benchmarks import timing
from compressae_jax.evaluation import intervals, neighbours
from compressae_jax.evaluation.intervals import Interval
from compressae_jax.experiments import bench

UNSEEN = ":unseen"
DEPTHS = (10, 100)
RECIPES = ("published", "sparse")
TIMES = (1, 2)  # nonzeros of a query, for each of a row
SEEDS = {"published": 1, "sparse": 3}  # an hour of training would be two more; landmarks take minutes at most
PLACES = ("workdir", "out")  # flags that change no figure
OTHERS = ("reconstructed", "dense_query")


def main() -> None:
    """Measure each dataset, recipe and seed, write the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--datasets", nargs="+", default=["wordnet", "debian", f"debian{UNSEEN}"])
    parser.add_argument("--k", type=int, default=16)
    parser.add_argument("--h", type=int, help="landmarks; by default as many as the rows afford")
    parser.add_argument("--steps", type=int, help="of the published recipe; by default its own")
    parser.add_argument("--workdir", default="runs/landmarks", help="models are kept here")
    parser.add_argument("--out", default="", help="folder for landmarks.json and landmarks.md")
    flags = parser.parse_args()
    report: dict[str, Any] = {
        "command": "python -m benchmarks.landmarks",
        "settings": {name: value for name, value in vars(flags).items() if name not in PLACES},
        "machine": timing.machine(),
        "measured": {},
    }
    for dataset in flags.datasets:
        report["measured"][dataset] = measured(dataset, flags)
        if flags.out:  # as far as it is
            timing.write(flags.out, "landmarks", report, table(report))
    print(table(report))


def measured(dataset: str, flags: argparse.Namespace) -> dict[str, Any]:
    """What both recipes find on the same rows, and the difference, paired over queries, of their first seeds."""
    rows = bench.split(dataset.removesuffix(UNSEEN), unseen=dataset.endswith(UNSEEN))
    told: dict[str, Any] = {"trained_on": len(rows.training), "searched": len(rows.searched), "recipes": {}}
    first = {}
    for recipe in RECIPES:
        lines = []
        for seed in range(SEEDS[recipe]):
            line, found = one(fitted(dataset, rows.training, recipe, seed, flags), rows)
            lines.append({"seed": seed, **line})
            first.setdefault(recipe, found)
        told["recipes"][recipe] = lines
    told["difference"] = {
        name: intervals.difference(first["sparse"][name], first["published"][name])._asdict()
        for name in first["sparse"]
    }
    return told


def fitted(dataset: str, training: np.ndarray, recipe: str, seed: int, flags: argparse.Namespace) -> cs.Model:
    """The model of a recipe, all of whose other fields are its own."""
    own: dict[str, Any] = {"k": flags.k, "h": flags.h if recipe == "sparse" else None}
    if recipe == "published":
        own |= {"steps": flags.steps, "workdir": Path(flags.workdir) / f"published-{dataset}-{seed}"}
    return cs.fit(training, recipe=recipe, seed=seed, held_out=0, progress=False, **own)


def one(model: cs.Model, rows: bench.Rows) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """What a model finds, mean and interval, and of each query; its size and time."""
    start = time.perf_counter()
    codes = model.compress(rows.searched, zero_rows="keep", progress=False)
    seconds = time.perf_counter() - start
    found = {}
    for times in TIMES:
        asked = cs.Model(dataclasses.replace(model.weights, query_times=times))
        scores = recall(asked.index(codes, space="sparse"), rows)
        found |= {f"{name}, queries of {times} k": values for name, values in scores.items()}
    for space in OTHERS:
        found |= {f"{name}, {space}": values for name, values in recall(model.index(codes, space=space), rows).items()}
    return {
        "h": model.h,
        "bytes": model.index(codes, space="sparse").bytes_per_vector,
        "encoder_megabytes": round((model.d + 1) * model.h * 4 / 1e6, 1),
        "trained_seconds": model.weights.summary["seconds"],
        "rows_a_second": round(len(rows.searched) / seconds),
        "recall": {name: intervals.interval(values)._asdict() for name, values in found.items()},
    }, found


def recall(index: cs.Index, rows: bench.Rows) -> dict[str, np.ndarray]:
    """Of each query, by depth."""
    _, found = index.search(rows.queries, DEPTHS[-1])
    return {f"recall@{depth}": neighbours.overlap(found[:, :depth], rows.truth[:, :depth]) for depth in DEPTHS}


def table(report: dict[str, Any]) -> str:
    """Datasets and recipes down; recall in the sparse space across, then in the others."""
    columns = [f"recall@{depth}, queries of {times} k" for times in TIMES for depth in DEPTHS]
    columns += [f"recall@100, {space}" for space in OTHERS]
    rows, told = [], []
    for dataset, some in report["measured"].items():
        for recipe, lines in some["recipes"].items():
            means = {name: [line["recall"][name]["mean"] for line in lines] for name in columns}
            shown = [spread(means[name]) for name in columns]
            first = lines[0]
            size = [f"{first['h']:,}", f"{first['bytes']:g}", f"{first['encoder_megabytes']:g}"]
            rows.append([dataset, recipe, str(len(lines)), *size, f"{first['rows_a_second']:,}", *shown])
        gained = {name: Interval(**one) for name, one in some["difference"].items()}
        parts = [
            f"{(one := gained[f'recall@100, queries of {times} k']).mean:+.3f} [{one.low:+.3f}, {one.high:+.3f}]"
            for times in TIMES
        ]
        told.append(
            f"- {dataset} ({some['searched']:,} rows searched, {some['trained_on']:,} to learn from): landmarks find "
            f"{parts[0]} of the 100 nearest more than the published recipe with queries of k nonzeros, {parts[1]} with "
            "2k (first seeds, paired over queries, 95 %)."
        )
    heads = ["dataset", "recipe", "seeds", "h", "bytes a row", "encoder, MB", "rows encoded a second", *columns]
    lines = [
        f"Recall of dense neighbours in the sparse space at k={report['settings']['k']}: both sides are codes, and no "
        "decoder is used. Mean over seeds (± half their spread where there are several). `python -m "
        "benchmarks.landmarks`.",
        "",
        *timing.markdown(" | ".join(heads), rows),
        "",
        *told,
    ]
    return "\n".join(lines) + "\n"


def spread(means: list[float]) -> str:
    """A mean, and half of what seeds differ by."""
    mean = f"{np.mean(means):.3f}"
    return mean if len(means) == 1 else f"{mean} ± {(max(means) - min(means)) / 2:.3f}"


if __name__ == "__main__":
    main()
