"""Inverted lists beside the plain scan: exact search of real codes in the space `sparse`, alternating in one run.

    python -m benchmarks.lists --out=results [--size=small]

How many nonzeros a query touches depends on the data, so the codes are of a model that is trained for this, in one pass
and for a few hundred steps; it is kept in the work folder. Held-out rows are the queries. Before anything is timed, the
results of both sides are compared with a float64 oracle: where one is wrong, no time is printed. `small` is the shipped
scifact.
"""

import argparse
import datetime
import time
from pathlib import Path
from typing import Any

import numpy as np

import compressae_jax as cs
from benchmarks import timing
from benchmarks.timing import shown, spread
from compressae_jax import compression, data
from compressae_jax.codes import on_device
from compressae_jax.retrieval.backends import host, lists
from compressae_jax.retrieval.index import Index

WIDTHS = {"wordnet": 4096, "glove": 2048, "scifact": 2048}  # h
SIZES = {
    "full": {"datasets": ["wordnet", "glove"], "steps": 300, "repeats": 9},
    "small": {"datasets": ["scifact"], "steps": 100, "repeats": 5},
}
QUERIES = 64  # of a run, which asks them in batches of q
SIDES = ("host", "lists")


def main() -> None:
    """For each dataset: make its codes and lists, check them, time both sides; write the results."""
    flags = parse()
    results = []
    for name in flags.datasets:
        index, vectors = made(name, flags)
        listed, about = with_lists(index, vectors, flags.repeats)
        u = expanded(listed, vectors)
        about["share"], about["share_max"] = lists.touched(listed.lists, u), max_share(listed.lists, u)
        check(listed, u, flags.top)
        for q in flags.queries:
            row = {"dataset": name, **about, "queries": q, **measured(listed, u, vectors, q, flags)}
            results.append(row)
            print(f"{name} q={q}: {row['ratio']['median']:.2f} times as fast", flush=True)
    report = {
        "claim": f"exact, and at least 1.5 times as fast as the scan for up to {lists.QUERIES} queries at once",
        "checked": f"scores and rows of {QUERIES} queries of both sides, one by one and together, against a float64 "
        "oracle before timing",
        "settings": vars(flags),
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "threads": host.cores(),
        "machine": timing.machine(),
        "results": results,
    }
    if flags.out:
        timing.write(flags.out, "lists", report, table(report))
    print(table(report))


def parse() -> argparse.Namespace:
    """The flags; `--size` gives the defaults of those that are not given."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--size", default="full", choices=SIZES)
    parser.add_argument("--datasets", nargs="+", choices=WIDTHS)
    parser.add_argument("--k", type=int, default=16, help="nonzeros a row")
    parser.add_argument("--steps", type=int, help="of training, 1,024 rows each")
    parser.add_argument("--top", type=int, default=100, help="results a query")
    parser.add_argument("--queries", type=int, nargs="+", default=[1, 4, 8, 12, 16, 64], help="of a batch, at most 64")
    parser.add_argument("--repeats", type=int)
    parser.add_argument("--workdir", default="runs/lists", help="models are kept here")
    parser.add_argument("--out", default="", help="folder for lists.json and lists.md")
    flags = parser.parse_args()
    for name, default in SIZES[flags.size].items():
        if getattr(flags, name) is None:
            setattr(flags, name, default)
    return flags


def made(name: str, flags: argparse.Namespace) -> tuple[Index, np.ndarray]:
    """The index of a dataset's rows by a model that is trained on them, and the held-out queries."""
    source = data.load(name).vectors
    x = source.read(0, len(source))
    drawn = data.split_rows(len(x), QUERIES, 0)
    rows = x[drawn.train][x[drawn.train].any(axis=1)]
    h = WIDTHS[name]
    workdir = Path(flags.workdir) / f"{name}-{h}-{flags.k}-{flags.steps}"
    model = cs.fit(rows, h=h, k=flags.k, steps=flags.steps, batch=1024, workdir=workdir, progress=False)
    return model.index(rows, space="sparse"), x[drawn.queries]


def with_lists(index: Index, vectors: np.ndarray, repeats: int) -> tuple[Index, dict[str, Any]]:
    """The index with lists, and what it is: its rows, bytes, and seconds to build the lists."""
    index.with_lists().search(vectors[:1])  # compiles
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        listed = index.with_lists()
        seconds.append(time.perf_counter() - start)
    sizes = {"codes_bytes": index.bytes_per_vector, "lists_bytes": listed.bytes_per_vector - index.bytes_per_vector}
    return listed, {"rows": len(index), "h": index.codes.h, "build_s": float(np.median(seconds)), **sizes}


def expanded(index: Index, vectors: np.ndarray) -> np.ndarray:
    """The queries' u (q, h), of codes rounded as the rows are."""
    codes = compression.encode(index.weights, vectors, "float16")
    return np.asarray(on_device.expand_codes(codes, index.weights.params["decoder_w"], "sparse"))


def max_share(built: lists.Lists, u: np.ndarray) -> float:
    """The share of the nonzeros that the query with most of them touches."""
    return max(lists.touched(built, one[None]) for one in u)


def answered(side: str, index: Index, u: np.ndarray, top: int) -> tuple[np.ndarray, np.ndarray]:
    """Results of expanded queries by one side."""
    if side == "lists":
        return lists.search(index.lists, "sparse", u, top)
    return host.search(index.codes, "sparse", u, top)


def check(index: Index, u: np.ndarray, top: int) -> None:
    """Stop unless both sides' scores are those of float64, for these queries together and one by one."""
    exact = (index.codes.to_csr().astype(np.float64) @ u.T.astype(np.float64)).T * index.codes.scales("sparse")
    wanted = -np.partition(-exact, top - 1, axis=1)[:, :top]
    wanted = -np.sort(-wanted, axis=1)
    for side in SIDES:
        singly = zip(*(answered(side, index, one[None], top) for one in u), strict=True)
        for scores, rows in (answered(side, index, u, top), map(np.concatenate, singly)):
            there = np.take_along_axis(exact, rows, axis=1)
            distinct = all(len(set(some)) == top for some in rows.tolist())
            if not (distinct and all(np.allclose(some, wanted, rtol=1e-4, atol=1e-5) for some in (scores, there))):
                raise SystemExit(f"{side} does not agree with the float64 oracle, so nothing is timed")


def measured(index: Index, u: np.ndarray, vectors: np.ndarray, q: int, flags: argparse.Namespace) -> dict[str, Any]:
    """Milliseconds of a batch of q: searched by each side, and from vectors to results by `Index.search`."""
    batches = [slice(start, start + q) for start in range(0, len(u) - q + 1, q)]
    sides = {side: lambda side=side: [answered(side, index, u[some], flags.top) for some in batches] for side in SIDES}
    for backend in SIDES:
        sides[f"Index.search, {backend}"] = lambda backend=backend: [
            index.search(vectors[some], flags.top, backend) for some in batches
        ]
    seconds = {side: np.array(some) / len(batches) for side, some in timing.alternate(sides, flags.repeats).items()}
    return {
        "ms": {side: spread(1e3 * some) for side, some in seconds.items()},
        "ratio": spread(seconds["host"] / seconds["lists"]),
    }


def table(report: dict) -> str:
    """The results in Markdown."""
    s, threads = report["settings"], report["threads"]
    about = []
    for row in {row["dataset"]: row for row in report["results"]}.values():
        touched, build = f"{row['share']:.1%} ({row['share_max']:.1%})", f"{row['build_s']:.3f}"
        sizes = (f"{row[name]:.1f}" for name in ("codes_bytes", "lists_bytes"))
        about.append([row["dataset"], f"{row['rows']:,}", row["h"], touched, *sizes, build])
    times = []
    for row in report["results"]:
        host_ms, lists_ms, *from_vectors = (shown(some) for some in row["ms"].values())
        times.append([row["dataset"], row["queries"], host_ms, lists_ms, shown(row["ratio"]), *from_vectors])
    lines = [
        f"Exact search in the space `sparse`, k={s['k']}, top {s['top']}, {threads} thread{'s' * (threads != 1)} "
        f"({report['machine']['processor']}): inverted lists beside `host` on the same expanded queries. One-pass "
        f"codes (float16, uint16) of models of {s['steps']} steps; {QUERIES} held-out queries in batches; both sides "
        f"agreed with a float64 oracle. Medians of {s['repeats']} alternating runs (least to greatest), in ms a batch. "
        f"`python -m benchmarks.lists`, {report['date']}.",
        "",
        *timing.markdown(
            "dataset | rows | h | nonzeros touched (at most) | codes and scales, B a row | lists, B a row more | "
            "built in, s",
            about,
        ),
        "",
        "The last columns are `Index.search` of vectors, which encodes them first.",
        "",
        *timing.markdown(
            "dataset | queries | host | lists | times as fast | from vectors, host | from vectors, lists", times
        ),
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
