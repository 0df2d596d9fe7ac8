"""When to train anew: a model of one part of a catalogue meets the other part; what `drift` says, and what helps.

    python -m benchmarks.drift --out=results

The catalogue is Debian's (dataset `debian`, shipped): libraries of programming languages come first, all
other packages later. Rows held out of both parts are asked for: their cosine to the reconstruction, and how many of
their 100 nearest rows, among all rows of both parts, an index in the space dense_query finds.
"""

import argparse
import dataclasses
import gzip
from typing import Any

import numpy as np

import compressae_jax as cs
from benchmarks import timing
from compressae_jax import data
from compressae_jax.data.sources import InMemory
from compressae_jax.evaluation import intervals, neighbours

BEFORE = (
    *("cli-mono", "gnu-r", "golang", "haskell", "java", "javascript", "libdevel", "libs", "lisp", "ocaml", "perl"),
    *("php", "python", "ruby", "rust"),
)
PARTS = ("before", "after")
DEPTH = 100


def main() -> None:
    """Train, ask for drift, train on in two ways and anew; write the table."""
    flags = parse()
    rows, queries = parts(flags)
    both = np.concatenate([rows[part] for part in PARTS])
    truth = {part: neighbours.truth(InMemory(both), np.empty(0, np.int64), queries[part])[1] for part in PARTS}
    report: dict[str, Any] = {
        "command": "python -m benchmarks.drift",
        "settings": vars(flags),
        "machine": timing.machine(),
        "rows": {part: len(rows[part]) for part in PARTS},
        "queries": {part: len(queries[part]) for part in PARTS},
        "results": [],
    }
    for kind, fields in kinds(flags).items():
        fields = {**fields, "seed": flags.seed, "progress": False}
        old = cs.fit(rows["before"], **fields)
        goes_on = {"start": old, "seed": flags.seed, "progress": False}
        goes_on |= {"batch": flags.batch} if "batch" in fields else {}
        models = {
            "before": old,
            "before, then after": cs.fit(rows["after"], **goes_on),
            "before, then all": cs.fit(both, **goes_on),
            "all": cs.fit(both, **fields),
        }
        for trained_on, model in models.items():
            found = measured(model, both, queries, truth)
            report["results"].append({"kind": kind, "trained_on": trained_on, **found})
            print(f"{kind}, trained on {trained_on}: after {found['drift']['after']['says']}", flush=True)
    if flags.out:
        timing.write(flags.out, "drift", report, table(report))
    print(table(report))


def parse() -> argparse.Namespace:
    """The flags."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--h", type=int, default=512)
    parser.add_argument("--k", type=int, default=16)
    parser.add_argument("--steps", type=int, default=3000, help="of a training that begins anew")
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--budget_bytes", type=int, default=24, help="of the dictionary")
    parser.add_argument("--queries", type=int, default=500, help="rows held out of each part")
    parser.add_argument(
        "--rows", type=int, default=6000, help="of each part, evenly spaced, queries among them; 0: all"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", default="", help="folder for drift.json and drift.md")
    return parser.parse_args()


def kinds(flags: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """The fields of a training that begins anew, by kind of model."""
    steps = {"h": flags.h, "k": flags.k, "steps": flags.steps, "batch": flags.batch}
    return {"autoencoder": steps, f"dictionary, {flags.budget_bytes} bytes": {"budget_bytes": flags.budget_bytes}}


def parts(flags: argparse.Namespace) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Rows and held-out queries of both parts of the catalogue."""
    dataset = data.load("debian")
    lines = gzip.decompress((dataset.folder / "items.txt.gz").read_bytes()).decode().splitlines()
    first = np.isin([line.partition("\t")[0] for line in lines], BEFORE)
    rows, queries = {}, {}
    for part, of in zip(PARTS, (np.flatnonzero(first), np.flatnonzero(~first)), strict=True):
        of = of[np.linspace(0, len(of) - 1, flags.rows or len(of)).astype(np.int64)]
        drawn = data.split_rows(len(of), flags.queries, 0)
        rows[part] = dataset.vectors.take(of[np.asarray(drawn.train)])
        queries[part] = dataset.vectors.take(of[drawn.queries])
    return rows, queries


def measured(
    model: cs.Model, both: np.ndarray, queries: dict[str, np.ndarray], truth: dict[str, np.ndarray]
) -> dict[str, Any]:
    """How it was trained, and of each part: what drift says of its queries, and how many neighbours they find."""
    index = model.index(both, progress=False)
    drifts, recalls = {}, {}
    for part in PARTS:
        told = model.drift(queries[part])
        drifts[part] = {**dataclasses.asdict(told), "drifted": told.drifted, "says": str(told)}
        _, found = index.search(queries[part], DEPTH)
        recalls[part] = intervals.interval(neighbours.overlap(found, truth[part]))._asdict()
    way = {"h": model.h, "k": model.k, "bytes_per_vector": index.bytes_per_vector}
    return {"stages": model.weights.summary["stages"], **way, "drift": drifts, "recall": recalls}


def table(report: dict[str, Any]) -> str:
    """Kinds and trainings down; work, drift, cosines and recalls of both parts."""
    s, rows, queries = report["settings"], report["rows"], report["queries"]
    lines = [
        f"Debian's catalogue in two parts: {rows['before']:,} libraries of programming languages (before) and "
        f"{rows['after']:,} other packages (after), d=384; {queries['before']:,} and {queries['after']:,} rows held "
        f"out of all trainings are asked for. Cosine: of a row to its reconstruction; recall@{DEPTH}: among all rows "
        f"of both parts, ± half of the 95 % bootstrap interval. Autoencoder: h={s['h']:,}, k={s['k']}, {s['steps']:,} "
        f"steps of {s['batch']} rows where it begins anew, else the defaults of `start`; seed {s['seed']}. Drift: of "
        f"the rows of after, beside what the model notes. `{report['command']}`.",
        "",
        *timing.markdown(
            f"model | trained on | last by | drift | cosine, before | cosine, after | recall@{DEPTH}, before | "
            f"recall@{DEPTH}, after",
            (cells(one) for one in report["results"]),
        ),
    ]
    return "\n".join(lines) + "\n"


def cells(one: dict[str, Any]) -> list[str]:
    """A line of the table."""
    after = one["drift"]["after"]
    difference = after["cosine"] - after["reference"]
    verdict = (
        f"{'**yes**' if after['drifted'] else 'no'} ({difference:+.3f}, {after['low']:+.3f} to {after['high']:+.3f})"
    )
    cosines = [f"{one['drift'][part]['cosine']:.3f}" for part in PARTS]
    recalls = [f"{r['mean']:.3f} ± {(r['high'] - r['low']) / 2:.3f}" for r in (one["recall"][part] for part in PARTS)]
    work = ", ".join(f"{stage[stage['kind']]:,} {stage['kind']}" for stage in one["stages"])
    return [one["kind"], one["trained_on"], f"{work}, h={one['h']:,}", verdict, *cosines, *recalls]


if __name__ == "__main__":
    main()
