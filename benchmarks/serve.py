"""The service under load: queries a second, milliseconds, memory, and whether its answers stay those of the index.

    python -m benchmarks.serve --out=results

A process serves, this one asks: 1 to 64 connections, each sends its next query when the last one is answered. Both
share the machine's cores, so figures are of service and client together.
"""

import argparse
import asyncio
import contextlib
import itertools
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import psutil

import compressae_jax as cs
from benchmarks import timing
from compressae_jax import data
from compressae_jax.notation import InputError
from compressae_jax.retrieval.index import Index
from compressae_jax.service import running
from compressae_jax.service.app import Service
from compressae_jax.service.asked import Search
from compressae_jax.service.catalogue import Answer, Catalogue
from compressae_jax.serving import qdrant

CONNECTIONS = (1, 4, 16, 64)
TOP = 10
OURS, EDGE = "ours", "Qdrant Edge"


def main() -> None:
    """Train, serve, ask; write the table."""
    flags = parse()
    if flags.serve:
        serve(Path(flags.folder))
        return
    source = data.load(flags.data).vectors
    drawn = data.split_rows(len(source), flags.queries, 0)
    rows, queries = source.take(drawn.train), source.take(drawn.queries)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        model = cs.fit(rows, budget_bytes=flags.bytes, seed=flags.seed, progress=False)
        index = model.index(rows, ids=np.arange(len(rows)), progress=False)
        index.save(folder / "index")
        places = prepared(index, folder, flags.engine)
        results = []
        for connections in CONNECTIONS:
            for side in places:
                results.append(under_load(side, folder, index, queries, connections, flags.seconds))
                print(results[-1], flush=True)
        soaked = None
        if flags.soak:
            soaked = under_load(OURS, folder, index, queries, max(CONNECTIONS), flags.soak)
            print(soaked, flush=True)
        report = {
            "command": "python -m benchmarks.serve",
            "settings": vars(flags),
            "rows": len(rows),
            "d": rows.shape[1],
            "bytes": index.bytes_per_vector,
            "codes": index.name,
            "machine": timing.machine(),
            "results": results,
            "soaked": soaked,
        }
    if flags.out:
        timing.write(flags.out, "serve", report, table(report))
    print(table(report))


def parse() -> argparse.Namespace:
    """The flags; the defaults take some 17 minutes on two cores."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", default="debian")
    parser.add_argument("--bytes", type=int, default=64)
    parser.add_argument("--queries", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=20, help="of each number of connections")
    parser.add_argument("--soak", type=float, default=600, help="seconds of the longest run, for memory")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--noengine", dest="engine", action="store_false", help="without Qdrant Edge")
    parser.add_argument("--out", default="", help="folder for serve.json and serve.md")
    for name in ("serve", "folder"):
        parser.add_argument(f"--{name}", help=argparse.SUPPRESS)  # of the process that serves
    return parser.parse_args()


def under_load(
    side: str, folder: Path, index: Index, queries: np.ndarray, connections: int, seconds: float
) -> dict[str, Any]:
    """Serve in a process, ask for some seconds, stop it; what was seen."""
    bodies = [json.dumps({"vectors": [query.tolist()], "top": TOP}).encode() for query in queries]
    with serving(side, folder) as (port, process):
        first = asyncio.run(asked(port, bodies, 1, count=len(bodies)))  # warm, and looked at
        found = index.search(queries, TOP)
        theirs = [set(json.loads(answer)["ids"][0]) for answer in first.answers]
        equal = np.mean([len(its & set(ours.tolist())) / TOP for its, ours in zip(theirs, found.ids, strict=True)])
        memory = [resident(process.pid)]
        seen = asyncio.run(
            asked(port, bodies, connections, seconds=seconds, watch=lambda: memory.append(resident(process.pid)))
        )
    ms = 1e3 * np.array(seen.seconds)
    return {
        "side": side,
        "connections": connections,
        "answers": len(ms),
        "queries_a_second": len(ms) / seen.took,
        **{f"p{q}_ms": float(np.percentile(ms, q)) for q in (50, 99)},
        "equal": float(equal),
        "MiB": [memory[0], max(memory), memory[-1]],
    }


@contextlib.contextmanager
def serving(side: str, folder: Path) -> Iterator[tuple[int, subprocess.Popen]]:
    """A process that serves, as users start it, or with the engine in our search's place."""
    command = [sys.executable, "-m", "benchmarks.serve", "--serve", side, "--folder", str(folder)]
    if side == OURS:
        command = [sys.executable, "launch/serve.py", f"--index={folder / 'index'}", "--port=0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        yield int(line.rstrip().rstrip("/").rpartition(":")[2]), process
    finally:
        process.terminate()
        process.wait(60)


class Seen(NamedTuple):
    """What connections saw: the seconds of each answer, the answers where they were counted, and how long it took."""

    seconds: list[float]
    answers: list[bytes]
    took: float


async def asked(
    port: int,
    bodies: list[bytes],
    connections: int,
    seconds: float = 0,
    count: int = 0,
    watch: Callable[[], None] = lambda: None,
) -> Seen:
    """Ask over so many connections, each its next when the last is answered: for `seconds`, or `count` in all."""
    head = "POST /search HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n"
    requests = [head.format(len(body)).encode() + body for body in bodies]
    numbers = itertools.cycle(range(len(requests))) if seconds else iter(range(count))
    taken: list[float] = []
    answers = [b""] * count
    start = time.perf_counter()

    async def connection() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for number in numbers:
            if seconds and time.perf_counter() - start > seconds:
                break
            begun = time.perf_counter()
            writer.write(requests[number])
            status, *headers = (await reader.readuntil(b"\r\n\r\n")).lower().split(b"\r\n")
            length = next(int(one.partition(b":")[2]) for one in headers if one.startswith(b"content-length:"))
            answer = await reader.readexactly(length)
            assert b" 200 " in status, answer
            taken.append(time.perf_counter() - begun)
            if count:
                answers[number] = answer
        writer.close()

    async def watched() -> None:
        while True:
            await asyncio.sleep(max(1.0, seconds / 50))
            watch()

    watching = asyncio.create_task(watched())
    await asyncio.gather(*(connection() for _ in range(connections)))
    watching.cancel()
    return Seen(taken, answers, time.perf_counter() - start)


def resident(pid: int) -> float:
    """MiB of a process in memory."""
    return psutil.Process(pid).memory_info().rss / 2**20


def prepared(index: Index, folder: Path, engine: bool) -> tuple[str, ...]:
    """The sides, whose rows lie in the folder."""
    if engine:
        try:
            qdrant.upload(index, folder / "qdrant", progress=False)
        except InputError as error:  # not installed
            print(error)
        else:
            return OURS, EDGE
    return (OURS,)


def serve(folder: Path) -> None:
    """The service, with the engine in the place of our search."""
    catalogue = OfEngine(folder / "index")
    catalogue.engine = qdrant.Engine(folder / "qdrant", catalogue.index.expander)
    listening = running.bound("127.0.0.1", 0)
    print(listening.getsockname()[1], flush=True)
    running.run(Service(catalogue), listening)


class OfEngine(Catalogue):
    """A catalogue whose vectors an engine searches, all that wait at once."""

    engine: Any = None

    def search(self, asked: Sequence[Search]) -> list[Any]:
        """As `Catalogue.search`, of vectors without filters."""
        if self.engine is None:  # as it opens
            return []
        found = self.engine.search(np.concatenate([one.vectors for one in asked]), asked[0].top)
        return [Answer([ids.tolist()], [scores.tolist()]) for ids, scores in zip(found.ids, found.scores, strict=True)]


def table(report: dict[str, Any]) -> str:
    """Sides and connections down; rates, times and answers across."""
    s = report["settings"]
    rows = [
        [
            str(one["connections"]),
            one["side"],
            f"{one['queries_a_second']:,.0f}",
            f"{one['p50_ms']:.2f}",
            f"{one['p99_ms']:.2f}",
            f"{one['equal']:.4f}",
            " / ".join(f"{some:,.0f}" for some in one["MiB"]),
        ]
        for one in [*report["results"], *([report["soaked"]] if report["soaked"] else [])]
    ]
    soaked = f"; the last line {s['soak']:,.0f} s" if report["soaked"] else ""
    lines = [
        f"{report['rows']:,} rows of {s['data']} (d={report['d']}) in {report['bytes']:g} bytes each "
        f"({report['codes']}), top {TOP}; the service and what asks it are two processes on the same cores. Each "
        f"number of connections {s['seconds']:g} s{soaked}. Answers: share of `Index.search`'s among {s['queries']:,} "
        f"held-out queries. MiB of the serving process at the start, at most, at the end. Seed {s['seed']}. "
        f"`{report['command']}`.",
        "",
        *timing.markdown("connections | search by | queries a second | p50 ms | p99 ms | answers | MiB", rows),
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
