"""Cells beside the exact scan and approximate peers: time against what is found of the 100 nearest.

    python -m benchmarks.cells --data=wordnet --out=results

Rows of a dataset (1,000 held out as queries) are compressed to `--bytes` by a model fitted to `--fitted` of them, put
into cells, and searched with several probes; beside them faiss's IVF-PQ FastScan of as many bytes, with re-ranking by
dense vectors and without, and its HNSW over dense vectors. Recall is that of the dense neighbours, and of ours also
that of the exact answer of the same codes. Sides are timed in turn.
"""

import argparse
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import compressae_jax as cs
from benchmarks import timing
from compressae_jax.base.threads import cores
from compressae_jax.baselines import dense
from compressae_jax.baselines.units import unit_rows
from compressae_jax.evaluation import neighbours

TOP = 100
QUERIES = (1, 16, 64)
LINKS, EFFORT = 32, 100  # of the graph: M and efConstruction
EXACT, OURS, IVF, REFINED, HNSW = "exact", "cells", "faiss IVF-PQ FastScan", "the same, re-ranked", "faiss HNSW"
MARKS = {EXACT: "*", OURS: "o", IVF: "^", REFINED: "v", HNSW: "s"}
REST = 0.01  # seconds before a call: a peer's threads spin for a while after theirs


class Side(NamedTuple):
    """One method at one setting; `call` gives the rows that queries find."""

    name: str
    setting: str
    bytes_row: float
    call: Callable[[np.ndarray], np.ndarray]


def main() -> None:
    """Measure, check, write cells.json, cells.md and cells.png."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", nargs="+", default=["wordnet"], help="datasets by name")
    parser.add_argument("--bytes", type=int, default=32)
    parser.add_argument("--fitted", type=int, default=20_000, help="rows that the model is fitted to")
    parser.add_argument("--models", default="", help="folder where fitted models are kept, and found again")
    parser.add_argument("--rows", type=int, default=0, help="rows at most; 0: all")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--no_graph", action="store_true", help="leave HNSW out, which takes minutes to build")
    parser.add_argument("--out", default="")
    flags = parser.parse_args()
    report = {
        "command": f"python -m benchmarks.cells --data {' '.join(flags.data)} --bytes={flags.bytes}",
        "settings": {"top": TOP, "queries": QUERIES, "fitted": flags.fitted, "repeats": flags.repeats},
        "threads": cores(),
        "machine": timing.machine(),
        "results": [measured(name, flags) for name in flags.data],
    }
    text = table(report)
    if flags.out:
        timing.write(flags.out, "cells", report, text)
        draw(report, Path(flags.out) / "cells.png")
    print(text)


def measured(name: str, flags: argparse.Namespace) -> dict[str, Any]:
    """All sides on one dataset."""
    source = cs.data.load(name).vectors
    vectors = source.read(0, len(source))
    chosen = np.random.default_rng(0).permutation(len(vectors))[: flags.rows or None]
    held = min(1000, len(chosen) // 10)
    queries, rows = unit_rows(vectors[chosen[:held]]), unit_rows(vectors[np.sort(chosen[held:])])
    truth = dense.fit(rows).add(rows).search(queries, TOP)[1]
    model = fitted(name, rows, flags)
    index = model.index(rows, progress=False).with_cells(progress=False)
    exact = index.search(queries, TOP).rows
    sides = [*ours(index), *theirs(rows, index.codes.nbytes / len(rows), flags)]
    about = [one_side(side, queries, truth, exact) for side in sides]
    for q in QUERIES:
        calls = {f"{side.name} {side.setting}": (lambda side=side, q=q: side.call(queries[:q])) for side in sides}
        for told, seconds in zip(about, timing.alternate(calls, flags.repeats, rest=REST).values(), strict=True):
            told["ms"][str(q)] = timing.milliseconds(seconds)
    return {"data": name, "rows": len(rows), "d": rows.shape[1], "cells": index.cells, "sides": about}


def fitted(name: str, rows: np.ndarray, flags: argparse.Namespace) -> Any:
    """The model of a budget, fitted to some rows, once."""
    kept = Path(flags.models) / f"{name}-{flags.bytes}" if flags.models else None
    if kept is not None and kept.is_dir():
        return cs.load(kept)
    some = np.sort(np.random.default_rng(1).permutation(len(rows))[: flags.fitted])
    model = cs.fit(rows[some], budget_bytes=flags.bytes, progress=False)
    if kept is not None:
        model.save(kept)
    return model


def ours(index: Any) -> Iterator[Side]:
    """The exact scan, and cells with rising probes."""
    plain = index.codes.nbytes / len(index)
    yield Side(EXACT, "", plain, lambda queries: index.search(queries, TOP).rows)
    for probes in (2**power for power in range(2, index.cells.bit_length() - 1)):
        yield Side(
            OURS,
            str(probes),
            index.bytes_per_vector,
            lambda queries, p=probes: index.search(queries, TOP, probes=p).rows,
        )


def theirs(rows: np.ndarray, size: float, flags: argparse.Namespace) -> Iterator[Side]:
    """faiss's: lists of PQ codes of as many bytes, with and without the dense vectors, and a graph of these."""
    import faiss

    faiss.omp_set_num_threads(cores())
    n, d = rows.shape
    subspaces = max(m for m in range(1, 2 * int(size) + 1) if d % m == 0)
    lists = round(4 * math.sqrt(n))
    coded = faiss.index_factory(d, f"IVF{lists},PQ{subspaces}x4fs", faiss.METRIC_INNER_PRODUCT)
    coded.train(rows[:: max(1, n // (64 * lists))])
    coded.add(rows)
    refined = faiss.IndexRefineFlat(coded, faiss.swig_ptr(rows))
    refined.k_factor = 4
    for probes in (2**power for power in range(2, lists.bit_length() - 2)):

        def call(queries: np.ndarray, probes: int = probes, of: Any = coded) -> np.ndarray:
            coded.nprobe = probes
            return of.search(queries, TOP)[1]

        yield Side(IVF, str(probes), subspaces / 2 + 8, call)
        yield Side(REFINED, str(probes), subspaces / 2 + 8 + 4 * d, lambda queries, c=call: c(queries, of=refined))
    if flags.no_graph:
        return
    graph = faiss.IndexHNSWFlat(d, LINKS, faiss.METRIC_INNER_PRODUCT)
    graph.hnsw.efConstruction = EFFORT
    graph.add(rows)
    for effort in (100, 200, 400, 800):

        def walk(queries: np.ndarray, effort: int = effort) -> np.ndarray:
            graph.hnsw.efSearch = effort
            return graph.search(queries, TOP)[1]

        yield Side(HNSW, str(effort), 4 * d + 8 * LINKS, walk)


def one_side(side: Side, queries: np.ndarray, truth: np.ndarray, exact: np.ndarray) -> dict[str, Any]:
    """What a side finds, over all queries."""
    found = side.call(queries)
    told = {"side": side.name, "setting": side.setting, "bytes": round(side.bytes_row, 1), "ms": {}}
    told["recall"] = neighbours.overlap(found, truth).mean()
    if side.name in (EXACT, OURS):
        told["recall_of_exact"] = neighbours.overlap(found, exact).mean()
    return told


def table(report: dict[str, Any]) -> str:
    """A table a dataset."""
    lines = ["# Cells: time against recall", "", f"`{report['command']}`", ""]
    for result in report["results"]:
        lines += [f"## {result['data']}: {result['rows']:,} rows × {result['d']}, {result['cells']:,} cells", ""]
        rows = []
        for one in result["sides"]:
            times = [timing.shown(one["ms"][str(q)], unit="_ms") for q in QUERIES]
            of_exact = f"{one['recall_of_exact']:.3f}" if "recall_of_exact" in one else ""
            rows.append([one["side"], one["setting"], one["bytes"], f"{one['recall']:.3f}", of_exact, *times])
        head = "side | setting | bytes | recall@100 | of the exact answer | " + " | ".join(
            f"ms, q={q}" for q in QUERIES
        )
        lines += [*timing.markdown(head, rows), ""]
    return "\n".join(lines)


def draw(report: dict[str, Any], path: Path) -> None:
    """Recall against milliseconds, a row a dataset, a column a number of queries."""
    from matplotlib.figure import Figure

    results = report["results"]
    figure = Figure(figsize=(4.2 * len(QUERIES), 3.4 * len(results)), layout="constrained")
    for result, panels in zip(results, figure.subplots(len(results), len(QUERIES), squeeze=False), strict=True):
        for q, panel in zip(QUERIES, panels, strict=True):
            for number, (name, mark) in enumerate(MARKS.items()):
                some = [one for one in result["sides"] if one["side"] == name]
                times = [one["ms"][str(q)]["median_ms"] for one in some]
                panel.plot(times, [one["recall"] for one in some], mark, ls="-", color=f"C{number}", label=name)
            panel.set(xscale="log", xlabel=f"ms for q = {q}", ylabel=f"recall@{TOP}")
            panel.set_title(f"{result['data']}, {result['rows']:,} rows", loc="left", fontsize=9)
            panel.grid(alpha=0.3)
    figure.axes[0].legend(frameon=False, fontsize=7)
    figure.savefig(path, dpi=130)


if __name__ == "__main__":
    main()
