"""Exact search of packed rows: the `host` backend on `packed4` beside the same codes as float16 and uint16.

    python -m benchmarks.packed --out=results

The rows are random, which changes no time but that of ties: both sides read and score every row. Before anything is
timed, both sides' results are compared with a float64 oracle.
"""

import argparse
import time

import numpy as np

from benchmarks import timing
from benchmarks.synthetic import packed_codes, random_codes
from compressae_jax.codes.codes import Codes
from compressae_jax.codes.storage.packed import Packed, Unpacker
from compressae_jax.retrieval.backends import host

CHECKED = 4  # queries compared with the oracle


def main() -> None:
    """For each k: make the rows, check both sides, time them at each number of queries; write the results."""
    flags = parse()
    rng = np.random.default_rng(0)
    results = []
    for k in flags.k:
        packed, floats = both(rng, flags, k)
        u = rng.standard_normal((max(flags.queries), flags.h)).astype(np.float32)
        check(packed, floats, u[:CHECKED], flags.top)
        sizes = {"packed": packed.packing.width, "float16": floats.nbytes / flags.n}
        alone = unpacking_ms(packed, flags.repeats)
        for q in flags.queries:
            sides = {
                "packed": lambda q=q, rows=packed, u=u: search(rows, u[:q], flags.top),
                "float16": lambda q=q, rows=floats, u=u: search(rows, u[:q], flags.top),
            }
            seconds = timing.alternate(sides, flags.repeats)
            results.append({"k": k, "queries": q, "bytes": sizes, "unpacking": alone, **summary(seconds)})
            print(f"k={k} q={q}: {results[-1]['ratio']:.1f} times the time of float16", flush=True)
    report = {
        "data": "synthetic (random columns and normal values); used for times only",
        "checked": f"{CHECKED} queries of both sides against a float64 oracle before timing",
        "settings": vars(flags),
        "threads": host.cores(),
        "machine": timing.machine(),
        "results": results,
    }
    if flags.out:
        timing.write(flags.out, "packed", report, table(report))
    print(table(report))


def parse() -> argparse.Namespace:
    """The flags; the defaults take a minute on two cores."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n", type=int, default=117_000, help="rows")
    parser.add_argument("--h", type=int, default=4096, help="width of the codes")
    parser.add_argument("--k", type=int, nargs="+", default=[9, 19, 42], help="nonzeros a row")
    parser.add_argument("--bits", type=int, default=4, help="of a packed value")
    parser.add_argument("--top", type=int, default=100, help="results a query")
    parser.add_argument("--queries", type=int, nargs="+", default=[1, 16, 64])
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--out", default="", help="folder for packed.json and packed.md")
    return parser.parse_args()


def both(rng: np.random.Generator, flags: argparse.Namespace, k: int) -> tuple[Packed, Codes]:
    """Packed rows, and the same rows as float16 values and uint16 columns."""
    packed = packed_codes(random_codes(rng, flags.n, flags.h, k, "float32"), flags.bits)
    unpacked = packed.unpack()
    ones = np.ones((len(packed), 2), np.float32)
    return packed, Codes(unpacked.values.astype(np.float16), unpacked.columns, flags.h, ones, verified=True)


def search(rows: Packed | Codes, u: np.ndarray, top: int) -> tuple[np.ndarray, np.ndarray]:
    """Results of rows whose scales are in their values."""
    return host.search(rows, "reconstructed", u, top)


def check(packed: Packed, floats: Codes, u: np.ndarray, top: int) -> None:
    """Stop unless both sides' scores are those of float64, for these queries together and one by one."""
    exact = (floats.to_csr().astype(np.float64) @ u.T.astype(np.float64)).T
    wanted = -np.sort(-exact, axis=1)[:, :top]
    for rows in (packed, floats):
        for queries in (u, np.tile(u, (16, 1))):
            scores, found = search(rows, queries, top)
            there = np.take_along_axis(exact, found[: len(u)], axis=1)
            if not all(np.allclose(some, wanted, rtol=1e-4, atol=1e-5) for some in (scores[: len(u)], there)):
                raise SystemExit("a side does not agree with the float64 oracle, so nothing is timed")


def unpacking_ms(packed: Packed, repeats: int) -> dict[str, float]:
    """Milliseconds of one thread that unpacks all rows and scores none."""
    unpacker, seconds = Unpacker(packed.packing), []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        for first in range(0, len(packed), unpacker.rows):
            unpacker(packed.records[first : first + unpacker.rows])
        seconds.append(time.perf_counter() - start)
    return timing.milliseconds(seconds[1:])


def summary(seconds: dict[str, list[float]]) -> dict:
    """The spread of each side, and how many times as long packed rows take, by medians."""
    sides = {name: timing.milliseconds(some) for name, some in seconds.items()}
    return {**sides, "ratio": sides["packed"]["median_ms"] / sides["float16"]["median_ms"]}


def table(report: dict) -> str:
    """The results in Markdown."""
    s = report["settings"]
    head = "k | queries | packed, B | float16, B | packed, ms | float16, ms | times as long | unpacking alone, ms"
    rows = []
    for row in report["results"]:
        packed, floats, alone = (timing.shown(row[name], 1, "_ms") for name in ("packed", "float16", "unpacking"))
        sizes = row["bytes"]["packed"], f"{row['bytes']['float16']:.0f}"
        rows.append([row["k"], row["queries"], *sizes, packed, floats, f"{row['ratio']:.1f}", alone])
    lines = [
        f"Exact search of {s['n']:,} rows (h={s['h']}), top {s['top']}, by `host` with {report['threads']} threads: "
        f"`packed{s['bits']}` beside the same codes as float16 values and uint16 columns (no scales on either side). "
        f"Median of {s['repeats']} alternating runs (least to greatest), in ms. Unpacking alone is one thread's. "
        "Synthetic rows, for times only.",
        "",
        *timing.markdown(head, rows),
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
