"""Which storage a budget of bytes should take: ranks hold a few more nonzeros, `fast4` is read many times as fast.

    python -m benchmarks.storages --out=results

Neighbour protocol on rows that nothing was fitted to (`frontier`'s `:unseen`, in COMPRESSAE_DATA). For each budget
one dictionary, that of `budgets.choose`, and the most nonzeros that a record of either storage holds in these bytes.
`python -m benchmarks.packed` has the times of both.
"""

import argparse
from typing import Any

import numpy as np

from benchmarks import frontier, timing
from compressae_jax import compression
from compressae_jax.data.sources import InMemory
from compressae_jax.evaluation import intervals, neighbours
from compressae_jax.model import budgets
from compressae_jax.retrieval.index import Index
from compressae_jax.training import loop

STORAGES = ("packed4", "fast4")
DEPTH = 100
POINT = 0.01  # of recall: what the faster storage may cost


def main() -> None:
    """Learn a dictionary for each dataset and budget, store rows both ways, search; write the table."""
    flags = parse()
    report: dict[str, Any] = {
        "command": "python -m benchmarks.storages",
        "settings": vars(flags),
        "machine": timing.machine(),
        "results": [],
    }
    for name in flags.data:
        rows = frontier.split(f"{name}{frontier.UNSEEN}")
        for budget in flags.bytes:
            line = {"data": name, "rows": len(rows.searched), "d": rows.searched.shape[1], "bytes": budget}
            report["results"].append({**line, **measured(rows, budget, flags.seed)})
            print(report["results"][-1], flush=True)
    if flags.out:
        timing.write(flags.out, "storages", report, table(report))
    print(table(report))


def parse() -> argparse.Namespace:
    """The flags."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", nargs="+", default=["scifact", "vaswani", "cifar10", "wordnet768", "debian"])
    parser.add_argument("--bytes", nargs="+", type=int, default=[16, 32, 64, 128])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", default="", help="folder for storages.json and storages.md")
    return parser.parse_args()


def measured(rows: frontier.Rows, budget: int, seed: int) -> dict[str, Any]:
    """h, and of each storage k and the recall, with the recall's difference."""
    weights = loop.fit(InMemory(rows.training), budget_bytes=budget, seed=seed, progress=False, held_out=0)
    found: dict[str, Any] = {"h": weights.h}
    hits = {}
    for storage in STORAGES:
        k = min(budgets.largest_k(budget, weights.h, storage), int(budgets.FILLED * weights.d))
        codes = compression.encode(weights.with_k(k), rows.searched, storage, "pursuit")
        index = Index(codes, weights.with_k(k))
        hits[storage] = neighbours.overlap(index.search(rows.queries, DEPTH).rows, rows.truth)
        recall = intervals.interval(hits[storage], seed=seed)._asdict()
        found[storage] = {"k": k, "bytes_per_vector": index.bytes_per_vector, "recall": recall}
    lost = intervals.interval(hits["packed4"] - hits["fast4"], seed=seed)
    return {**found, "lost": lost._asdict()}


def table(report: dict[str, Any]) -> str:
    """Datasets and bytes down, k and recall of both storages to the right, and what the faster one loses."""
    lines = []
    for one in report["results"]:
        each = [one[storage] for storage in STORAGES]
        recalls = [f"{half(some['recall'])}" for some in each]
        lost = one["lost"]
        verdict = "fast4" if lost["mean"] <= POINT else "packed4"
        shown = f"{lost['mean']:+.4f} ({lost['low']:+.4f} to {lost['high']:+.4f})"
        lines.append(
            [
                one["data"],
                str(one["bytes"]),
                f"{one['h']:,}",
                *(str(some["k"]) for some in each),
                *recalls,
                shown,
                verdict,
            ]
        )
    sizes = {one["data"]: f"{one['data']} {one['rows']:,} × {one['d']}" for one in report["results"]}
    head = (
        f"Recall@{DEPTH} of rows that nothing was fitted to ({', '.join(sizes.values())}), dense queries, at equal "
        f"bytes. ± half of the 95 % bootstrap interval; what `fast4` loses, query by query, and the storage that "
        f"follows: `fast4` unless it loses more than {POINT}. Seed {report['settings']['seed']}. "
        f"`{report['command']}`."
    )
    columns = "data | bytes | h | k, packed4 | k, fast4 | packed4 | fast4 | lost | takes"
    return "\n".join([head, "", *timing.markdown(columns, lines)]) + "\n"


def half(recall: dict[str, float]) -> str:
    """A mean with half of its interval."""
    return f"{recall['mean']:.3f} ± {np.subtract(recall['high'], recall['low']) / 2:.3f}"


if __name__ == "__main__":
    main()
