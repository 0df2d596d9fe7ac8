"""From a dense query to ids: latency, throughput, recall and bytes of dense vectors, short ones and codes, in engines.

    python -m benchmarks.end_to_end --out=results [--repeat=32]

The same rows as dense vectors, as 64 coordinates (learned, or the first) and as codes, each in Qdrant's core,
PostgreSQL with pgvector and this process. A time includes all that turns the query into what is asked. `--repeat`
repeats rows, each with noise of its own, for times at that size; what is learned is learned from the rows themselves.
Engines that are not installed (extras [engines], [bench]) and what would be built for more than `--limit` seconds are
left out and named. Every part is written as it ends.
"""

import argparse
import functools
import itertools
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import compressae_jax as cs
from benchmarks import stores, timing
from compressae_jax import data
from compressae_jax.baselines import dense, matryoshka, truncation
from compressae_jax.baselines.units import unit_rows
from compressae_jax.evaluation import intervals, neighbours
from compressae_jax.notation import InputError

TOP = 100
WIDTH = 64  # coordinates of short vectors
BYTES = 64  # of a packed code
PIECE = 8192  # rows read at once
REST = 0.002  # seconds before a query: threads of the side before spin for a while


class Form(NamedTuple):
    """What is kept of the rows, of the first so many: an array or an index, and where it is searched."""

    name: str
    rows: Callable[[int], Any]
    stores: dict[str, Callable[[Any, Path], Any]]


def main() -> None:
    """Measure every form in every engine; write the table after each."""
    flags = parse()
    source = data.load(flags.data).vectors
    drawn = data.split_rows(len(source), flags.queries, 0)
    kept = drawn.train[np.arange(min(flags.rows or len(drawn.train), len(drawn.train)))]
    rows = unit_rows(np.asarray(source.take(kept), np.float32))
    queries = unit_rows(np.asarray(source.take(drawn.queries), np.float32))
    with tempfile.TemporaryDirectory() as scratch:
        many = repeated(rows, flags.repeat, flags.noise, flags.seed, Path(scratch) / "rows.npy")
        pieces = (many[start : start + PIECE] for start in range(0, len(many), PIECE))
        truth = dense.fit(rows).search_stored(queries, pieces, TOP)[1]
        report = {
            "command": "python -m benchmarks.end_to_end",
            "settings": vars(flags),
            "rows": len(many),
            "d": rows.shape[1],
            "machine": timing.machine(),
            "left out": [],
            "results": [],
        }
        for number, form in enumerate(forms(rows, many, flags)):
            for one in measured(
                form, len(many), queries, truth, Path(scratch) / str(number), flags, report["left out"]
            ):
                report["results"].append(one)
                print(one, flush=True)
            write(flags.out, report)
    print(table(report))


def parse() -> argparse.Namespace:
    """The flags; the defaults take about five minutes on two cores."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", default="wordnet768")
    parser.add_argument("--rows", type=int, default=0, help="of the data, at most; 0: all")
    parser.add_argument("--queries", type=int, default=1000, help="rows held out, which are asked")
    parser.add_argument("--repeat", type=int, default=1, help="how often each row comes, with noise of its own")
    parser.add_argument("--noise", type=float, default=0.5, help="length of the noise, where a row's is 1")
    parser.add_argument("--h", type=int, default=4096)
    parser.add_argument("--k", type=int, default=32)
    parser.add_argument("--steps", type=int, default=300, help="of the published one-pass codes")
    parser.add_argument("--limit", type=float, default=120, help="seconds that an engine may build")
    parser.add_argument("--seconds", type=float, default=1, help="that a side is asked, one by one and again together")
    parser.add_argument("--clients", type=int, default=4, help="that ask an engine at once")
    parser.add_argument("--batch", type=int, default=64, help="queries at once, in this process")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", default="", help="folder for end_to_end.json, .md and .png")
    return parser.parse_args()


def repeated(rows: np.ndarray, repeat: int, noise: float, seed: int, path: Path) -> np.ndarray:
    """Unit rows (repeat n, d) in a file: first as they are, then each again with noise of length `noise` of its own.

    The noise is the difference of two rows, drawn for each, so that it has the directions that the rows have.
    """
    n, d = rows.shape
    many = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=(n * repeat, d))
    many[:n] = rows
    rng = np.random.default_rng(seed)
    for copy in range(1, repeat):
        order = rng.permutation(n)
        away = rows[order] - rows[np.roll(order, 1)]
        many[copy * n : (copy + 1) * n] = unit_rows(rows + np.float32(noise) * unit_rows(away))
    return many


def forms(rows: np.ndarray, many: np.ndarray, flags: argparse.Namespace) -> Iterator[Form]:
    """Each form of the rows, learned when its turn comes."""
    yield Form(f"dense, {many.shape[1]} float32", lambda n: many[:n], stores.of_vectors(lambda x: x))
    width = min(WIDTH, rows.shape[1] - 1)
    for name, fitted in (
        ("learned Matryoshka", lambda: matryoshka.fit(rows, 4 * width, seed=flags.seed)),
        ("truncated", lambda: truncation.fit(rows, 4 * width)),
    ):
        yield Form(f"{name}, {width} float32", *shortened(fitted(), many))
    one_pass = cs.fit(rows, h=flags.h, k=flags.k, steps=flags.steps, seed=flags.seed, progress=False)
    index = one_pass.index(many, ids=np.arange(len(many)), progress=False)
    for asked in (index.in_space("sparse"), index.in_space("reconstructed")):
        name = f"published codes, k={flags.k}, {asked.space}"
        yield Form(name, functools.partial(first, asked), stores.of_codes())
    packed = cs.fit(rows, budget_bytes=min(BYTES, 2 * rows.shape[1]), seed=flags.seed, progress=False)
    whole = packed.index(many, ids=np.arange(len(many)), progress=False)
    yield Form(f"packed pursuit codes, {BYTES} bytes", functools.partial(first, whole), {"ours": stores.Ours})


def shortened(fitted: Any, many: np.ndarray) -> tuple[Callable[[int], np.ndarray], dict[str, Any]]:
    """The stored rows of a baseline that keeps floats, and the engines that reduce queries by it."""
    kept = np.concatenate([fitted.encode(many[start : start + PIECE]) for start in range(0, len(many), PIECE)])
    return (lambda n: kept[:n]), stores.of_vectors(fitted.encode)


def first(index: Any, n: int) -> Any:
    """An index of the first n rows of another one, in its space."""
    if n == len(index):
        return index
    return type(index)(index.codes[:n], index.weights, index.space, np.arange(n), index.encoder)


def measured(
    form: Form,
    n: int,
    queries: np.ndarray,
    truth: np.ndarray,
    scratch: Path,
    flags: argparse.Namespace,
    left_out: list[str],
) -> list[dict[str, Any]]:
    """What the sides of a form were seen to do; what is left out is added to that list."""
    scratch.mkdir()
    opened, sides = [], {}
    try:
        for name, make in form.stores.items():
            try:
                store, built, slow = stored(make, form.rows, n, scratch / name.replace(" ", "_"), flags.limit)
            except (InputError, ImportError) as error:
                left_out.append(f"{form.name} in {name}: not installed ({error})")
                continue
            left_out += [f"{form.name} in {name}: {one}" for one in slow]
            if store is None:
                continue
            opened.append(store)
            for way, seconds in built.items():
                sides[name, way] = (store.clients(way, flags.clients), store.size(way) / n, seconds)
        one_by_one, found = latencies({side: of[0][0] for side, of in sides.items()}, queries, flags.seconds)
        results = []
        for side, (clients, size, seconds) in sides.items():
            batch = flags.batch if len(clients) == 1 else 1
            rate = throughput(clients, queries, batch, flags.seconds, found[side])
            numbers = sorted(found[side])
            ids = np.stack([found[side][number] for number in numbers])
            recall = intervals.interval(neighbours.overlap(ids, truth[numbers]))
            results.append(
                {
                    "form": form.name,
                    "engine": side[0],
                    "way": side[1],
                    "bytes": size,
                    "build_s": seconds,
                    "ms": timing.milliseconds(one_by_one[side]),
                    "timed": len(one_by_one[side]),
                    "queries_a_second": rate,
                    "clients": len(clients),
                    "batch": batch,
                    "recall": recall._asdict(),
                    "judged": len(numbers),
                }
            )
        return results
    finally:
        for store in opened:
            store.close()


def stored(
    make: Callable[..., Any], rows: Callable[[int], Any], n: int, folder: Path, limit: float
) -> tuple[Any, dict[str, float], list[str]]:
    """A store of n rows, the seconds of each of its ways, and those that a trial says would take more than `limit`.

    The store is None where that goes for all of them.
    """
    few = max(1000, n // 32)
    growth = n / few * np.log(n) / np.log(few)  # of a graph; a scan grows less
    promised: dict[str, float] = {}
    if few < n:
        trial, seconds = made(make, rows(few), Path(f"{folder}_trial"), lambda way: True)
        trial.close()
        promised = {way: growth * some for way, some in seconds.items()}
    slow = [f"{way} (some {some:,.0f} s)" for way, some in promised.items() if some > limit]
    if promised and next(iter(promised.values())) > limit:
        return None, {}, slow
    return *made(make, rows(n), folder, lambda way: promised.get(way, 0) <= limit), slow


def made(
    make: Callable[..., Any], rows: Any, folder: Path, wanted: Callable[[str], bool]
) -> tuple[Any, dict[str, float]]:
    """A store with the ways that are wanted, and their seconds: each after the one before, which it needs."""
    start = time.perf_counter()
    store = make(rows, folder)
    built = {store.ways[0]: time.perf_counter() - start}
    for way in store.ways[1:]:
        if wanted(way):
            start = time.perf_counter()
            store.link()
            built[way] = time.perf_counter() - start
    return store, built


def latencies(
    sides: dict[Any, Callable[[np.ndarray], np.ndarray]], queries: np.ndarray, seconds: float
) -> tuple[dict[Any, list[float]], dict[Any, dict[int, np.ndarray]]]:
    """Seconds of one query at a time, sides in turn, each until its time is up; and what each query found."""
    taken: dict[Any, list[float]] = {side: [] for side in sides}
    found: dict[Any, dict[int, np.ndarray]] = {side: {} for side in sides}
    for side in sides.values():
        side(queries[:1])  # warm
    for number in range(len(queries)):
        for name, side in sides.items():
            if len(taken[name]) >= 2 and sum(taken[name]) > seconds:
                continue
            time.sleep(REST)
            start = time.perf_counter()
            ids = side(queries[number : number + 1])
            taken[name].append(time.perf_counter() - start)
            found[name][number] = ids[0]
    return taken, found


def throughput(
    clients: list[Callable[[np.ndarray], np.ndarray]],
    queries: np.ndarray,
    batch: int,
    seconds: float,
    found: dict[int, np.ndarray],
) -> float:
    """Queries a second of clients that each ask their next batch when the last is answered; what is new is kept."""
    for client in clients:
        client(queries[:batch])  # warm
    starts = itertools.cycle(range(0, len(queries), batch))
    done = []
    ends = time.perf_counter() + seconds
    drawing, failed = threading.Lock(), []

    def ask(client: Callable[[np.ndarray], np.ndarray]) -> None:
        try:
            while time.perf_counter() < ends:
                with drawing:
                    start = next(starts)
                ids = client(queries[start : start + batch])
                for number, some in enumerate(ids, start):
                    found.setdefault(number, some)
                done.append(len(ids))
        except BaseException as error:
            failed.append(error)

    begun = time.perf_counter()
    threads = [threading.Thread(target=ask, args=(client,)) for client in clients]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failed:
        raise failed[0]
    return sum(done) / (time.perf_counter() - begun)


def write(out: str, report: dict[str, Any]) -> None:
    """The report as far as it goes, in a folder."""
    if out:
        timing.write(out, "end_to_end", report, table(report))
        draw(report, Path(out) / "end_to_end.png")


def table(report: dict[str, Any]) -> str:
    """Forms and engines down; bytes, times, rates and recall across; what is left out below."""
    s = report["settings"]
    rows = [
        [
            one["form"],
            f"{one['engine']}, {one['way']}",
            f"{one['bytes']:,.0f}",
            timing.shown(one["ms"], 2, "_ms"),
            f"{one['queries_a_second']:,.0f}",
            f"{one['recall']['mean']:.3f} ± {(one['recall']['high'] - one['recall']['low']) / 2:.3f}",
            f"{one['judged']:,}",
            f"{one['build_s']:,.1f}",
        ]
        for one in report["results"]
    ]
    noise = ""
    if s["repeat"] > 1:
        noise = (
            f" **Rows are {s['data']}'s repeated {s['repeat']} times**, each time but the first with noise of its own "
            f"(the difference of two rows, {s['noise']:g} of a row's length): a number of rows, not other data; models "
            "are trained on the rows themselves."
        )
    lines = [
        f"{report['rows']:,} rows of {s['data']} (d={report['d']}), none of them a query.{noise} From the dense query "
        f"to ids, top {TOP}. ms: one query at a time, sides of a form in turn, median (least to greatest) of what "
        f"{s['seconds']:g} s allow. Queries a second: in this process in batches of {s['batch']}, of engines by "
        f"{s['clients']} clients at once. Recall@{TOP} of exact dense neighbours with 95 % intervals over the queries "
        f"that were asked ({s['queries']:,} are held out). Bytes a row: of engines all that their files take (blocks "
        f"on disk, relations), of this process the index in memory. Graphs: {stores.LINKS} links, {stores.EFFORT} "
        f"candidates in the building, {stores.EF} in a search; {stores.TERMS} terms: the best {stores.RESCORED} by so "
        f"many of the query's, then by all. Build: of the engine, after encoding; a graph's after its rows'. Published "
        f"codes of h={s['h']:,}, {s['steps']} steps. Seed {s['seed']}. `{report['command']}`.",
        "",
        "![end to end](end_to_end.png)",
        "",
        *timing.markdown("form | engine | bytes a row | ms | queries a second | recall@100 | queries | build, s", rows),
    ]
    if report["left out"]:
        lines += ["", f"Left out (not installed, or more than {s['limit']:g} s to build):", ""]
        lines += [f"- {one}" for one in report["left out"]]
    return "\n".join(lines) + "\n"


def draw(report: dict[str, Any], path: Path) -> None:
    """Recall against the median latency and against the rate; a colour a form, a marker an engine."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13, 5.6), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    named = list(dict.fromkeys(one["form"] for one in report["results"]))
    sides = list(dict.fromkeys(f"{one['engine']}, {one['way']}" for one in report["results"]))
    for one in report["results"]:
        side = f"{one['engine']}, {one['way']}"
        style = {
            "color": f"C{named.index(one['form'])}",
            "marker": "os^vDPX*<>"[sides.index(side) % 10],
            "linestyle": "",
        }
        for panel, x in zip(panels, (one["ms"]["median_ms"], one["queries_a_second"]), strict=True):
            panel.plot([x], [one["recall"]["mean"]], **style)
    panels[0].set(xscale="log", xlabel="one query, ms (median)", ylabel=f"recall@{TOP}")
    panels[1].set(xscale="log", xlabel="queries a second")
    for number, form in enumerate(named):
        panels[1].plot([], [], "s", color=f"C{number}", label=form)
    for number, side in enumerate(sides):
        panels[1].plot([], [], "os^vDPX*<>"[number % 10], color="grey", label=side)
    for panel in panels:
        panel.grid(alpha=0.3)
    figure.legend(loc="outside right center", fontsize=8, frameon=False)
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    main()
