"""An index that grew by small additions beside one that was made of all its rows at once: search, and the additions.

    python -m benchmarks.living --out=results

Rows are random codes, for times only: what a search or an addition costs does not depend on their numbers. Results of
both are seen to be the same before they are timed. The folder is saved after every tenth addition and then opened.
"""

import argparse
import functools
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import timing
from benchmarks.synthetic import Data
from compressae_jax.retrieval.index import Index

D, H, K, TOP = 384, 4096, 32, 100
SAVED = 10  # additions between two saves
QUERIES = (1, 16, 64)


def main() -> None:
    """Grow, compare, write the table."""
    flags = parse()
    data = Data.drawn(n=flags.n + flags.added, q=max(QUERIES), d=D, h=H, k=K, values="float16", top=TOP)
    names = np.random.default_rng(0).permutation(len(data.codes)).astype(np.int64)
    whole = Index(data.codes, data.weights, ids=names)
    grown = Index(data.codes[: flags.n], data.weights, ids=names[: flags.n])
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "index"
        grown.save(folder)
        added, saved = grow(grown, data, names, flags, folder)
        opened = Index.load(folder)
        sides = {"one segment": whole, "grown in memory": grown, "grown, opened from its folder": opened}
        results = [searched(sides, data.vectors[:q], flags.repeats) for q in QUERIES]
    report = {
        "command": "python -m benchmarks.living",
        "settings": vars(flags),
        "segments in memory": len(grown._segments.parts),
        "segments in the folder": len(opened._segments.parts),
        "addition_ms": timing.spread(1e3 * np.array(added)),
        "save_ms": timing.spread(1e3 * np.array(saved)),
        "results": results,
        **timing.machine(),
    }
    text = table(report)
    timing.write(flags.out, "living", report, text)
    print(text)


def parse() -> argparse.Namespace:
    """The flags."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--n", type=int, default=1_000_000, help="rows at first")
    parser.add_argument("--added", type=int, default=100_000, help="rows that are added")
    parser.add_argument("--portion", type=int, default=100, help="rows of an addition")
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--out", default="results")
    return parser.parse_args()


def grow(
    index: Index, data: Data, names: np.ndarray, flags: argparse.Namespace, folder: Path
) -> tuple[list[float], list[float]]:
    """Add the rest of the rows in portions; seconds of each addition and of each save."""
    added, saved = [], []
    for number, start in enumerate(range(flags.n, len(data.codes), flags.portion), 1):
        here = slice(start, start + flags.portion)
        begun = time.perf_counter()
        index.add(data.codes[here], names[here])
        added.append(time.perf_counter() - begun)
        if number % SAVED == 0 or here.stop >= len(data.codes):
            begun = time.perf_counter()
            index.save(folder)
            saved.append(time.perf_counter() - begun)
    return added, saved


def searched(sides: dict[str, Index], queries: np.ndarray, repeats: int) -> dict[str, Any]:
    """Milliseconds of each side, and how many times those of one segment.

    Raises:
        AssertionError: results that differ.
    """
    wanted = sides["one segment"].search(queries, TOP)
    for name, index in sides.items():
        found = index.search(queries, TOP)
        assert all(np.array_equal(mine, other) for mine, other in zip(found, wanted, strict=True)), name
        assert np.array_equal(found.ids, wanted.ids), name
    calls = {name: functools.partial(index.search, queries, TOP) for name, index in sides.items()}
    seconds = timing.alternate(calls, repeats)
    base = np.array(seconds["one segment"])
    return {
        "queries": len(queries),
        "ms": {name: timing.spread(1e3 * np.array(some)) for name, some in seconds.items()},
        "ratio": {name: timing.spread(np.array(some) / base) for name, some in seconds.items()},
    }


def table(report: dict[str, Any]) -> str:
    """Sides down, numbers of queries across."""
    s, results = report["settings"], report["results"]
    lines = [
        f"{s['added']:,} rows added to {s['n']:,} in portions of {s['portion']}, saved after every {SAVED}th (d={D}, "
        f"h={H:,}, k={K}, float16, integer ids): {report['segments in memory']} segments in memory at the end, "
        f"{report['segments in the folder']} in the folder. Top {TOP}, dense queries; ms and, in brackets, the time "
        f"over that of one segment, medians (least to greatest) of {s['repeats']} alternating runs. Synthetic rows, "
        "for times only.",
        "",
    ]
    rows = []
    for name in results[0]["ms"]:
        cells = [f"{timing.shown(one['ms'][name])} [{timing.shown(one['ratio'][name])}]" for one in results]
        rows.append([name, *cells])
    lines += timing.markdown(" | ".join(["index", *(f"q={one['queries']}" for one in results)]), rows)
    lines += [
        "",
        f"An addition of {s['portion']} rows that are codes already: {timing.shown(report['addition_ms'])} ms; a save "
        f"of {SAVED} of them: {timing.shown(report['save_ms'], 1)} ms.",
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
