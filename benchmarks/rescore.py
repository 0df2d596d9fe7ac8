"""What a second look buys: the best rows by codes, ranked anew by exact cosines with the dense vectors on the disk.

    python -m benchmarks.rescore --out=results

Held-out rows of `wordnet` (in COMPRESSAE_DATA), to which nothing was fitted, ask for their nearest neighbours among the
others, by packed pursuit codes alone and with some candidates looked up in a memory-mapped file, whose pages are in
memory.
"""

import argparse
import functools
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

import compressae_jax as cs
from benchmarks import timing
from compressae_jax import data
from compressae_jax.data.sources import InMemory
from compressae_jax.evaluation import intervals, neighbours

DEPTHS = (10, 100)
ALONE = 0  # candidates


def main() -> None:
    """Train, search with and without a second look, write the table."""
    flags = parse()
    source = data.load(flags.data).vectors
    drawn = data.split_rows(len(source), flags.queries, flags.seed)
    rows, queries = source.take(np.asarray(drawn.train)), source.take(drawn.queries)
    truth = neighbours.truth(InMemory(rows), np.empty(0, np.int64), queries)[1]
    report: dict[str, Any] = {
        "command": "python -m benchmarks.rescore",
        "settings": vars(flags),
        "machine": timing.machine(),
        "rows": len(rows),
        "d": rows.shape[1],
        "results": [],
    }
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch) / "vectors.npy"
        np.save(file, rows)
        for budget in flags.bytes:
            index = cs.fit(rows, budget_bytes=budget, seed=flags.seed).index(rows)
            sides = {ALONE: functools.partial(index.search, queries, max(DEPTHS))}
            for candidates in flags.candidates:
                how = {"rescore": file, "candidates": candidates}
                sides[candidates] = functools.partial(index.search, queries, max(DEPTHS), **how)
            seconds = timing.alternate(sides, flags.repeats)
            for candidates, search in sides.items():
                found = search().rows
                recall = {
                    f"recall@{depth}": intervals.interval(
                        neighbours.overlap(found[:, :depth], truth[:, :depth])
                    )._asdict()
                    for depth in DEPTHS
                }
                times = timing.milliseconds([1.0 * some / len(queries) for some in seconds[candidates]])
                report["results"].append({"bytes": index.bytes_per_vector, "candidates": candidates, **recall, **times})
                print(budget, candidates, {name: round(one["mean"], 3) for name, one in recall.items()}, flush=True)
    if flags.out:
        timing.write(flags.out, "rescore", report, table(report))
    print(table(report))


def parse() -> argparse.Namespace:
    """The flags."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", default="wordnet")
    parser.add_argument("--bytes", nargs="+", type=int, default=[16, 32])
    parser.add_argument("--candidates", nargs="+", type=int, default=[100, 200, 400, 1000])
    parser.add_argument("--queries", type=int, default=500)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", default="", help="folder for rescore.json and rescore.md")
    return parser.parse_args()


def table(report: dict[str, Any]) -> str:
    """Codes and candidates down; recalls and time to the right."""
    s = report["settings"]
    lines = []
    for one in report["results"]:
        recalls = [one[f"recall@{depth}"] for depth in DEPTHS]
        shown = [f"{r['mean']:.3f} ± {(r['high'] - r['low']) / 2:.3f}" for r in recalls]
        looked_at = f"{one['candidates']:,}" if one["candidates"] else "codes alone"
        lines.append([f"{one['bytes']:g}", looked_at, *shown, timing.shown(one, 2, "_ms")])
    head = (
        f"{report['rows']:,} rows of {s['data']} × {report['d']} as packed codes of dictionaries fitted to them; "
        f"{s['queries']:,} held-out rows ask for their {max(DEPTHS)} nearest by exact cosine. ± half of the 95 % "
        f"bootstrap interval; ms a query, all of them at once, median of {s['repeats']} alternating calls (least to "
        f"greatest), the vectors in a memory-mapped `.npy` whose pages were read before. Seed {s['seed']}. "
        f"`{report['command']}`."
    )
    columns = " | ".join(["bytes", "candidates", *(f"recall@{depth}" for depth in DEPTHS), "ms a query"])
    return "\n".join([head, "", *timing.markdown(columns, lines)]) + "\n"


if __name__ == "__main__":
    main()
