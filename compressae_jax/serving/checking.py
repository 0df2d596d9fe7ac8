"""An engine beside our own search: the answers that it finds, and how long it takes, query by query."""

from __future__ import annotations

import platform
import time
from typing import Any

import numpy as np

from compressae_jax.base import threads
from compressae_jax.base.progress import bar as progress_bar
from compressae_jax.notation import InputError, check_range
from compressae_jax.retrieval.index import Index
from compressae_jax.serving import comparing

TOP = 100
TIMED = 100  # queries
BATCH = 256  # queries at once, where nothing is timed


def check(
    index: Index,
    engine: Any,
    queries: Any,
    top: int = TOP,
    timed: int = TIMED,
    progress: bool = True,
    terms: int | None = None,
    rescored: int | None = None,
) -> dict[str, Any]:
    """What an engine finds of our exact search's answers, and milliseconds a query of both, as JSON holds it.

    `terms` and `rescored` go to its `search`. The first `timed` queries are asked one by one, after one that warms
    both, engine and ours in turn; times are those of the whole search, the making of u included.

    Raises:
        InputError: no query, `top` that the engine has not, and what its search refuses.
    """
    check_range("timed", timed, 0, 2**31 - 1)
    queries, asked = np.asarray(queries, np.float32), {"terms": terms, "rescored": rescored}
    if not len(queries):
        raise InputError("queries: there is none")
    with progress_bar(len(queries) + min(timed, len(queries)), "check", unit="queries", shown=progress) as bar:
        ids = []
        for start in range(0, len(queries), BATCH):
            ids.append(engine.search(queries[start : start + BATCH], top=top, **asked).ids)
            bar.update(len(ids[-1]))
        judged = comparing.compare(index, np.concatenate(ids), queries)
        seconds: dict[str, list[float]] = {"engine": [], "ours": []}
        sides = {"engine": lambda one: engine.search(one, top=top, **asked), "ours": lambda one: index.search(one, top)}
        for number in [0, *range(min(timed, len(queries)))] if timed else []:
            for name, search in sides.items():
                began = time.perf_counter()
                search(queries[number : number + 1])
                seconds[name].append(time.perf_counter() - began)
            bar.update(len(seconds["ours"]) > 1)
    return {
        "rows": len(index),
        "space": index.space,
        "queries": len(queries),
        "top": top,
        **asked,
        "recall": _shares(judged.recall),
        "with_ties": _shares(judged.with_ties),
        "short": judged.short,
        "unknown": judged.unknown,
        "ms": {name: _milliseconds(some[1:]) for name, some in seconds.items()} if timed else {},
        "machine": f"{platform.machine()}, {threads.cores()} cores",
    }


def table(name: str, report: dict[str, Any]) -> str:
    """The report as lines of text."""
    lines = [
        f"{report['queries']:,} queries, the {report['top']} nearest of {report['rows']:,} rows ({report['space']})",
        "",
        f"{'':24s}{name:>12s}{'ours':>12s}",
    ]
    for depth in report["recall"]:
        for what, shares in {f"recall@{depth}": report["recall"], "  with ties": report["with_ties"]}.items():
            value = "-" if shares[depth] is None else f"{shares[depth]:.4f}"
            lines.append(f"{what:24s}{value:>12s}{'1':>12s}")
    lines.append(f"{'queries with fewer rows':24s}{report['short']:12,}{0:12,}")
    lines.append(f"{'unknown answers':24s}{report['unknown']:12,}{0:12,}")
    for which in ("median", "p95") if report["ms"] else ():
        lines.append(f"{f'ms a query, {which}':24s}" + "".join(f"{report['ms'][s][which]:12.2f}" for s in report["ms"]))
    if report["unknown"]:
        lines += ["", "The engine has rows that the index has not: export the index again."]
    return "\n".join(lines)


def _shares(of: dict[int, float]) -> dict[str, float | None]:
    """By depth, as JSON has it; None where no query finds anything."""
    return {str(depth): None if np.isnan(value) else value for depth, value in of.items()}


def _milliseconds(seconds: list[float]) -> dict[str, float]:
    ms = 1000 * np.asarray(seconds)
    return {"median": float(np.median(ms)), "p95": float(np.quantile(ms, 0.95)), "min": float(ms.min())}
