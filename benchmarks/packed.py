"""Exact search of rows at a budget of bytes: `fast4` and `packed4` beside float16, and beside faiss's quantisers.

    python -m benchmarks.packed --out=results

The rows are random, which changes no time but that of ties: all sides read and score every row. Before anything is
timed, our sides' results are compared with a float64 oracle. The codes of faiss's sides are random, too: bytes are
bytes.
"""

import argparse
import time

import numpy as np

from benchmarks import timing
from benchmarks.synthetic import packed_codes, random_codes
from compressae_jax.codes.codes import Codes
from compressae_jax.codes.rows import Rows
from compressae_jax.codes.storage.fast import Fast
from compressae_jax.codes.storage.kinds import record_width
from compressae_jax.codes.storage.packed import Packed, Unpacker, pack
from compressae_jax.retrieval.backends import host

CHECKED = 4  # queries compared with the oracle
TRAINED = 10_000  # rows that faiss's codebooks are learned from
OURS = ("fast4", "packed4", "float16")
PEERS = ("faiss PQ, 8 bits", "faiss PQ FastScan, 4 bits")


def main() -> None:
    """For each budget: make the rows, check our sides, time all at each number of queries; write the results."""
    flags = parse()
    rng = np.random.default_rng(0)
    results = []
    for size in flags.bytes:
        k = nonzeros(size, flags.h)
        rows = kinds(rng, flags, k)
        u = rng.standard_normal((max(flags.queries), flags.h)).astype(np.float32)
        check(rows, u[:CHECKED], flags.top)
        sizes = {name: one.nbytes / len(one) for name, one in rows.items()} | dict.fromkeys(PEERS, size)
        alone = {name: nanoseconds(rows[name], flags.repeats) for name in OURS[:2]}
        peers = quantisers(rng, flags, size)
        for q in flags.queries:
            sides = {name: lambda q=q, one=one, u=u: search(one, u[:q], flags.top) for name, one in rows.items()}
            sides |= {name: lambda q=q, call=call: call(q) for name, call in peers.items()}
            seconds = timing.alternate(sides, flags.repeats, flags.seconds, rest=0.1 if peers else 0)
            times = {name: timing.milliseconds(some) for name, some in seconds.items()}
            results.append({"bytes": size, "k": k, "queries": q, "sizes": sizes, "apart_ns": alone, "ms": times})
            print(f"{size} bytes, q={q}: fast4 takes {ratio(results[-1]):.2f} of float16's time", flush=True)
    report = {
        "data": "synthetic (random columns, values and codes); used for times only",
        "checked": f"{CHECKED} queries of our sides against a float64 oracle before timing",
        "settings": vars(flags),
        "threads": host.cores(),
        "machine": timing.machine(),
        "results": results,
    }
    if flags.out:
        timing.write(flags.out, "packed", report, table(report))
    print(table(report))


def parse() -> argparse.Namespace:
    """The flags; the defaults take three minutes on two cores."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n", type=int, default=1_000_000, help="rows")
    parser.add_argument("--h", type=int, default=8192, help="width of the codes")
    parser.add_argument("--d", type=int, default=384, help="width of the vectors that faiss would have quantised")
    parser.add_argument("--bytes", type=int, nargs="+", default=[32, 64], help="a row; a divisor of d / 2, for faiss")
    parser.add_argument("--top", type=int, default=100, help="results a query")
    parser.add_argument("--queries", type=int, nargs="+", default=[1, 16, 64])
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=10, help="after which a side sits out")
    parser.add_argument("--out", default="", help="folder for packed.json and packed.md")
    return parser.parse_args()


def nonzeros(size: int, h: int) -> int:
    """The most that `fast4` holds in so many bytes."""
    return max(k for k in range(1, 2 * size) if record_width("fast4", h, k) <= size)


def kinds(rng: np.random.Generator, flags: argparse.Namespace, k: int) -> dict[str, Rows]:
    """The same rows in each of our storages."""
    packed = packed_codes(random_codes(rng, flags.n, flags.h, k, "float32"), 4)
    codes = packed.codes()
    ones = np.ones((len(packed), 2), np.float32)
    floats = Codes(codes.values.astype(np.float16), codes.columns, flags.h, ones, verified=True)
    return dict(zip(OURS, (pack(codes, Fast(flags.h, k, 4, packed.levels)), packed, floats), strict=True))


def quantisers(rng: np.random.Generator, flags: argparse.Namespace, size: int) -> dict:
    """faiss's product quantisers of as many bytes, by name: what searches for q queries; none without faiss."""
    try:
        import faiss
    except ImportError:
        return {}
    faiss.omp_set_num_threads(host.cores())
    vectors = rng.standard_normal((TRAINED, flags.d)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    found = {}
    for name, bits in zip(PEERS, (8, 4), strict=True):
        index = faiss.IndexPQ(flags.d, 8 * size // bits, bits, faiss.METRIC_INNER_PRODUCT)
        index.train(vectors)
        faiss.copy_array_to_vector(rng.integers(0, 256, flags.n * size, np.uint8), index.codes)
        index.ntotal = flags.n
        side = faiss.IndexPQFastScan(index) if bits == 4 else index
        found[name] = lambda q, side=side: side.search(vectors[:q], flags.top)
    return found


def search(rows: Rows, u: np.ndarray, top: int) -> tuple[np.ndarray, np.ndarray]:
    """Results of rows whose scales are in their values."""
    return host.search(rows, "reconstructed", u, top)


def check(kinds: dict[str, Rows], u: np.ndarray, top: int) -> None:
    """Stop unless all sides' scores are those of float64, for these queries together and one by one."""
    exact = (kinds["float16"].to_csr().astype(np.float64) @ u.T.astype(np.float64)).T
    wanted = -np.sort(-exact, axis=1)[:, :top]
    for rows in kinds.values():
        for queries in (u, np.tile(u, (16, 1))):
            scores, found = search(rows, queries, top)
            there = np.take_along_axis(exact, found[: len(u)], axis=1)
            if not all(np.allclose(some, wanted, rtol=1e-4, atol=1e-5) for some in (scores[: len(u)], there)):
                raise SystemExit("a side does not agree with the float64 oracle, so nothing is timed")


def nanoseconds(packed: Packed, repeats: int) -> float:
    """Of one thread, a row, that takes rows apart and scores none: the least of several turns of some rows."""
    unpacker, seconds = Unpacker(packed.packing), []
    for _ in range(20 * repeats):
        start = time.perf_counter()
        unpacker(packed.records[: unpacker.rows])
        seconds.append(time.perf_counter() - start)
    return 1e9 * min(seconds) / min(unpacker.rows, len(packed))


def ratio(row: dict, one: str = "fast4", other: str = "float16") -> float:
    """How many times as long one side takes, by medians."""
    return row["ms"][one]["median_ms"] / row["ms"][other]["median_ms"]


def table(report: dict) -> str:
    """The results in Markdown."""
    s = report["settings"]
    names = list(report["results"][0]["ms"])
    head = f"bytes | k | queries | {' | '.join(f'{name}, ms' for name in names)} | fast4 by float16 | by PQ, 8 bits"
    rows = []
    for row in report["results"]:
        times = [timing.shown(row["ms"][name], 1, "_ms") for name in names]
        peer = f"{ratio(row, other=PEERS[0]):.2f}" if PEERS[0] in names else ""
        rows.append([row["bytes"], row["k"], row["queries"], *times, f"{ratio(row):.2f}", peer])
    sizes = []
    for size in s["bytes"]:
        row = next(row for row in report["results"] if row["bytes"] == size)
        each = ", ".join(f"{name} {row['sizes'][name]:.0f}" for name in OURS)
        apart = " and ".join(f"{name} in {row['apart_ns'][name]:.0f} ns" for name in OURS[:2])
        sizes.append(f"k={row['k']}: bytes a row: {each}; one thread takes a row of {apart} apart.")
    lines = [
        f"Exact search of {s['n']:,} rows (h={s['h']:,}), top {s['top']}, by `host` with {report['threads']} threads: "
        "the nonzeros that `fast4` holds in the bytes of the first column, the same ones in other storages (no scales "
        f"on any side), and faiss's product quantisers of as many bytes (d={s['d']}), which keep less of the vectors. "
        f"Median of {s['repeats']} alternating runs (least to greatest). Synthetic rows, for times only.",
        "",
        *timing.markdown(head, rows),
        *sizes,
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
