"""Search: ours beside exact dense, exact sparse and approximate peers, alternating in one run.

    python -m benchmarks.search --out=results [--size=small] [--peers numpy faiss scipy] [--queries 1 64]

Where JAX sees a GPU, the `scan` backend and dense products in JAX are compared instead. The numbers are random, which
changes no scan's time; what does depend on the data is said above the table. Before a side is timed at a number of
queries, its results are compared with a float64 oracle: a side that fails prints no time, and an inexact one prints
its recall. Peers come with the [bench] extra; one that is not installed is skipped. What filters cost is in `filters`.
"""

import argparse
import datetime
import functools
import os
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import jax
import numpy as np

from benchmarks import timing
from benchmarks.peers import APPROXIMATE, BUILD_EFFORT, EXACT, LINKS, OURS, PACKAGES, SEARCH_EFFORT, Side
from benchmarks.synthetic import CHECKED, Data
from compressae_jax.evaluation import provenance
from compressae_jax.retrieval.backends import host
from compressae_jax.retrieval.index import Index

SIZES = {
    "full": {"n": 1_000_000, "queries": [1, 16, 64, 256], "repeats": 9, "seconds": 30.0, "approximate_n": 50_000},
    "small": {"n": 100_000, "queries": [1, 64], "repeats": 5, "seconds": 1.5, "approximate_n": 5_000},
}


def main() -> None:
    """Make the rows, compare all sides, then the approximate ones on fewer rows; write the results."""
    flags = parse()
    load = os.getloadavg()[0]
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # a peer's idle threads would spin into the next side's time
    data = Data.drawn(
        n=flags.n, q=max(flags.queries), d=flags.d, h=flags.h, k=flags.k, values=flags.values, top=flags.top
    )
    before = rates()
    results, skipped = compare(data, [flags.backend, *exact_peers(flags)], flags)
    approximate = [name for name in APPROXIMATE if flags.backend == "host" and name in (flags.peers or APPROXIMATE)]
    few: tuple[list[dict], list[str]] = ([], [])
    if approximate:
        few = compare(data.head(flags.approximate_n), ["host", *approximate], flags)
    best_rates = {name: max(rate, before[name]) for name, rate in rates().items()}
    report = {
        "claim": "CPU: 8 times as fast as the fastest exact dense peer at q=1, 5 times at q=64; never slower than "
        "an exact sparse peer; within twice the memory floor at q=1",
        "data": "synthetic (random codes and unit vectors); used for times, never for quality",
        "checked": f"up to {CHECKED} queries of every side against a float64 oracle before it is timed",
        "settings": vars(flags),
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "threads": host.cores(),
        "load_before": load,
        "versions": provenance.versions(PACKAGES),
        "machine": timing.machine(),
        "rates": best_rates,
        "load_s": load_seconds(data),
        "skipped": skipped + few[1],
        "results": [{**row, **floor(row, flags, best_rates)} for row in results],
        "approximate": few[0],
    }
    if flags.out:
        timing.write(flags.out, "search", report, table(report))
    print(table(report))
    if wrong := sorted({row["side"] for row in results if row["wrong"] and row["ours"]}):
        raise SystemExit(f"not the oracle's: {', '.join(wrong)}")


def parse() -> argparse.Namespace:
    """The flags; `--size` gives the defaults of those that are not given."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", default="full", choices=SIZES)
    parser.add_argument("--n", type=int, help="rows")
    parser.add_argument("--d", type=int, default=768, help="width of the dense vectors")
    parser.add_argument("--h", type=int, default=4096, help="width of the codes")
    parser.add_argument("--k", type=int, default=32, help="nonzeros a row")
    parser.add_argument("--top", type=int, default=100, help="results a query")
    parser.add_argument("--values", default="float16", choices=["float16", "float32"])
    parser.add_argument("--queries", type=int, nargs="+")
    parser.add_argument("--repeats", type=int)
    parser.add_argument("--seconds", type=float, help="after which a side sits out, once it was timed twice")
    parser.add_argument("--approximate_n", type=int, help="rows of the approximate peers, whose graphs take long")
    parser.add_argument("--peers", nargs="*", choices=[*EXACT, *APPROXIMATE], help="all of the device by default")
    parser.add_argument("--backend", choices=["host", "scan"], help="ours; by default the device's")
    parser.add_argument("--out", default="", help="folder for search.json and search.md")
    flags = parser.parse_args()
    for name, default in SIZES[flags.size].items():
        if getattr(flags, name) is None:
            setattr(flags, name, default)
    flags.backend = flags.backend or ("host" if jax.default_backend() == "cpu" else "scan")
    flags.approximate_n = min(flags.approximate_n, flags.n)
    return flags


def exact_peers(flags: argparse.Namespace) -> list[str]:
    """Of an accelerator, those that run there."""
    there = EXACT if flags.backend == "host" else {"jax": EXACT["jax"]}
    return [name for name in there if flags.peers is None or name in flags.peers]


def compare(data: Data, families: Iterable[str], flags: argparse.Namespace) -> tuple[list[dict], list[str]]:
    """What was measured of each side at each number of queries, and a line for each family that is not installed."""
    sides: dict[str, Side] = {}
    built: dict[str, float] = {}
    skipped, results = [], []
    for family in families:
        start = time.perf_counter()
        try:
            some = {**OURS, **EXACT, **APPROXIMATE}[family](data)
        except ImportError as error:
            skipped.append(f"{family} is skipped: {error}")
            print(skipped[-1], flush=True)
            continue
        sides |= some
        built |= dict.fromkeys(some, time.perf_counter() - start)
    for q in flags.queries:
        verdicts = {name: side.truth.judged(side.call(q), q) for name, side in sides.items()}
        wrong = {name: sides[name].exact and not right for name, (right, _) in verdicts.items()}
        calls = {name: functools.partial(side.call, q) for name, side in sides.items() if not wrong[name]}
        seconds = timing.alternate(calls, flags.repeats, flags.seconds, warm=True)
        for name, side in sides.items():
            row = {
                "queries": q,
                "side": name,
                "rows": len(data.codes),
                "ours": name.startswith(tuple(OURS)) or name.startswith("Index"),
                "scores": "dense" if side.truth is data.dense_truth else "sparse" if _sparse(name) else "codes",
                "exact": side.exact,
                "bytes_row": side.bytes_row,
                "built_s": built[name],
                "wrong": wrong[name],
                "recall": verdicts[name][1],
                **(timing.milliseconds(seconds[name]) | {"calls": len(seconds[name])} if name in seconds else {}),
            }
            results.append(row)
            print(f"q={q} {name}: {cell(row)}", flush=True)
    return results, skipped


def _sparse(name: str) -> bool:
    return "sparse" in name.rpartition(",")[2]


def rates() -> dict[str, float]:
    """What the machine reads and multiplies a second, in bytes and operations."""
    return {"read_bytes": timing.bandwidth(), "float32_product": timing.product_rate()}


def floor(row: dict, flags: argparse.Namespace, best_rates: dict[str, float]) -> dict[str, float]:
    """Of ours: the least milliseconds in which this machine reads the rows, and does the arithmetic of their scores."""
    if not row["ours"]:
        return {}
    return {
        "read_floor_ms": 1e3 * row["bytes_row"] * row["rows"] / best_rates["read_bytes"],
        "product_floor_ms": 1e3 * 2 * flags.k * row["queries"] * row["rows"] / best_rates["float32_product"],
    }


def load_seconds(data: Data, repeats: int = 3) -> dict[str, float]:
    """Medians of opening a saved index by memory map, its files in the system's cache."""
    with tempfile.TemporaryDirectory() as folder:
        data.index("reconstructed").save(Path(folder) / "index")
        load = functools.partial(Index.load, Path(folder) / "index")
        calls = {"checksums verified": load, "not verified": functools.partial(load, verify=False)}
        return {name: float(np.median(some)) for name, some in timing.alternate(calls, repeats).items()}


def cell(row: dict) -> str:
    """A time in words, or why there is none."""
    if row["wrong"]:
        return "not the oracle's"
    return timing.shown(row, 1, "_ms") + f", {row['calls']} calls" * (row["calls"] < 3)


def ours_of(rows: list[dict], row: dict) -> dict | None:
    """The row of ours that another is compared with: the same number of queries, the same kind of u."""
    kind = "sparse u" if row["scores"] == "sparse" else "dense u"
    names = [f"{name}, {kind}" for name in OURS]
    same = [one for one in rows if one["queries"] == row["queries"] and one["side"] in names and not one["wrong"]]
    return same[0] if same else None


def table(report: dict) -> str:
    """The results in Markdown: what is claimed, then every side, then the approximate ones."""
    s, measured = report["settings"], report["rates"]
    lines = [
        f"Search of {s['n']:,} rows, top {s['top']}: codes (h={s['h']}, k={s['k']}, {s['values']} values) and dense "
        f"vectors (d={s['d']}), {report['threads']} threads each, {report['machine']['processor']}, {report['date']}. "
        f"Median of {s['repeats']} alternating calls (least to greatest; a side sits out after {s['seconds']:g} s and "
        "two calls). Synthetic rows, for times only. Every exact side gave a float64 oracle's results first; those "
        "that round rows have their recall beside. `dense u`: spaces reconstructed and dense_query; `sparse u`: space "
        "sparse, k nonzeros a query. Here columns are used evenly, so a sparse query meets k²/h of a row's "
        "nonzeros, the best case for peers that look up a query's columns. `Index.search` includes the expansion of "
        "dense queries.",
        "",
        f"This machine reads {measured['read_bytes'] / 1e9:.1f} GB/s and multiplies float32 matrices at "
        f"{measured['float32_product'] / 1e9:.0f} GFLOP/s: the floors. Load before the run: "
        f"{report['load_before']:.1f}. A saved index opens in "
        + ", ".join(f"{1e3 * some:.0f} ms ({name})" for name, some in report["load_s"].items())
        + ".",
        *(["", *report["skipped"]] if report["skipped"] else []),
        "",
        *claims(report["results"]),
        "",
        *sides_table(report["results"], s["queries"]),
    ]
    if report["approximate"]:
        lines += [
            "",
            f"Approximate peers on {s['approximate_n']:,} of the rows (M={LINKS}, efConstruction={BUILD_EFFORT}, "
            f"efSearch={SEARCH_EFFORT}), since graphs take long to build; random directions are a hard case for them.",
            "",
            *sides_table(report["approximate"], s["queries"], built=True),
        ]
    return "\n".join(lines) + "\n"


def claims(rows: list[dict]) -> list[str]:
    """Ours against its floor and against the fastest peers: exact ones, and faster ones that round rows."""
    lines: list[list[Any]] = []
    for ours in (row for row in rows if row is ours_of(rows, row)):
        over = ours["median_ms"] / max(ours["read_floor_ms"], ours["product_floor_ms"])
        for scores in ("dense", ours["scores"]):
            peers = [row for row in rows if row["queries"] == ours["queries"] and row["scores"] == scores]
            peers = [row for row in peers if not row["ours"] and not row["wrong"]]
            peers.sort(key=lambda row: row["median_ms"])
            exact = next((i for i, row in enumerate(peers) if row["exact"]), len(peers) - 1)
            for peer in [peers[exact], *peers[: min(exact, 1)]] if peers else []:
                named = peer["side"] + " (rounds rows)" * (not peer["exact"])
                numbers = ours["median_ms"], over, peer["median_ms"], peer["median_ms"] / ours["median_ms"]
                mine, floors, theirs, ratio = (f"{number:.1f}" for number in numbers)
                lines.append([ours["queries"], ours["side"], mine, floors, named, theirs, ratio])
    return timing.markdown("queries | ours | ms | over the floor | fastest peer | ms | times as fast", lines)


def sides_table(rows: list[dict], queries: list[int], built: bool = False) -> list[str]:
    """Sides down, numbers of queries across: milliseconds, and how many times as long as ours."""
    head = ["side", "bytes a row", *["built, s"] * built, "recall", *(f"q={q}, ms | × ours" for q in queries)]
    lines = []
    for name in dict.fromkeys(row["side"] for row in rows):
        mine = [row for row in rows if row["side"] == name]
        recall = "exact" if mine[-1]["exact"] else f"{mine[-1]['recall']:.3f}"
        cells = [name, f"{mine[0]['bytes_row']:.0f}", *[f"{mine[0]['built_s']:.0f}"] * built, recall]
        for row in mine:
            ours = ours_of(rows, row)
            cells += [cell(row), f"{row['median_ms'] / ours['median_ms']:.2f}" if ours and not row["wrong"] else "–"]
        lines.append(cells)
    return timing.markdown(" | ".join(head), lines)


if __name__ == "__main__":
    main()
