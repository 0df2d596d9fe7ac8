"""How time and memory of exact search grow with rows, queries, nonzeros and width: `host` beside exact dense search.

    python -m benchmarks.growth --out=results                # 8 minutes on two cores
    python -m benchmarks.growth --out=results --size=small   # 90 seconds

One quantity varies at a time. The dense peer is faiss IndexFlatIP (extra [bench]), NumPy's product and argpartition
where faiss is missing. The numbers are random, which changes no time: both sides read every row. At every point the
results of some queries of both sides are compared with a float64 oracle before anything is timed. The last part times
codes of d=768, h=4096, k=32, as floats and packed, for docs/SCALE.md (`benchmarks.scale`).
"""

import argparse
import ctypes
import functools
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from benchmarks import memory, timing
from benchmarks.peers import FAISS_BLAS
from benchmarks.synthetic import packed_codes
from compressae_jax.codes.codes import Codes, column_dtype
from compressae_jax.codes.rows import Rows
from compressae_jax.retrieval.backends import host

TOP = 100
CHECKED = 2  # queries compared with the oracle at every point
REST = 0.03  # seconds before a timed call: OpenMP's threads (faiss) spin for a while after theirs and slow the next
PIECE = 2**16  # dense rows made, or checked, at a time
SIZES: dict[str, dict[str, Any]] = {
    "full": {
        "base": {"n": 200_000, "d": 384, "h": 4096, "k": 16, "q": 16},
        "n": (25_000, 50_000, 100_000, 200_000, 400_000, 800_000),
        "q": (1, 2, 4, 8, 16, 32, 64, 128, 256),
        "k": (4, 8, 16, 32, 64),
        "h": (512, 1024, 2048, 4096, 8192, 16384),
        "scale": {"n": 200_000, "d": 768, "h": 4096, "k": 32, "q": (1, 16, 64)},
        "repeats": 9,
    },
    "small": {
        "base": {"n": 50_000, "d": 384, "h": 4096, "k": 16, "q": 16},
        "n": (12_500, 25_000, 50_000, 100_000, 200_000),
        "q": (1, 4, 16, 64, 256),
        "k": (4, 8, 16, 32, 64),
        "h": (512, 1024, 2048, 4096, 8192, 16384),
        "scale": {"n": 50_000, "d": 768, "h": 4096, "k": 32, "q": (1, 16, 64)},
        "repeats": 5,
    },
}
AXES = {"n": "rows n", "q": "queries q", "k": "nonzeros a row k", "h": "width of the codes h"}
ROOMS = {"24 GiB of a CPU": 24 * 2**30, "80 GB of one GPU": 80 * 10**9}
SIDES = {"host": ("#0072B2", "o"), "peer": ("#333333", "*")}

Search = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]


def main() -> None:
    """Measure, fit, write growth.json, growth.md and growth.png."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--size", default="full", choices=SIZES)
    parser.add_argument("--out", default="", help="folder for growth.json, growth.md and growth.png")
    flags = parser.parse_args()
    report = measured(SIZES[flags.size]) | {"command": f"python -m benchmarks.growth --size={flags.size}"}
    text = table(report)
    if flags.out:
        timing.write(flags.out, "growth", report, text)
        draw(report, Path(flags.out) / "growth.png")
    print(text)


def measured(size: dict[str, Any]) -> dict[str, Any]:
    """All points, their slopes, bytes a vector and how many vectors fit."""
    start = time.perf_counter()
    base = size["base"]
    point(base | {"n": 2000}, 1)  # imports and compilation are in nobody's memory
    wanted = [(axis, base | {axis: x}) for axis in AXES for x in size[axis]]
    points = [{"axis": axis, **point(at, size["repeats"])} for axis, at in tqdm(wanted, "points")]
    bytes_a_vector = {side: slope_of_bytes(points, side) for side in SIDES}
    return {
        "claim": "memory grows with n k (and q h of expanded queries), time no faster than n, q and k, hardly with h",
        "data": "synthetic (random codes and directions); used for times and memory only",
        "checked": f"{CHECKED} queries of every point and side against a float64 oracle before timing",
        "settings": {**size, "top": TOP},
        "peer": peer_name(),
        "threads": host.cores(),
        "machine": timing.machine(),
        "copy_gb_per_s": copy_rate(),
        "points": points,
        "slopes": {axis: slopes([p for p in points if p["axis"] == axis], axis) for axis in AXES},
        "bytes_per_vector": bytes_a_vector,
        "fits": {room: {side: int(b / bytes_a_vector[side]) for side in SIDES} for room, b in ROOMS.items()},
        "scale": scale(size["scale"], size["repeats"]),
        "seconds": time.perf_counter() - start,
    }


def point(at: dict[str, int], repeats: int) -> dict[str, Any]:
    """Both sides at one place: milliseconds, and MiB that the index and its search take above what was there before."""
    rng = np.random.default_rng(0)
    u = rng.standard_normal((at["q"], at["h"])).astype(np.float32)
    dense = unit(rng.standard_normal((at["q"], at["d"]), np.float32))

    before = settled()
    codes = random_codes(rng, at["n"], at["h"], at["k"])
    ours: Search = lambda queries: host.search(codes, "reconstructed", queries, TOP)  # noqa: E731
    mib = {"host": peak(ours, u) - before}
    check("host", ours, u[:CHECKED], len(u), functools.partial(code_scores, codes, codes.scales("reconstructed")))

    before = settled()
    theirs, scores = peer(rng, at["n"], at["d"])
    mib["peer"] = peak(theirs, dense) - before
    check("peer", theirs, dense[:CHECKED], len(dense), scores)

    seconds = timing.alternate({"host": lambda: ours(u), "peer": lambda: theirs(dense)}, repeats, rest=REST)
    return {**at, **{side: timing.milliseconds(some) | {"mib": round(mib[side], 2)} for side, some in seconds.items()}}


def random_codes(rng: np.random.Generator, n: int, h: int, k: int) -> Codes:
    """Normal float16 values with norms, one column in each of k ranges of the h (so distinct)."""
    values, columns = np.empty((n, k), np.float16), np.empty((n, k), column_dtype(h))
    for start in range(0, n, PIECE):
        here = slice(start, min(n, start + PIECE))
        part = rng.standard_normal((here.stop - start, k), np.float32)
        values[here] = np.take_along_axis(part, np.argsort(-np.abs(part), axis=1), axis=1)
        ranges = rng.permuted(np.broadcast_to(np.arange(k), part.shape), axis=1)
        columns[here] = (ranges + rng.random(part.shape, np.float32) * 0.999) * (h / k)
    lengths = np.concatenate(
        [np.linalg.norm(values[start : start + PIECE].astype(np.float32), axis=1) for start in range(0, n, PIECE)]
    )
    # One space needs one norm a row, so that is what is held here.
    return Codes(values, columns, h, np.broadcast_to(lengths[:, None], (n, 2)), verified=True)


def code_scores(codes: Codes, row_scales: np.ndarray, u: np.ndarray) -> np.ndarray:
    """Scores (q, n) in float64, a row at a time as `codes.spaces` defines them."""
    exact = codes.to_csr().astype(np.float64) @ u.T.astype(np.float64)
    return exact.T * row_scales


def peer_name() -> str:
    """The dense peer that is installed."""
    try:
        import faiss
    except ImportError:
        return f"numpy {np.__version__}, product and argpartition"
    return f"faiss {faiss.__version__} IndexFlatIP"


def peer(rng: np.random.Generator, n: int, d: int) -> tuple[Search, Callable[[np.ndarray], np.ndarray]]:
    """Exact search of n random directions, which the search alone holds, and their scores in float64."""
    pieces = (unit(rng.standard_normal((min(PIECE, n - s), d), np.float32)) for s in range(0, n, PIECE))
    try:
        import faiss
    except ImportError:
        rows = np.empty((n, d), np.float32)
        for start, piece in zip(range(0, n, PIECE), pieces, strict=True):
            rows[start : start + PIECE] = piece
        return functools.partial(numpy_search, rows), lambda x: float64_scores(lambda s, e: rows[s:e], n, x)
    faiss.omp_set_num_threads(host.cores())
    # As `benchmarks.peers` tunes it: matrix products from 8 queries; by default this build multiplies hardly ever.
    faiss.cvar.distance_compute_blas_threshold, faiss.cvar.distance_compute_blas_database_bs = FAISS_BLAS
    index = faiss.IndexFlatIP(d)
    # All of the memory at once: by pieces it would be doubled and copied as it grows.
    index.codes.resize(4 * n * d)
    index.codes.resize(0)
    for piece in pieces:
        index.add(piece)
    return (
        lambda x: index.search(x, TOP),
        lambda x: float64_scores(lambda s, e: index.reconstruct_n(s, e - s), n, x),
    )


def numpy_search(rows: np.ndarray, queries: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The best rows by one product, argpartition and a sort of what it keeps."""
    scores = queries @ rows.T
    some = np.argpartition(-scores, TOP, axis=1)[:, :TOP]
    order = np.argsort(-np.take_along_axis(scores, some, axis=1), axis=1, kind="stable")
    some = np.take_along_axis(some, order, axis=1)
    return np.take_along_axis(scores, some, axis=1), some


def float64_scores(read: Callable[[int, int], np.ndarray], n: int, queries: np.ndarray) -> np.ndarray:
    """Dense scores (q, n) in float64, rows read piece by piece."""
    ends = [(start, min(n, start + PIECE)) for start in range(0, n, PIECE)]
    return np.concatenate([queries.astype(np.float64) @ read(*se).T.astype(np.float64) for se in ends], axis=1)


def check(side: str, search: Search, queries: np.ndarray, q: int, oracle: Callable[[np.ndarray], np.ndarray]) -> None:
    """Stop unless scores and rows of these queries, searched q at a time as timed, are those of float64."""
    exact = oracle(queries)
    wanted = -np.sort(-exact, axis=1)[:, :TOP]
    scores, rows = (some[: len(queries)] for some in search(np.resize(queries, (q, queries.shape[1]))))
    there = np.take_along_axis(exact, rows, axis=1)
    close = all(np.allclose(some, wanted, rtol=1e-4, atol=1e-5) for some in (scores, there))
    if not (close and all(len(set(some)) == TOP for some in rows.tolist())):
        raise SystemExit(f"{side} does not agree with the float64 oracle, so nothing is timed")


def settled() -> float:
    """MiB that this process holds itself, once what was freed has gone back to the system."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc
    if trim is not None:
        trim(0)
    return memory.status()["anonymous"]


def peak(search: Search, queries: np.ndarray) -> float:
    """The most MiB that this process itself holds during three searches; what building left behind goes first."""
    settled()
    return memory.peak(lambda: [search(queries) for _ in range(3)])["anonymous_peak_mib"]


def unit(x: np.ndarray) -> np.ndarray:
    """Rows of length one."""
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    return x


def fitted_slope(x: Any, y: Any) -> float:
    """b of y = a x^b, least squares of logarithms."""
    return float(np.polyfit(np.log(x), np.log(y), 1)[0])


def slopes(points: list[dict[str, Any]], axis: str) -> dict[str, Any]:
    """The slopes of time and memory along an axis, with the range that they are fitted on."""
    x = [p[axis] for p in points]
    of = {"time": "median_ms", "memory": "mib"}
    return {
        "range": [min(x), max(x)],
        **{side: {name: fitted_slope(x, [p[side][f] for p in points]) for name, f in of.items()} for side in SIDES},
    }


def slope_of_bytes(points: list[dict[str, Any]], side: str) -> float:
    """Measured bytes that one more vector takes: least squares of memory against n."""
    along = [p for p in points if p["axis"] == "n"]
    return float(np.polyfit([p["n"] for p in along], [p[side]["mib"] * memory.MIB for p in along], 1)[0])


def copy_rate() -> float:
    """GB a second that are read or written when this process copies, one thread: the memory's floor."""
    source = np.ones(2**25, np.float32)
    target = np.empty_like(source)
    seconds = timing.alternate({"copy": lambda: np.copyto(target, source)}, 5)["copy"]
    return 2 * source.nbytes / 1e9 / float(np.median(seconds))


def scale(at: dict[str, Any], repeats: int) -> dict[str, Any]:
    """Milliseconds and bytes a row of float16 and packed4 codes of one shape, for the arithmetic of larger n."""
    rng = np.random.default_rng(1)
    codes = random_codes(rng, at["n"], at["h"], at["k"])
    rows: dict[str, Rows] = {"float16": codes, "packed4": packed_codes(codes, 4)}
    sizes = {"float16": codes.nbytes / len(codes) + 4, "packed4": rows["packed4"].nbytes / len(codes)}
    u = rng.standard_normal((max(at["q"]), at["h"])).astype(np.float32)
    times: dict[str, dict[str, Any]] = {name: {} for name in rows}
    for q in at["q"]:
        sides: dict[str, Search] = {
            name: lambda x, of=of: host.search(of, "reconstructed", x, TOP) for name, of in rows.items()
        }
        for name, of in rows.items():
            exact = functools.partial(code_scores, of.codes(), of.scales("reconstructed"))
            check(name, sides[name], u[: min(q, CHECKED)], q, exact)
        calls = {name: functools.partial(side, u[:q]) for name, side in sides.items()}
        for name, some in timing.alternate(calls, repeats, rest=REST).items():
            times[name][str(q)] = timing.milliseconds(some)
    return {**at, "bytes": sizes, "times": times}


def table(report: dict[str, Any]) -> str:
    """Points, slopes and capacity in Markdown."""
    base = report["settings"]["base"]
    shape = ", ".join(f"{name}={value:,}" for name, value in base.items())
    points = []
    for p in report["points"]:
        ratio = p["peer"]["median_ms"] / p["host"]["median_ms"]
        cells = [*(timing.shown(p[side], 2, "_ms") for side in SIDES), f"{ratio:.1f}"]
        points.append([f"{p['axis']}={p[p['axis']]:,}", *cells, *(f"{p[side]['mib']:,.0f}" for side in SIDES)])
    laws = []
    for axis, of in report["slopes"].items():
        cells = [f"{of[side][what]:.2f}" for what in ("time", "memory") for side in SIDES]
        laws.append([axis, f"{of['range'][0]:,} to {of['range'][1]:,}", *cells])
    fits = [[room, *(f"{some[side]:,}" for side in SIDES)] for room, some in report["fits"].items()]
    bytes_a_vector = report["bytes_per_vector"]
    lines = [
        f"Exact search, top {TOP}, `host` beside {report['peer']}, {report['threads']} threads each; {shape} but for "
        f"what varies. Median of {report['settings']['repeats']} alternating runs, each after a rest (least to "
        "greatest), ms; MiB that index and search take. Synthetic rows, for times and memory only. d does not change "
        "`host`, nor k and h the peer.",
        "",
        "![growth](growth.png)",
        "",
        *timing.markdown("varies | host, ms | dense, ms | times as fast | host, MiB | dense, MiB", points),
        "",
        "Slopes b of a x^b, least squares of logarithms over the range:",
        "",
        *timing.markdown("x | range | host, time | dense, time | host, memory | dense, memory", laws),
        "",
        f"Measured bytes that one more vector takes (least squares of memory against n): {bytes_a_vector['host']:.0f} "
        f"of codes (k={base['k']}), {bytes_a_vector['peer']:,.0f} dense (d={base['d']}). Vectors that fit, by "
        "arithmetic from them (all of the room for rows; no GPU was measured):",
        "",
        *timing.markdown("room | codes | dense", fits),
    ]
    return "\n".join(lines) + "\n"


def draw(report: dict[str, Any], path: Path) -> None:
    """Time above, memory below, a column an axis; log-log."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(14, 6.2), layout="constrained")
    panels = figure.subplots(2, len(AXES), sharex="col", sharey="row")
    for (axis, label), (above, below) in zip(AXES.items(), panels.T, strict=True):
        points = [p for p in report["points"] if p["axis"] == axis]
        for side, (colour, marker) in SIDES.items():
            x = [p[axis] for p in points]
            of = {field: [p[side][field] for p in points] for field in ("median_ms", "min_ms", "max_ms", "mib")}
            called = "codes (host)" if side == "host" else report["peer"].split(",")[0]
            for panel, field, what in ((above, "median_ms", "time"), (below, "mib", "memory")):
                legend = f"{called}: slope {report['slopes'][axis][side][what]:.2f}"
                panel.plot(x, of[field], color=colour, marker=marker, label=legend)
            above.fill_between(x, of["min_ms"], of["max_ms"], color=colour, alpha=0.15, linewidth=0)
        ticks = [p[axis] for p in points][:: max(1, len(points) // 4)]
        for panel in (above, below):
            panel.set(xscale="log", yscale="log")
            panel.margins(y=0.3)  # room for the legend
            panel.set_xticks(ticks, [f"{tick:,}" for tick in ticks])
            panel.minorticks_off()
            panel.grid(alpha=0.3)
            panel.legend(frameon=False, fontsize=8)
        below.set_xlabel(label)
    panels[0, 0].set_ylabel("time, ms")
    panels[1, 0].set_ylabel("memory, MiB")
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    main()
