"""Compressed search at a budget of bytes: what is found of the 100 nearest, beside the time that it takes.

    python -m benchmarks.packed --out=results

Rows that nothing was fitted to (`frontier`'s `:unseen`) are stored by our budget (`fast4`, or `residual4` where bytes
are many beside the width), as ranks (`packed4`) and by each peer in its best form of as many bytes, all fitted to the
same other rows. Times are those of exact scans of these rows, repeated to `--n` of them. Before anything is timed, our
results are compared with a float64 oracle.
"""

import argparse
import dataclasses
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import frontier, timing
from compressae_jax import compression
from compressae_jax.baselines import pca, rabitq
from compressae_jax.baselines.rotation import random_rotation
from compressae_jax.baselines.units import unit_rows
from compressae_jax.codes.codes import Codes
from compressae_jax.codes.storage.kinds import RESIDUAL
from compressae_jax.codes.storage.packed import Packed, Unpacker
from compressae_jax.data.sources import InMemory
from compressae_jax.evaluation import intervals, neighbours
from compressae_jax.model import budgets
from compressae_jax.model.weights import Weights
from compressae_jax.retrieval.backends import host
from compressae_jax.retrieval.queries import Expander
from compressae_jax.training import loop

DEPTH = 100
CHECKED = 4  # queries compared with the oracle
HELD = 256  # rows by which a peer's form is chosen
FAST, RANKED, FLOATS = "fast4", "packed4", "float16 of the same nonzeros"
OWN = (FAST, RESIDUAL, RANKED)  # the first two are what a budget takes
EVERY = f"{RESIDUAL}, every row scored"  # none passed over by a bound of its score
PQ, FASTSCAN = "faiss PQ, 8 bits", "faiss PQ FastScan, 4 bits"
RABITQ, TURBO = "faiss RaBitQ FastScan", "turbovec"
DRAWN = {FAST: "*", RESIDUAL: "*", RANKED: "o", PQ: "s", FASTSCAN: "^", RABITQ: "D", TURBO: "v"}  # and their marks

Search = Callable[[np.ndarray], np.ndarray]  # queries (q, d) -> the rows found (q, DEPTH)
Stored = Callable[[np.ndarray, int], Search]  # rows, and how often they are repeated -> their search


def main() -> None:
    """For each budget: fit all sides, measure what they find, then their times; write the results and the figure."""
    flags = parse()
    kept = earlier(flags) if flags.keep else []
    rows = frontier.split(f"{flags.data}{frontier.UNSEEN}")
    copies = -(-flags.n // len(rows.searched))
    results: list[dict[str, Any]] = []
    for size in flags.bytes:
        weights = loop.fit(InMemory(rows.training), budget_bytes=size, seed=flags.seed, progress=False, held_out=0)
        sides, about = ours(weights, size, rows.searched, rows.queries)
        for name, make in PEERS.items():
            made = make(rows.training, size, flags.seed)
            if made is not None:
                sides[name], about[name] = made
        for name, stored in sides.items():
            hits = neighbours.overlap(stored(rows.searched, 1)(rows.queries), rows.truth)
            about[name]["recall"] = intervals.interval(hits, seed=flags.seed)._asdict()
            print(f"{size} bytes, {name}: recall@{DEPTH} {about[name]['recall']['mean']:.3f}", flush=True)
        many = {name: stored(rows.searched, copies) for name, stored in sides.items()}
        for q in flags.queries:
            asked = rows.queries[:q]
            calls = {name: lambda search=search, asked=asked: search(asked) for name, search in many.items()}
            seconds = timing.alternate(calls, flags.repeats, flags.seconds, rest=0.1)
            for name, some in seconds.items():
                about[name].setdefault("ms", {})[str(q)] = timing.milliseconds(some)
            taken = next(iter(about))
            print(f"{size} bytes, q={q}: {taken} in {about[taken]['ms'][str(q)]['median_ms']:.1f} ms", flush=True)
        results.append({"bytes": size, "h": weights.h, "k": weights.k, "sides": about})
    report = {
        "command": "python -m benchmarks.packed",
        "data": {"name": flags.data, "fitted": len(rows.training), "searched": len(rows.searched), "copies": copies},
        "d": rows.searched.shape[1],
        "checked": f"{CHECKED} queries of our sides against a float64 oracle before timing",
        "settings": {**settings_of(flags), "bytes": sorted({*flags.bytes, *(one["bytes"] for one in kept)})},
        "threads": host.cores(),
        "machine": timing.machine(),
        "results": sorted([*results, *kept], key=lambda result: result["bytes"]),
    }
    if flags.out:
        timing.write(flags.out, "packed", report, table(report))
        draw(report, Path(flags.out) / "packed.png")
    print(table(report))


def parse() -> argparse.Namespace:
    """The flags; the defaults take ten minutes on two cores."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", default="debian")
    parser.add_argument("--n", type=int, default=1_000_000, help="rows, at least, that are timed")
    parser.add_argument("--bytes", type=int, nargs="+", default=[32, 64, 128], help="a row")
    parser.add_argument("--queries", type=int, nargs="+", default=[1, 16, 64])
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=10, help="after which a side sits out")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", action="store_true", help="what --out has of other budgets, if of the same processor")
    parser.add_argument("--out", default="", help="folder for packed.json, packed.md and packed.png")
    return parser.parse_args()


def settings_of(flags: argparse.Namespace) -> dict[str, Any]:
    """What results depend on, and where they went."""
    return {name: value for name, value in vars(flags).items() if name != "keep"}


def earlier(flags: argparse.Namespace) -> list[dict[str, Any]]:
    """The results of other budgets in --out, which must be of the same settings and processor."""
    report = json.loads((Path(flags.out) / "packed.json").read_text(encoding="utf-8"))
    for name, ours, theirs in (
        ("processor", timing.machine()["processor"], report["machine"]["processor"]),
        *(
            (name, getattr(flags, name), report["settings"][name])
            for name in ("data", "n", "queries", "repeats", "seed")
        ),
    ):
        if ours != theirs:
            raise SystemExit(f"--keep: {name} is {ours!r} here and {theirs!r} in {flags.out}/packed.json")
    return [one for one in report["results"] if one["bytes"] not in flags.bytes]


def ours(
    weights: Weights, size: int, searched: np.ndarray, queries: np.ndarray
) -> tuple[dict[str, Stored], dict[str, dict[str, Any]]]:
    """Our codes in this many bytes: of the budget, as ranks, which hold more nonzeros, and as floats; and their forms.

    They are checked, and their rows are made once. A model of `residual4` makes no other rows.
    """
    sides: dict[str, Stored] = {}
    about: dict[str, dict[str, Any]] = {}
    for name in (RESIDUAL,) if weights.storage == RESIDUAL else (FAST, RANKED):
        own = weights
        if name != RESIDUAL:
            own = weights.with_k(min(budgets.largest_k(size, weights.h, name), int(budgets.FILLED * weights.d)))
        packed = compression.encode(own, searched, name, "pursuit")
        check(packed, own, queries[:CHECKED])
        sides[name] = lambda _, copies, packed=packed, own=own: scan(repeated(packed, copies), own)
        about[name] = {"k": own.k, "bytes": packed.nbytes / len(packed), "apart_ns": nanoseconds(packed)}
        if name == RESIDUAL:
            sides[EVERY] = lambda _, copies, packed=packed, own=own: scan(repeated(packed, copies), own, False)
            about[EVERY] = {"k": own.k, "bytes": packed.nbytes / len(packed)}
        if name == FAST:
            codes = packed.codes()
            ones = np.ones((len(packed), 2), np.float32)  # scales are in the values
            floats = Codes(codes.values.astype(np.float16), codes.columns, own.h, ones, verified=True)
            check(floats, own, queries[:CHECKED])
            sides[FLOATS] = lambda _, copies, floats=floats, own=own: scan(repeated(floats, copies), own)
            about[FLOATS] = {"k": own.k, "bytes": (floats.values.nbytes + floats.columns.nbytes) / len(floats)}
    return sides, about


def repeated(rows: Packed | Codes, copies: int) -> Packed | Codes:
    """The rows, one time after the other."""
    if isinstance(rows, Packed):
        return dataclasses.replace(rows, records=np.tile(rows.records, (copies, 1)))
    parts = {name: np.tile(getattr(rows, name), (copies, 1)) for name in ("values", "columns", "norms")}
    return dataclasses.replace(rows, **parts)


def scan(rows: Packed | Codes, weights: Weights, bounded: bool = True) -> Search:
    """Search by dense queries, their expansion included."""
    expand = Expander(weights, "dense_query").expand
    return lambda queries: host.search(rows, "reconstructed", expand(queries), DEPTH, bounded=bounded)[1]


def check(rows: Packed | Codes, weights: Weights, queries: np.ndarray) -> None:
    """Stop unless the scores of these queries, together and one by one, are those of float64."""
    u = Expander(weights, "dense_query").expand(queries)
    exact = (rows.to_csr().astype(np.float64) @ u.T.astype(np.float64)).T
    wanted = -np.sort(-exact, axis=1)[:, :DEPTH]
    for some in (u, np.tile(u, (16, 1))):
        scores, found = host.search(rows, "reconstructed", some, DEPTH)
        there = np.take_along_axis(exact, found[: len(u)], axis=1)
        if not all(np.allclose(one, wanted, rtol=1e-4, atol=1e-5) for one in (scores[: len(u)], there)):
            raise SystemExit("a side does not agree with the float64 oracle, so nothing is timed")


def nanoseconds(packed: Packed, repeats: int = 100) -> float:
    """Of one thread, a row, that takes rows apart and scores none: the least of several turns of some rows."""
    unpacker, seconds = Unpacker(packed.packing), []
    for _ in range(repeats):
        start = time.perf_counter()
        unpacker(packed.records[: unpacker.rows])
        seconds.append(time.perf_counter() - start)
    return 1e9 * min(seconds) / min(unpacker.rows, len(packed))


Made = tuple[Stored, dict[str, Any]] | None  # None where a peer is not installed


def faiss_pq(training: np.ndarray, size: int, seed: int) -> Made:
    """Product quantisation by 256 centres, as `faiss.IndexPQ` searches it."""
    del seed
    return _quantiser(training, size, 8)


def faiss_fastscan(training: np.ndarray, size: int, seed: int) -> Made:
    """Product quantisation by 16 centres, twice as many parts, looked up in registers."""
    del seed
    return _quantiser(training, size, 4)


def _quantiser(training: np.ndarray, size: int, bits: int) -> Made:
    try:
        import faiss
    except ImportError:
        return None
    faiss.omp_set_num_threads(host.cores())
    d, most = training.shape[1], 8 * size // bits
    parts = next(m for m in range(min(most, d), 0, -1) if d % m == 0)  # 192 of 4 bits, not 256, at d=384
    index = faiss.IndexPQ(d, parts, bits, faiss.METRIC_INNER_PRODUCT)
    index.train(unit_rows(training))

    def stored(rows: np.ndarray, copies: int) -> Search:
        full = _filled(index, unit_rows(rows), copies)
        side = faiss.IndexPQFastScan(full) if bits == 4 else full
        return lambda queries: side.search(unit_rows(queries), DEPTH)[1]

    return stored, {"bytes": index.sa_code_size()}


def _filled(index: Any, rows: np.ndarray, copies: int) -> Any:
    """A copy of a trained index that holds the rows, repeated: they are encoded once."""
    import faiss

    full = faiss.clone_index(index)
    codes = np.tile(index.sa_encode(np.ascontiguousarray(rows)), (copies, 1))
    faiss.copy_array_to_vector(codes.ravel(), full.codes)
    full.ntotal = len(codes)
    return full


def faiss_rabitq(training: np.ndarray, size: int, seed: int) -> Made:
    """RaBitQ, looked up in registers, of as many principal directions and bits as find most in held-out rows."""
    try:
        import faiss
    except ImportError:
        return None
    basis = pca.directions(training)

    def made(some: np.ndarray, form: tuple[int, int]) -> Stored:
        m, bits = form
        turn = basis[:, :m] @ random_rotation(m, seed)
        index = faiss.IndexRaBitQ(m, faiss.METRIC_INNER_PRODUCT, bits)
        index.train(np.ascontiguousarray(unit_rows(some) @ turn))

        def stored(rows: np.ndarray, copies: int) -> Search:
            side = faiss.IndexRaBitQFastScan(_filled(index, unit_rows(rows) @ turn, copies))
            return lambda queries: side.search(np.ascontiguousarray(unit_rows(queries) @ turn), DEPTH)[1]

        return stored

    (m, bits), stored = best_form(training, rabitq.forms(training.shape[1], size), made, seed)
    return stored, {"bytes": rabitq.size(m, bits), "form": form_of(m, bits)}


def turbovec(training: np.ndarray, size: int, seed: int) -> Made:
    """TurboQuant by turbovec, calibrated, of as many principal directions and bits as find most in held-out rows."""
    try:
        from turbovec import TurboQuantIndex
    except ImportError:
        return None
    basis, d = pca.directions(training), training.shape[1]
    norm = 4  # bytes beside a row's bits
    forms = [(min(d, 8 * (size - norm) // bits) // 8 * 8, bits) for bits in (2, 3, 4)]

    def made(some: np.ndarray, form: tuple[int, int]) -> Stored:
        m, bits = form
        turn = basis[:, :m]

        def stored(rows: np.ndarray, copies: int) -> Search:
            index = TurboQuantIndex(m, bits)
            index.calibrate(np.ascontiguousarray(unit_rows(some) @ turn))
            for _ in range(copies):
                index.add(np.ascontiguousarray(unit_rows(rows) @ turn))
            return lambda queries: index.search(np.ascontiguousarray(unit_rows(queries) @ turn), DEPTH)[1]

        return stored

    (m, bits), stored = best_form(training, forms, made, seed)
    return stored, {"bytes": m * bits / 8 + norm, "form": form_of(m, bits)}


def form_of(m: int, bits: int) -> str:
    """In words."""
    return f"{m} directions, {bits} bit{'s' * (bits > 1)}"


def best_form(
    training: np.ndarray,
    forms: Sequence[tuple[int, int]],
    made: Callable[[np.ndarray, tuple[int, int]], Stored],
    seed: int,
) -> tuple[tuple[int, int], Stored]:
    """Of several forms the one that finds most of held-out rows' neighbours, fitted to all rows."""
    held = np.random.default_rng(seed).permutation(len(training))[:HELD]
    asked, rest = training[held], np.delete(training, held, axis=0)
    truth = np.argsort(-unit_rows(asked) @ unit_rows(rest).T, axis=1)[:, :DEPTH]
    best = max(forms, key=lambda form: neighbours.overlap(made(rest, form)(rest, 1)(asked), truth).mean())
    return best, made(training, best)


PEERS = {PQ: faiss_pq, FASTSCAN: faiss_fastscan, RABITQ: faiss_rabitq, TURBO: turbovec}


def ratio(about: dict[str, Any], one: str, other: str, q: int) -> float:
    """How many times as long one side takes, by medians."""
    one_ms, other_ms = (about[name]["ms"][str(q)]["median_ms"] for name in (one, other))
    return one_ms / other_ms


def table(report: dict[str, Any]) -> str:
    """A table a budget: methods down; bytes, what they find and their times across; and ratios of times."""
    s, data = report["settings"], report["data"]
    lines = [
        f"Exact search of the compressed rows of {data['name']} (d={report['d']}), dense queries, top {DEPTH}, "
        f"{report['threads']} threads. Recall@{DEPTH}: {data['searched']:,} rows that nothing was fitted to, all "
        f"methods fitted to the same other {data['fitted']:,}; ± half of the 95 % bootstrap interval. Times: the same "
        f"rows {data['copies']} times, {data['searched'] * data['copies']:,} in all, queries expanded; median of "
        f"{s['repeats']} alternating runs (least to greatest). Peers in the form of as many bytes that finds most in "
        f"held-out rows. Seed {s['seed']}. `{report['command']}`.",
    ]
    for result in report["results"]:
        about = result["sides"]
        rows = []
        for name, one in about.items():
            recall = one["recall"]
            half = (recall["high"] - recall["low"]) / 2
            times = [timing.shown(one["ms"][str(q)], 1, "_ms") for q in s["queries"]]
            form = f"k={one['k']}" if "k" in one else one.get("form", "")
            rows.append([name, form, f"{one['bytes']:.0f}", f"{recall['mean']:.3f} ± {half:.3f}", *times])
        head = f"method | form | bytes | recall@{DEPTH} | {' | '.join(f'q={q}, ms' for q in s['queries'])}"
        lines += ["", f"**{result['bytes']} bytes**, h={result['h']:,}:", "", *timing.markdown(head, rows), ""]
        taken, *others = about
        for other in others:
            times = " / ".join(f"{ratio(about, other, taken, q):.2f}" for q in s["queries"])
            lines.append(f"- {other}: {times} times as long as `{taken}` at q = {' / '.join(map(str, s['queries']))}.")
        apart = " and ".join(f"`{name}` in {about[name]['apart_ns']:.0f} ns" for name in OWN if name in about)
        lines.append(f"- One thread takes a row of {apart} apart, scoring none.")
    return "\n".join(lines) + "\n"


def draw(report: dict[str, Any], path: Path) -> None:
    """Recall against milliseconds, a point a method: budgets across, numbers of queries down."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator, NullLocator, ScalarFormatter

    queries = [report["settings"]["queries"][0], report["settings"]["queries"][-1]]
    figure = Figure(figsize=(4.6 * len(report["results"]), 6.4), layout="constrained")
    panels = figure.subplots(2, len(report["results"]), squeeze=False, sharey="col")
    for result, column in zip(report["results"], panels.T, strict=True):
        for q, panel in zip(queries, column, strict=True):
            for number, (name, mark) in enumerate(DRAWN.items()):
                if name not in result["sides"]:
                    continue
                one = result["sides"][name]
                own = name in OWN
                panel.plot(
                    one["ms"][str(q)]["median_ms"],
                    one["recall"]["mean"],
                    mark,
                    markersize=13 if mark == "*" else 8,
                    color=f"C{number}",
                    markeredgecolor="black" if own else "none",
                    label=name,
                )
            panel.set(xscale="log", xlabel=f"ms for {q} quer{'y' if q == 1 else 'ies'}", ylabel=f"recall@{DEPTH}")
            panel.set_title(f"{result['bytes']} bytes", loc="left")
            panel.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            panel.xaxis.set_major_formatter(ScalarFormatter())
            panel.xaxis.set_minor_locator(NullLocator())
            panel.margins(0.1)
            panel.grid(alpha=0.3)
            panel.spines[["top", "right"]].set_visible(False)
    there = [panel.get_legend_handles_labels() for panel in panels[0]]
    named = {name: handle for handles, names in there for handle, name in zip(handles, names, strict=True)}
    panels[0, 0].legend(named.values(), named.keys(), frameon=False, fontsize=8)
    rows = report["data"]["searched"] * report["data"]["copies"]
    figure.suptitle(f"{rows:,} rows × {report['d']}: up and to the left is better", fontsize=10)
    figure.savefig(path, dpi=130)


if __name__ == "__main__":
    main()
