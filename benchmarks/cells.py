"""Cells beside the exact scan and approximate peers: time against what is found of the 100 nearest.

    python -m benchmarks.cells --data million wordnet glove ten_million --out=results

Rows of a dataset (1,000 held out as queries) are compressed to `--bytes` by a model fitted to `--fitted` of them, put
into cells, and searched with several probes; beside them faiss's IVF-PQ FastScan of as many bytes, with re-ranking by
dense vectors and without, its HNSW over dense vectors, and kANNolo's and Seismic's indexes of the same codes. Recall is
that of the dense neighbours, and of ours also that of the exact answer of the same codes. Sides are timed in turn, each
call with other queries, so that none finds its rows in a cache.

`million` and `ten_million` are synthetic (see `grown`): rows of wordnet and of glove, moved along their own neighbours.
Their queries are rows of those that were held out. Datasets that the report in `--out` has and that are not asked for
stay there.
"""

import argparse
import itertools
import json
import math
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

import compressae_jax as cs
from benchmarks import engines, timing, unsigned
from compressae_jax.base.threads import cores
from compressae_jax.baselines import dense
from compressae_jax.baselines.units import unit_rows
from compressae_jax.codes import joined
from compressae_jax.evaluation import neighbours
from compressae_jax.notation import InputError
from compressae_jax.retrieval.index import Index
from compressae_jax.serving import kannolo

TOP = 100
QUERIES = (1, 16, 64)
GOAL = 0.95  # recall of the exact answer, at which times are compared
LINKS, EFFORT = 32, 100  # of the graph: M and efConstruction
NEAR, MOVED = 10, 0.3  # neighbours, and how far grown rows move along each
BLOCK = 50_000  # rows that are made and compressed at a time
GRAPHED = 200_000  # rows, at most, in graphs and in Seismic, which build long
EXACT, OURS, IVF, REFINED, HNSW = "exact", "cells", "faiss IVF-PQ FastScan", "the same, re-ranked", "faiss HNSW"
KANNOLO, SEISMIC, POSITIVE = "kANNolo, graph of codes", "Seismic", "positive side, 500 rescored"
FEW = 100  # queries by which engines of rows are judged, which take milliseconds each
MARKS = {EXACT: "*", OURS: "o", IVF: "^", REFINED: "v", HNSW: "s", KANNOLO: "D", SEISMIC: "P"}
REST = 0.01  # seconds before a call: a peer's threads spin for a while after theirs


class Grown(NamedTuple):
    """A synthetic set: the dataset whose rows are moved, and how many are made."""

    base: str
    rows: int


GROWN = {"million": Grown("wordnet", 1_000_000), "ten_million": Grown("glove", 10_000_000)}


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
    parser.add_argument("--models", default="", help="folder where models and grown rows are kept, and found again")
    parser.add_argument("--rows", type=int, default=0, help="rows at most; 0: all")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument(
        "--no_graph", action="store_true", help="leave out what takes minutes to build: graphs, Seismic"
    )
    parser.add_argument(
        "--no_lists", action="store_true", help="leave out faiss's lists, which ten million rows are learned into long"
    )
    parser.add_argument("--out", default="")
    flags = parser.parse_args()
    report: dict[str, Any] = {"settings": {"top": TOP, "queries": QUERIES}, "results": earlier(flags.out)}
    for name in flags.data:
        report["results"] = [one for one in report["results"] if one["data"] != name] + [measured(name, flags)]
        text = table(report)
        if flags.out:  # after each dataset, so that a run cut off keeps what it has
            out = Path(flags.out)
            out.mkdir(parents=True, exist_ok=True)
            (out / "cells.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
            (out / "cells.md").write_text(text + "\n", encoding="utf-8")
            draw(report, out / "cells.png")
    print(text)


def earlier(out: str) -> list[dict[str, Any]]:
    """The datasets of the report that is there."""
    path = Path(out) / "cells.json"
    return json.loads(path.read_text(encoding="utf-8"))["results"] if out and path.is_file() else []


def measured(name: str, flags: argparse.Namespace) -> dict[str, Any]:
    """All sides on one dataset."""
    base = GROWN[name].base if name in GROWN else name
    source = cs.data.load(base).vectors
    vectors = source.read(0, len(source))
    chosen = np.random.default_rng(0).permutation(len(vectors))[: flags.rows or None]
    held = min(1000, len(chosen) // 10)
    queries, rows = unit_rows(vectors[chosen[:held]]), unit_rows(vectors[np.sort(chosen[held:])])
    model = fitted(base, rows, flags)
    if name in GROWN:
        rows = grown(GROWN[name], rows, model, flags)
    index = celled(name, rows, model, flags)
    truth = dense.fit(rows).add(rows).search(queries, TOP)[1]
    exact = index.search(queries, TOP).rows
    with tempfile.TemporaryDirectory() as scratch:
        sides = list(ours(index, queries))
        if not flags.no_lists:
            sides += theirs(rows, index.codes.nbytes / len(rows))
        if not flags.no_graph and len(rows) <= GRAPHED:
            sides += graphs(rows)
            sides += of_codes(index, Path(scratch))
        about = [one_side(side, queries, truth, exact) for side in sides]
        for q in QUERIES:
            calls = {f"{side.name} {side.setting}": turning(side, queries, q) for side in sides}
            for told, seconds in zip(about, timing.alternate(calls, flags.repeats, rest=REST).values(), strict=True):
                told["ms"][str(q)] = timing.milliseconds(seconds)
    return {
        "data": name,
        "synthetic": name in GROWN,
        "rows": len(rows),
        "d": rows.shape[1],
        "cells": index.cells,
        "fitted": min(flags.fitted, len(rows)),
        "repeats": flags.repeats,
        "command": command(name, flags),
        "threads": cores(),
        "machine": timing.machine(),
        "sides": about,
    }


def command(name: str, flags: argparse.Namespace) -> str:
    """The command that measures a dataset as it was measured."""
    left_out = [f"--{flag}" for flag in ("no_graph", "no_lists") if getattr(flags, flag)]
    words = [f"--data {name}", f"--bytes={flags.bytes}", f"--repeats={flags.repeats}", *left_out]
    return " ".join(["python -m benchmarks.cells", *words])


def turning(side: Side, queries: np.ndarray, q: int) -> Callable[[], np.ndarray]:
    """Calls with q queries, every time others."""
    starts = itertools.cycle(range(0, len(queries) - q + 1, q))

    def call() -> np.ndarray:
        start = next(starts)
        return side.call(queries[start : start + q])

    return call


def grown(to: Grown, rows: np.ndarray, model: Any, flags: argparse.Namespace) -> np.ndarray:
    """Synthetic rows: x + Σ g_j (x_j - x), x a row, x_j the 10 that are nearest to it, g normal."""
    kept = Path(flags.models) if flags.models else None
    near = kept / f"near-{to.base}.npy" if kept else None
    if near is not None and near.is_file():
        others = np.load(near)
    else:
        base = model.index(rows, progress=False).with_cells(progress=False)
        blocks = range(0, len(rows), BLOCK)
        others = np.concatenate([base.search(rows[s : s + BLOCK], NEAR + 1, probes=16).rows for s in blocks])
        if near is not None:
            np.save(near, others)
    rng = np.random.default_rng(3)
    made = np.empty((to.rows, rows.shape[1]), np.float32)
    for start in range(0, to.rows, BLOCK):
        which, moved = rng.integers(0, len(rows), BLOCK), rng.normal(0, MOVED, (BLOCK, NEAR)).astype(np.float32)
        some = rows[which] * (1 - moved.sum(axis=1, keepdims=True))
        for j in range(NEAR):
            some += moved[:, j : j + 1] * rows[others[which, j + 1]]
        made[start : start + BLOCK] = unit_rows(some)
    return made


def celled(name: str, rows: np.ndarray, model: Any, flags: argparse.Namespace) -> Index:
    """An index with cells, kept where models are, and its codes before it: of ten million rows both take long."""
    folder = Path(flags.models) / f"{name}-{flags.bytes}-cells" if flags.models else None
    if folder is not None and folder.is_dir():
        return cs.load_index(folder)
    plain = Path(flags.models) / f"{name}-{flags.bytes}-codes" if flags.models else None
    if plain is not None and plain.is_dir():
        index = cs.load_index(plain)
    else:
        blocks = tqdm(range(0, len(rows), BLOCK), f"compress {name}", unit="blocks")
        parts = [model.index(rows[s : s + BLOCK], progress=False).codes for s in blocks]
        index = Index(joined.in_memory(parts), model.weights)
        if plain is not None:
            index.save(plain)
    index = index.with_cells()
    if folder is not None:
        index.save(folder)
    return index


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


def ours(index: Any, queries: np.ndarray) -> Iterator[Side]:
    """The exact scan, and cells with rising probes, those that reach `GOAL` among them."""
    plain = index.codes.nbytes / len(index)
    yield Side(EXACT, "", plain, lambda queries: index.search(queries, TOP).rows)
    powers = {2**power for power in range(2, min(10, index.cells.bit_length() - 1))}
    for probes in sorted(powers | {index.probes_for(queries, GOAL, TOP)}):
        yield Side(
            OURS,
            str(probes),
            index.bytes_per_vector,
            lambda queries, p=probes: index.search(queries, TOP, probes=p).rows,
        )


def theirs(rows: np.ndarray, size: float) -> Iterator[Side]:
    """faiss's lists of PQ codes of as many bytes, with and without the dense vectors."""
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


def graphs(rows: np.ndarray) -> Iterator[Side]:
    """faiss's graph of the dense vectors."""
    import faiss

    d = rows.shape[1]
    graph = faiss.IndexHNSWFlat(d, LINKS, faiss.METRIC_INNER_PRODUCT)
    graph.hnsw.efConstruction = EFFORT
    graph.add(rows)
    for effort in (100, 200, 400, 800):

        def walk(queries: np.ndarray, effort: int = effort) -> np.ndarray:
            graph.hnsw.efSearch = effort
            return graph.search(queries, TOP)[1]

        yield Side(HNSW, str(effort), 4 * d + 8 * LINKS, walk)


def of_codes(index: Any, folder: Path) -> Iterator[Side]:
    """The same codes in kANNolo's graph and in Seismic, where these are installed."""
    try:
        kannolo.upload(index, folder / "graph", progress=False, form="hnsw")
        graph = kannolo.Engine(folder / "graph", index.expander)
        size = engines.on_disk(folder / "graph") / len(index)
        yield Side(KANNOLO, "500 rescored", size, lambda queries: numbers(graph.search(queries, top=TOP).ids))
        found, place = unsigned.seismic(index, folder, TOP)[f"Seismic, {POSITIVE}"]
    except (InputError, ImportError) as error:
        print(error)
        return
    yield Side(SEISMIC, POSITIVE, engines.on_disk(place) / len(index), lambda queries: found(queries).rows)


def numbers(ids: np.ndarray) -> np.ndarray:
    """The row numbers that engines give as ids; -1 where there is none."""
    return np.array([[-1 if one is None else int(one) for one in some] for some in ids.tolist()])


def one_side(side: Side, queries: np.ndarray, truth: np.ndarray, exact: np.ndarray) -> dict[str, Any]:
    """What a side finds, over all queries; engines of rows over few."""
    queries = queries[: FEW if side.name in (KANNOLO, SEISMIC) else None]
    truth, exact = truth[: len(queries)], exact[: len(queries)]
    found = side.call(queries)
    told = {"side": side.name, "setting": side.setting, "bytes": round(side.bytes_row, 1), "ms": {}}
    told["recall"] = float(neighbours.overlap(found, truth).mean())
    if side.name in (EXACT, OURS, KANNOLO, SEISMIC):  # those of the same codes
        told["recall_of_exact"] = float(neighbours.overlap(found, exact).mean())
    return told


def table(report: dict[str, Any]) -> str:
    """A table a dataset, and the share of the exact scan's time at `GOAL`."""
    lines = ["# Cells: time against recall", ""]
    for result in report["results"]:
        kind = ", synthetic" if result["synthetic"] else ""
        size = f"{result['rows']:,} rows × {result['d']}{kind}, {result['cells']:,} cells"
        run = f"`{result['command']}`, threads: {result['threads']}. {timing.where(result['machine'])}"
        lines += [f"## {result['data']}: {size}", "", run, "", *at_goal(result), ""]
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


def at_goal(result: dict[str, Any]) -> list[str]:
    """The first setting of ours that finds `GOAL` of the exact answer, beside the exact scan."""
    exact = next(one for one in result["sides"] if one["side"] == EXACT)
    enough = [one for one in result["sides"] if one["side"] == OURS and one["recall_of_exact"] >= GOAL]
    if not enough:
        return [f"No setting finds {GOAL} of the exact answer."]
    first = min(enough, key=lambda one: int(one["setting"]))
    shares = []
    for q in map(str, QUERIES):
        share = first["ms"][q]["median_ms"] / exact["ms"][q]["median_ms"]
        shares.append(f"{share:.3f} for q={q}")
    share = 2 * int(first["setting"]) / result["cells"]
    return [
        f"{first['setting']} probes find {first['recall_of_exact']:.3f} of the exact answer (some {share:.1%} of the "
        f"rows); of the exact scan's time they take {', '.join(shares)}."
    ]


def draw(report: dict[str, Any], path: Path) -> None:
    """Recall against milliseconds, a row a dataset, a column a number of queries; the exact scan as a line, too."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator, NullFormatter

    results = report["results"]
    figure = Figure(figsize=(4.4 * len(QUERIES), 3.3 * len(results) + 0.5), layout="constrained")
    handles = {}
    for result, panels in zip(results, figure.subplots(len(results), len(QUERIES), squeeze=False), strict=True):
        for q, panel in zip(QUERIES, panels, strict=True):
            for number, (name, mark) in enumerate(MARKS.items()):
                some = [one for one in result["sides"] if one["side"] == name]
                if not some:
                    continue
                times = [one["ms"][str(q)]["median_ms"] for one in some]
                recalls = [one["recall"] for one in some]
                (handles[name],) = panel.plot(times, recalls, mark, ls="-", ms=4, lw=1, color=f"C{number}", label=name)
                if name == EXACT:
                    panel.axhline(recalls[0], color=f"C{number}", lw=0.7, ls=":")
            panel.set(xscale="log", xlabel=f"ms for {q} quer{'y' if q == 1 else 'ies'}", ylabel=f"recall@{TOP}")
            panel.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            panel.xaxis.set_major_formatter("{x:g}")
            panel.xaxis.set_minor_formatter(NullFormatter())
            kind = ", synthetic" if result["synthetic"] else ""
            panel.set_title(f"{result['data']}, {result['rows']:,} rows{kind}", loc="left", fontsize=9)
            panel.grid(alpha=0.3, which="both", lw=0.5)
    figure.legend(handles.values(), handles, loc="outside lower center", ncol=4, frameon=False, fontsize=8)
    figure.savefig(path, dpi=130)


if __name__ == "__main__":
    main()
