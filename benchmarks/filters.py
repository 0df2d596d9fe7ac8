"""Filters: what `allow` and `exclude` cost beside a search without them, and that one beside loops that know no filter.

    git worktree add ../before REVISION
    python -m benchmarks.filters --before=../before --out=results

All sides alternate in one run, in another order each time: this version with each filter, and the version in the
folder `--before`, in a process of its own that times itself. The numbers are random, for times only; the ratios are
those of neighbours in time. Before anything is timed, each filter's results are compared with those of a search that is
masked afterwards.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse

from benchmarks import timing
from benchmarks.synthetic import packed_codes, random_codes
from compressae_jax.base.threads import cores
from compressae_jax.codes.codes import Codes
from compressae_jax.model.weights import Weights
from compressae_jax.retrieval.index import Index

SIZES = {"full": {"n": 1_000_000, "repeats": 21}, "small": {"n": 100_000, "repeats": 9}}
D = 64  # of the dense vectors, which no search of expanded queries sees
TAKEN = 1000  # rows that are excluded from a query
STORAGES = ("float16", "packed4")

# Run by the version before: it answers each line, a number of queries, by the seconds that they took.
PROGRAM = """
import sys, time
import numpy as np
from compressae_jax.codes.codes import Codes
from compressae_jax.model.weights import Weights
from compressae_jax.retrieval.index import Index
folder, h, top = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
load = lambda name: np.load(f"{folder}/{name}.npy")
decoder_w, u = load("decoder_w"), load("u")
params = {"encoder_w": decoder_w.T.copy(), "encoder_b": np.zeros(h, np.float32), "decoder_w": decoder_w}
codes = Codes(load("values"), load("columns"), h, load("norms"), verified=True)
index = Index(codes, Weights(params, h, codes.k), "dense_query")
for line in sys.stdin:
    start = time.perf_counter()
    index.search_expanded(u[: int(line)], top, "host")
    print(time.perf_counter() - start, flush=True)
"""


class Before:
    """The version of another folder, searching the same rows in a process of its own."""

    def __init__(self, checkout: str, index: Index, u: np.ndarray, top: int) -> None:
        self._folder = tempfile.TemporaryDirectory()
        arrays = {**index.codes.arrays(), "u": u, "decoder_w": index.weights.params["decoder_w"]}
        for name, array in arrays.items():
            np.save(Path(self._folder.name) / f"{name}.npy", array)
        self._process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, self._folder.name, str(index.codes.h), str(top)],
            env={**os.environ, "PYTHONPATH": str(Path(checkout).resolve())},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __call__(self, q: int) -> float:
        """The seconds of one search."""
        assert self._process.stdin is not None and self._process.stdout is not None
        print(q, file=self._process.stdin, flush=True)
        return float(self._process.stdout.readline())

    def __enter__(self) -> "Before":
        return self

    def __exit__(self, *error: object) -> None:
        self._process.communicate()
        self._folder.cleanup()


def main() -> None:
    """Make the rows, compare all sides, write the results."""
    flags = parse()
    load = os.getloadavg()[0]
    rng = np.random.default_rng(0)
    codes = random_codes(rng, flags.n, flags.h, flags.k, "float16")
    norms = np.repeat(np.linalg.norm(codes.values.astype(np.float32), axis=1)[:, None], 2, axis=1)
    codes = Codes(codes.values, codes.columns, flags.h, norms, verified=True)
    decoder_w = rng.standard_normal((flags.h, D), np.float32)
    params = {"encoder_w": decoder_w.T.copy(), "encoder_b": np.zeros(flags.h, np.float32), "decoder_w": decoder_w}
    weights, u = Weights(params, flags.h, flags.k), rng.standard_normal((max(flags.queries), flags.h), np.float32)
    results = []
    for storage in STORAGES:
        index = Index(codes if storage == "float16" else packed_codes(codes, 4), weights)
        for q in flags.queries:
            results += compare(index, u[:q], flags, flags.before if storage == "float16" else "")
    report = {
        "claim": "no time lost without a filter, none with half of the rows allowed, at most a fifth with 1,000 "
        "rows excluded from every query",
        "settings": vars(flags),
        "threads": cores(),
        "load_before": load,
        "machine": timing.machine(),
        "results": results,
    }
    if flags.out:
        timing.write(flags.out, "filters", report, table(report))
    print(table(report))


def parse() -> argparse.Namespace:
    """The flags; `--size` gives the defaults of those that are not given."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", default="full", choices=SIZES)
    parser.add_argument("--n", type=int, help="rows")
    parser.add_argument("--h", type=int, default=4096, help="width of the codes")
    parser.add_argument("--k", type=int, default=32, help="nonzeros a row")
    parser.add_argument("--top", type=int, default=100, help="results a query")
    parser.add_argument("--queries", type=int, nargs="+", default=[1, 64])
    parser.add_argument("--repeats", type=int)
    parser.add_argument("--before", default="", help="checkout of a version to compare a search without filter with")
    parser.add_argument("--out", default="", help="folder for filters.json and filters.md")
    flags = parser.parse_args()
    for name, default in SIZES[flags.size].items():
        if getattr(flags, name) is None:
            setattr(flags, name, default)
    return flags


def compare(index: Index, u: np.ndarray, flags: argparse.Namespace, before: str) -> list[dict[str, Any]]:
    """Milliseconds of each side for all of u, and its time over that of its neighbour without a filter."""
    filters = made(index, u, flags.top)
    for name, given in filters.items():
        check(index, u, flags.top, name, given)

    def side(given: dict[str, Any]) -> Callable[[], float]:
        def call() -> float:
            start = time.perf_counter()
            index.search_expanded(u, flags.top, "host", **given)
            return time.perf_counter() - start

        return call

    sides = {name: side(given) for name, given in filters.items()}
    if before:
        with Before(before, index, u, flags.top) as other:
            seconds = alternated({**sides, "before": lambda: other(len(u))}, flags.repeats)
    else:
        seconds = alternated(sides, flags.repeats)
    plain = np.array(seconds["no filter"])
    results = []
    for name, some in seconds.items():
        ratio = timing.spread(np.array(some) / plain)
        row = {"storage": index.codes.storage, "queries": len(u), "side": name, **timing.milliseconds(some)}
        results.append({**row, "ratio": ratio})
        print(
            f"{row['storage']}, q={len(u)}, {name}: {timing.shown(row, 1, '_ms')} ms, {ratio['median']:.3f}", flush=True
        )
    return results


def made(index: Index, u: np.ndarray, top: int) -> dict[str, dict[str, Any]]:
    """The filters by name."""
    rng, (q, n) = np.random.default_rng(1), (len(u), len(index))
    best = index.search_expanded(u, TAKEN, "host").rows
    anything = np.stack([rng.choice(n, TAKEN, replace=False) for _ in range(q)])
    return {
        "no filter": {},
        "half of the rows allowed": {"allow": rng.random(n) < 0.5},
        "one half allowed, the other not": {"allow": np.arange(n) < n // 2},
        "1 % allowed": {"allow": rng.random(n) < 0.01},
        f"any {TAKEN:,} excluded": {"exclude": matrix(anything, n)},
        f"best {TAKEN:,} excluded": {"exclude": matrix(best, n)},
    }


def matrix(rows: np.ndarray, n: int) -> scipy.sparse.csr_matrix:
    """As recommenders hold what a user has seen."""
    indptr = np.arange(0, rows.size + 1, rows.shape[1])
    return scipy.sparse.csr_matrix(
        (np.ones(rows.size, bool), np.sort(rows, axis=1).reshape(-1), indptr), (len(rows), n)
    )


def check(index: Index, u: np.ndarray, top: int, name: str, given: dict[str, Any]) -> None:
    """Stop unless results are those of a deeper search, masked afterwards."""
    some = u[:4]
    if "exclude" in given:
        given = {"exclude": given["exclude"][: len(some)]}
    rows = index.search_expanded(some, top, "host", **given).rows
    deep = index.search_expanded(some, min(len(index), 200 * top + TAKEN), "host").rows
    for i, ranked in enumerate(deep):
        left = ranked
        if "allow" in given:
            left = ranked[given["allow"][ranked]]
        if "exclude" in given:
            left = ranked[~np.isin(ranked, given["exclude"][i].indices)]
        found = rows[i][: len(left)]  # where few are allowed, the deeper search may not hold all
        if len(left) < top // 4 or (found != left[:top]).any():
            raise SystemExit(f"{name}: not the results of masking afterwards, so nothing is timed")


def alternated(sides: dict[str, Callable[[], float]], repeats: int) -> dict[str, list[float]]:
    """Seconds of each side, once to warm up and then in turn, in another order each time."""
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    rng = np.random.default_rng(2)
    for repeat in range(repeats + 1):
        for name in rng.permutation(list(sides)).tolist():
            some = sides[name]()
            if repeat:
                seconds[name].append(some)
    return seconds


def table(report: dict) -> str:
    """The results in Markdown."""
    s = report["settings"]
    lines = [
        f"Exact search of {s['n']:,} rows (h={s['h']}, k={s['k']}), top {s['top']}, backend `host`, "
        f"{report['threads']} threads, {report['machine']['processor']}: `Index.search_expanded` with each filter. "
        f"Median of {s['repeats']} calls in random order (least to greatest); ratios are to the search without a "
        "filter of the same round. Synthetic rows, for times only; results were compared with masking afterwards "
        "first. `before`: a version whose loops know no filter, in a process of its own. Load before the run: "
        f"{report['load_before']:.1f}.",
        "",
        *timing.markdown(
            "rows | queries | side | ms | × no filter",
            (
                [row["storage"], row["queries"], row["side"], timing.shown(row, 1, "_ms"), timing.shown(row["ratio"])]
                for row in report["results"]
            ),
        ),
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
