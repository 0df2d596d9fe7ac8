"""Codes in other search engines: what they find of our exact search's answers, bytes a row, and milliseconds a query.

    python -m benchmarks.engines --out=results

Published one-pass codes of a shipped dataset, in two spaces. Queries are asked one by one, engines in turn; those that
are not installed (extra [engines]; those of `unsigned`: its docstring) are left out.
"""

import argparse
import functools
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import compressae_jax as cs
from benchmarks import servers, timing, unsigned
from compressae_jax import data
from compressae_jax.notation import InputError
from compressae_jax.retrieval.index import Index
from compressae_jax.serving import clickhouse, comparing, duckdb, kannolo, parquet, sqlite

SPACES = ("dense_query", "sparse")
TOP = 100
WARM, LONG, FEW = 2, 0.5, 20  # first queries; seconds of a slow one; queries that are asked of a slow side
BUDGET = 20  # seconds of a side's timed queries


def main() -> None:
    """Train, upload, compare and time; write the table."""
    flags = parse()
    source = data.load(flags.data).vectors
    drawn = data.split_rows(len(source), flags.queries, 0)
    rows, queries = source.take(drawn.train), source.take(drawn.queries)
    model = cs.fit(rows, h=flags.h, k=flags.k, steps=flags.steps, seed=flags.seed, progress=False)
    index = model.index(rows, ids=np.arange(len(rows)), progress=False)
    results = []
    with tempfile.TemporaryDirectory() as scratch:
        for space in SPACES:
            asked = index.in_space(space)
            ours = {"search": functools.partial(asked.search, top=TOP), "bytes": asked.bytes_per_vector}
            sides = {"ours": ours, **engines(asked, Path(scratch) / space, len(rows))}
            for name, side in sides.items():
                some = few_of(queries, side["search"])
                judged = comparing.compare(asked, side["search"](some), some)
                found = {"bytes": side["bytes"], "recall": judged.recall[TOP], "queries": len(some)}
                results.append({"space": space, "engine": name, **found})
                print(results[-1], flush=True)
            ms = times({name: side["search"] for name, side in sides.items()}, queries)
            for row in results[-len(sides) :]:
                row["ms"] = ms[row["engine"]]
            report = {
                "command": "python -m benchmarks.engines",
                "settings": vars(flags),
                "rows": len(rows),
                "d": rows.shape[1],
                "machine": timing.machine(),
                "results": results,
            }
            if flags.out:  # after each space, so that a run cut off keeps what it has
                timing.write(flags.out, "engines", report, table(report))
    print(table(report))


def few_of(queries: np.ndarray, search: Callable[[np.ndarray], Any]) -> np.ndarray:
    """The queries that a side is judged by: all, or few where one takes long."""
    search(queries[:1])  # loops compile
    start = time.perf_counter()
    for query in queries[:WARM]:
        search(query[None])
    return queries[:FEW] if time.perf_counter() - start > WARM * LONG else queries


def parse() -> argparse.Namespace:
    """The flags; the defaults take ten minutes on two cores."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", default="debian")
    parser.add_argument("--h", type=int, default=4096)
    parser.add_argument("--k", type=int, default=32)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--queries", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", default="", help="folder for engines.json and engines.md")
    return parser.parse_args()


def engines(index: Index, folder: Path, n: int) -> dict[str, dict[str, Any]]:
    """Each engine with the index's rows: its search, and the bytes a row that its files take."""
    folder.mkdir()
    parquet.upload(index, folder / "files", progress=False)
    sqlite.upload(index, folder / "one.sqlite", progress=False)
    of_files = on_disk(folder / "files") / n
    lite = sqlite.Engine(folder / "one.sqlite", index.expander)
    of_sqlite = on_disk(folder / "one.sqlite") / n
    found: dict[str, dict[str, Any]] = {}
    scans: dict[str, Any] = {"DuckDB": duckdb.Engine, "ClickHouse in process": clickhouse.Engine}
    for name, engine in scans.items():
        try:
            opened = engine(folder / "files", index.expander)
        except InputError as error:  # not installed
            print(error)
            continue
        found[name] = {"search": functools.partial(opened.search, top=TOP), "bytes": of_files}
    found["SQLite, 256 terms"] = {"search": functools.partial(lite.search, top=TOP), "bytes": of_sqlite}
    found["SQLite, 64 terms"] = {"search": functools.partial(lite.search, top=TOP, terms=64), "bytes": of_sqlite}
    for name, form in {"kANNolo, flat": "flat", "kANNolo, graph": "hnsw"}.items():
        try:
            kannolo.upload(index, folder / form, progress=False, form=form)
        except InputError as error:  # not installed
            print(error)
            break
        opened = kannolo.Engine(folder / form, index.expander)
        found[name] = {"search": functools.partial(opened.search, top=TOP), "bytes": on_disk(folder / form) / n}
    for others in (functools.partial(servers.in_qdrant, on_disk=on_disk), servers.in_postgres):
        try:
            theirs = others(index, folder, TOP)
        except (InputError, ImportError) as error:  # not installed
            print(error)
            continue
        found |= {name: {"search": search, "bytes": size / n} for name, (search, size) in theirs.items()}
    for sides in (unsigned.seismic, unsigned.milvus, unsigned.lucene):
        try:
            more = sides(index, folder, TOP)
        except ImportError as error:
            print(error)
            continue
        found |= {name: {"search": search, "bytes": on_disk(place) / n} for name, (search, place) in more.items()}
    return found


def on_disk(path: Path) -> int:
    """Bytes of the blocks that a file takes, or all of a folder."""
    blocks = [each.stat().st_blocks for each in ([path] if path.is_file() else path.rglob("*"))]
    return 512 * sum(blocks)


def times(searches: dict[str, Callable[[np.ndarray], Any]], queries: np.ndarray) -> dict[str, dict[str, float]]:
    """Milliseconds of one query at a time, by turns: a query goes to every side before the next one is asked."""
    seconds: dict[str, list[float]] = {name: [] for name in searches}
    for query in queries[: len(queries) // 2]:
        sides = {
            name: functools.partial(search, query[None])
            for name, search in searches.items()
            if sum(seconds[name]) < BUDGET
        }
        for name, some in timing.alternate(sides, 1, warm=True).items():
            seconds[name] += some
    return {name: timing.milliseconds(some) for name, some in seconds.items()}


def table(report: dict[str, Any]) -> str:
    """Engines down in each space; recall beside our exact search, bytes and times across."""
    s = report["settings"]
    rows = [
        [one["space"], one["engine"], f"{one['bytes']:.0f}", f"{one['recall']:.3f}", timing.shown(one["ms"], 1, "_ms")]
        for one in report["results"]
        if "ms" in one
    ]
    lines = [
        f"{report['rows']:,} rows of {s['data']} (d={report['d']}), published one-pass codes of h={s['h']:,} and "
        f"k={s['k']} ({s['steps']} steps), integers as ids, top {TOP}. Recall: share of our exact search's answers, "
        f"{s['queries']} queries, {FEW} where one takes more than {LONG} s; times of {s['queries'] // 2} of them (as "
        f"many as take {BUDGET} s), one by one, engines in turn, median (least to greatest). Bytes: blocks on disk by "
        "rows. Milvus "
        "Lite is an engine in Python, and Lucene is behind a stand-in of a server, so their times are none of servers. "
        f"Seed {s['seed']}. `{report['command']}`.",
        "",
        *timing.markdown("space | engine | bytes a row | recall | ms a query", rows),
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
