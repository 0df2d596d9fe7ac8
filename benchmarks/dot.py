"""Where the length of a packed row should go that is compared by inner products: into its values, or beside them.

    python -m benchmarks.dot --out=results

`shop` ships with the package, `glove` lies in COMPRESSAE_DATA; neither is normalised. A dictionary is learned from one
half of the rows, the other half is searched by rows of the first that it never saw: how many of their 100 rows of the
largest inner product are found, at equal bytes a row. *Folded* is what `similarity='dot'` does: values are fitted on
levels with the row's length in them. *Beside*: the length in two bytes (float16), or in one (256 steps of its logarithm
between the shortest and the longest row), and a record that is shorter by as much. *Cosine* forgets lengths.
"""

import argparse
from collections.abc import Iterator
from typing import Any

import numpy as np

import compressae_jax as cs
from benchmarks import timing
from compressae_jax import data
from compressae_jax.evaluation import intervals, neighbours
from compressae_jax.model import budgets

DEPTH = 100


def main() -> None:
    """Learn, store each way, search; write the table."""
    flags = parse()
    report: dict[str, Any] = {
        "command": "python -m benchmarks.dot",
        "settings": vars(flags),
        "machine": timing.machine(),
        "results": [],
    }
    for name in flags.data:
        learned, searched, queries = parts(name, flags)
        lengths = np.linalg.norm(searched, axis=1)
        truth = best(queries @ searched.T)
        said = {
            "data": name,
            "rows": len(searched),
            "d": searched.shape[1],
            "queries": len(queries),
            "lengths": {f"{q:g}": float(np.quantile(lengths, q)) for q in (0, 0.05, 0.5, 0.95, 1)},
        }
        for budget in flags.bytes:
            for way, scores in ways(budget, learned, searched, queries, lengths, flags.seed):
                recall = intervals.interval(neighbours.overlap(best(scores), truth))._asdict()
                report["results"].append({**said, "bytes": budget, "way": way, "recall": recall})
                print(f"{name}, {budget} bytes, {way}: {recall['mean']:.3f}", flush=True)
    if flags.out:
        timing.write(flags.out, "dot", report, table(report))
    print(table(report))


def parse() -> argparse.Namespace:
    """The flags."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", nargs="+", default=["shop", "glove"])
    parser.add_argument("--bytes", nargs="+", type=int, default=[16, 32, 64])
    parser.add_argument("--rows", type=int, default=100_000, help="of a dataset, evenly spaced, at most")
    parser.add_argument("--queries", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", default="", help="folder for dot.json and dot.md")
    return parser.parse_args()


def parts(name: str, flags: argparse.Namespace) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows to learn from, rows to search, and queries, by chance; zero rows left out."""
    source = data.load(name).vectors
    n = min(len(source), flags.rows)
    x = source.take(np.linspace(0, len(source) - 1, n).astype(np.int64))
    x = x[x.any(axis=1)]
    x = x[np.random.default_rng(flags.seed).permutation(len(x))]
    half = len(x) // 2
    return x[flags.queries : half], x[half:], x[: flags.queries]


def best(scores: np.ndarray) -> np.ndarray:
    """The rows of the best scores (q, n)."""
    return np.argsort(-scores, axis=1, kind="stable")[:, :DEPTH]


def ways(
    budget: int, learned: np.ndarray, searched: np.ndarray, queries: np.ndarray, lengths: np.ndarray, seed: int
) -> Iterator[tuple[str, np.ndarray]]:
    """Each way's scores (q, n); those that keep lengths apart have a dictionary for as many bytes less."""
    models = {some: dictionary(learned, some, seed) for some in range(budget - 2, budget + 1)}
    z = {some: model.reconstruct(model.compress(searched, progress=False)) for some, model in models.items()}
    folded = models[budget].compress(searched, similarity="dot", progress=False)
    assert folded.nbytes <= budget * len(searched)
    yield "cosine", queries @ z[budget].T
    yield "folded, `similarity='dot'`", queries @ models[budget].reconstruct(folded).T
    yield "beside, one byte", (queries @ z[budget - 1].T) * in_one_byte(lengths)
    yield "beside, two bytes", (queries @ z[budget - 2].T) * lengths.astype(np.float16).astype(np.float32)


def dictionary(learned: np.ndarray, budget: int, seed: int) -> cs.Model:
    """Pursuit codes of a budget, also where its own choice are additive codes, which have no lengths in them."""
    n, d = learned.shape
    h = budgets.choose(budget, d, n, cosines=False).h
    k, _ = budgets.of_dictionary(budget, h, d)
    model = cs.fit(learned, h=h, k=k, steps=0, refine_rounds=15, seed=seed, progress=False)
    return model.with_budget(budget)


def in_one_byte(lengths: np.ndarray) -> np.ndarray:
    """Lengths rounded to 256 steps of their logarithm."""
    logs = np.log(lengths)
    step = np.ptp(logs) / 255
    return np.exp(logs.min() + np.rint((logs - logs.min()) / step) * step).astype(np.float32)


def table(report: dict[str, Any]) -> str:
    """Datasets and bytes down, ways to the right."""
    results = report["results"]
    sets = {one["data"]: one for one in results}
    said = "; ".join(
        f"{name}: {one['rows']:,} rows of d={one['d']}, {one['queries']:,} queries, lengths "
        f"{one['lengths']['0.05']:.2f} to {one['lengths']['0.95']:.2f} (5 % to 95 %)"
        for name, one in sets.items()
    )
    names = list(dict.fromkeys(one["way"] for one in results))
    lines = []
    for name, budget in dict.fromkeys((one["data"], one["bytes"]) for one in results):
        recalls = {one["way"]: one["recall"] for one in results if (one["data"], one["bytes"]) == (name, budget)}
        shown = [f"{r['mean']:.3f} ± {(r['high'] - r['low']) / 2:.3f}" for r in (recalls[way] for way in names)]
        lines.append([name, str(budget), *shown])
    head = (
        f"Recall@{DEPTH} of the largest inner products, rows that nothing was fitted to; dictionaries of another half. "
        f"{said}. ± half of the 95 % bootstrap interval; seed {report['settings']['seed']}. `{report['command']}`."
    )
    return "\n".join([head, "", *timing.markdown(" | ".join(["data", "bytes", *names]), lines)]) + "\n"


if __name__ == "__main__":
    main()
