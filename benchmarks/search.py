"""Exact search on a CPU: the `host` backend beside faiss IndexFlatIP on the dense vectors, in the same run.

    python -m benchmarks.search --out=results

The numbers are random, which changes no time: both sides read every row. Before anything is timed, our results for
some queries are compared with a float64 oracle. faiss comes with the [bench] extra.
"""

import argparse

import faiss
import numpy as np

from benchmarks import timing
from compressae_jax.codes.codes import Codes, column_dtype
from compressae_jax.retrieval import host

CHECKED = 4  # queries compared with the oracle


def main() -> None:
    """Make the rows, check ours, time both sides at each number of queries, write the results."""
    flags = parse()
    rng = np.random.default_rng(0)
    codes = random_codes(rng, flags.n, flags.h, flags.k, flags.values)
    row_scales = (1 / np.linalg.norm(codes.values.astype(np.float32), axis=1)).astype(np.float32)
    u = rng.standard_normal((max(flags.queries), flags.h)).astype(np.float32)
    check(codes, row_scales, u[:CHECKED], flags.top)

    index = faiss.IndexFlatIP(flags.d)
    index.add(unit_rows(rng, flags.n, flags.d))
    dense = unit_rows(rng, max(flags.queries), flags.d)
    faiss.omp_set_num_threads(host.cores())

    results = []
    for q in flags.queries:
        sides = {
            "host": lambda q=q: host.search(codes, row_scales, u[:q], flags.top),
            "faiss IndexFlatIP": lambda q=q: index.search(dense[:q], flags.top),
        }
        results.append({"queries": q, **summary(timing.alternate(sides, flags.repeats))})
        print(f"q={q}: {results[-1]['ratio']:.1f} times as fast as faiss", flush=True)
    report = {
        "claim": "host is at least 4 times as fast as faiss IndexFlatIP at 1 and 64 queries",
        "data": "synthetic (random codes and unit vectors); used for times only",
        "checked": f"{CHECKED} queries against a float64 oracle before timing",
        "settings": vars(flags),
        "bytes_per_vector": {"host": codes.nbytes / len(codes) + 4, "faiss IndexFlatIP": 4 * flags.d},
        "threads": {"host": host.cores(), "faiss IndexFlatIP": faiss.omp_get_max_threads()},
        "versions": {"faiss": faiss.__version__},
        "machine": timing.machine(),
        "results": results,
    }
    if flags.out:
        timing.write(flags.out, "search", report, table(report))
    print(table(report))


def parse() -> argparse.Namespace:
    """The flags; defaults are the claim's setting."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n", type=int, default=300_000, help="rows")
    parser.add_argument("--d", type=int, default=768, help="width of the dense vectors")
    parser.add_argument("--h", type=int, default=4096, help="width of the codes")
    parser.add_argument("--k", type=int, default=32, help="nonzeros a row")
    parser.add_argument("--top", type=int, default=100, help="results a query")
    parser.add_argument("--values", default="float16", choices=["float16", "float32"])
    parser.add_argument("--queries", type=int, nargs="+", default=[1, 64])
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--out", default="", help="folder for search.json and search.md")
    return parser.parse_args()


def random_codes(rng: np.random.Generator, n: int, h: int, k: int, values: str) -> Codes:
    """Normal values, sorted by falling magnitude, in columns that are distinct within a row."""
    numbers = rng.standard_normal((n, k)).astype(values)
    numbers = np.take_along_axis(numbers, np.argsort(-np.abs(numbers), axis=1), axis=1)
    columns = np.empty((n, k), column_dtype(h))
    for start in range(0, n, 10_000):
        part = columns[start : start + 10_000]
        part[:] = rng.random((len(part), h), np.float32).argpartition(k - 1, axis=1)[:, :k]
    return Codes(numbers, columns, h)


def unit_rows(rng: np.random.Generator, n: int, d: int) -> np.ndarray:
    """Random directions, float32."""
    x = rng.standard_normal((n, d), np.float32)
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def check(codes: Codes, row_scales: np.ndarray, u: np.ndarray, top: int) -> None:
    """Stop unless our scores are those of float64, for these queries together and one by one."""
    matrix = codes.to_csr().astype(np.float64)
    exact = (matrix @ u.T.astype(np.float64)).T * row_scales
    wanted = -np.sort(-exact, axis=1)[:, :top]
    together = host.search(codes, row_scales, np.tile(u, (16, 1)), top)  # as many as need the block kernel
    alone = host.search(codes, row_scales, u, top)
    for scores, rows in ((together[0][: len(u)], together[1][: len(u)]), alone):
        close = np.allclose(scores, wanted, rtol=1e-4, atol=1e-5)
        same = np.allclose(np.take_along_axis(exact, rows, axis=1), wanted, rtol=1e-4, atol=1e-5)
        distinct = all(len(set(some)) == top for some in rows.tolist())
        if not (close and same and distinct):
            raise SystemExit("the host backend does not agree with the float64 oracle, so nothing is timed")


def summary(seconds: dict[str, list[float]]) -> dict:
    """Median, least and greatest milliseconds of each side, and how many times faster ours is by medians."""
    sides = {
        name: {"median_ms": 1e3 * float(np.median(some)), "min_ms": 1e3 * min(some), "max_ms": 1e3 * max(some)}
        for name, some in seconds.items()
    }
    return {**sides, "ratio": sides["faiss IndexFlatIP"]["median_ms"] / sides["host"]["median_ms"]}


def table(report: dict) -> str:
    """The results in Markdown."""
    s, threads = report["settings"], report["threads"]
    lines = [
        f"Exact search of {s['n']:,} rows, top {s['top']}: `host` on codes (h={s['h']}, k={s['k']}, {s['values']}, "
        f"{threads['host']} threads) beside faiss IndexFlatIP on dense vectors (d={s['d']}, "
        f"{threads['faiss IndexFlatIP']} threads). Median of {s['repeats']} alternating runs (least to greatest). "
        "Synthetic rows, for times only.",
        "",
        "| queries | host, ms | faiss IndexFlatIP, ms | times as fast |",
        "|---|---|---|---|",
    ]
    for row in report["results"]:
        times = [
            "{median_ms:.1f} ({min_ms:.1f} to {max_ms:.1f})".format(**row[name])
            for name in ("host", "faiss IndexFlatIP")
        ]
        lines.append(f"| {row['queries']} | {times[0]} | {times[1]} | {row['ratio']:.1f} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
