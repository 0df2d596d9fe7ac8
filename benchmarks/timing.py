"""What the benchmarks share: alternating repeats, the machine in words and its limits, results as JSON and Markdown."""

import datetime
import functools
import json
import math
import os
import platform
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


def alternate(
    sides: Mapping[str, Callable[[], Any]],
    repeats: int,
    budget: float = math.inf,
    warm: bool = False,
    rest: float = 0,
) -> dict[str, list[float]]:
    """Seconds of each side's calls: once to warm up, then in turn, so that a busy machine disturbs all alike.

    A side whose calls took `budget` seconds sits out, after two calls at least. `warm` sides are timed at once.
    `rest`: seconds before a call; a peer's OpenMP threads spin for a while on the cores that the next side needs.
    """
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for repeat in range(int(warm), repeats + 1):
        for name, call in sides.items():
            if len(seconds[name]) >= 2 and sum(seconds[name]) > budget:
                continue
            time.sleep(rest)
            start = time.perf_counter()
            jax.block_until_ready(call())
            if repeat:
                seconds[name].append(time.perf_counter() - start)
    return seconds


def spread(numbers: Sequence[float] | np.ndarray) -> dict[str, float]:
    """Median, least and greatest."""
    return {"median": float(np.median(numbers)), "min": float(min(numbers)), "max": float(max(numbers))}


def milliseconds(seconds: Sequence[float]) -> dict[str, float]:
    """The spread of a side's seconds, in milliseconds."""
    return {f"{name}_ms": 1e3 * number for name, number in spread(seconds).items()}


def shown(some: Mapping[str, float], digits: int = 2, unit: str = "") -> str:
    """A spread in words; the names of its numbers end in `unit`."""
    median, least, greatest = (f"{some[name + unit]:.{digits}f}" for name in ("median", "min", "max"))
    return f"{median} ({least} to {greatest})"


def bandwidth(size: int = 2**30, repeats: int = 7) -> float:
    """Bytes a second at which all cores, or the accelerator, read an array of `size` bytes; the best of several."""
    if jax.default_backend() == "cpu":
        read = _host_read(np.ones(size // 8, np.int64))
    else:
        total, array = jax.jit(jnp.sum), jnp.ones(size // 4, jnp.float32)
        read = functools.partial(total, array)
    return size / min(alternate({"read": read}, repeats)["read"])


def product_rate(dtype: str = "float32", width: int = 0, repeats: int = 5) -> float:
    """Operations a second of a large square matrix product in JAX; the best of several."""
    width = width or (3072 if jax.default_backend() == "cpu" else 8192)
    x = jax.random.normal(jax.random.key(0), (width, width), jnp.dtype(dtype))
    return 2 * width**3 / min(alternate({"product": functools.partial(jax.jit(jnp.dot), x, x)}, repeats)["product"])


def machine() -> dict[str, Any]:
    """Processor, cores, devices, versions and the date."""
    return {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "processor": _processor(),
        "cores": _cores(),
        "devices": sorted({device.device_kind for device in jax.local_devices()}),
        "system": platform.platform(),
        "python": sys.version.split()[0],
        "jax": jax.__version__,
        "numpy": np.__version__,
    }


def markdown(head: str, rows: Iterable[Iterable[Any]]) -> list[str]:
    """The lines of a table, its columns named in `head` with ` | ` between them."""
    ruler = "|---" * len(head.split(" | ")) + "|"
    return [f"| {head} |", ruler, *(f"| {' | '.join(map(str, row))} |" for row in rows)]


def where(machine: dict[str, Any]) -> str:
    """The machine and the date in a line."""
    line = "{processor}, {cores} cores, {devices}; jax {jax}, NumPy {numpy}, Python {python}; {date}."
    return line.format_map({**machine, "devices": ", ".join(machine["devices"])})


def write(folder: str, name: str, report: dict[str, Any], table: str) -> None:
    """`name`.json and `name`.md in a folder, the latter with a last line on where and when."""
    out = Path(folder)
    out.mkdir(parents=True, exist_ok=True)
    (out / f"{name}.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    (out / f"{name}.md").write_text(f"{table}\n{where(report.get('machine', report))}\n", encoding="utf-8")


def _host_read(array: np.ndarray) -> Callable[[], int]:
    """A call in which every core sums its share of an array; NumPy's own sum has one thread."""
    import numba

    @numba.njit(nogil=True)
    def total(part):
        some = 0
        for one in part:
            some += one
        return some

    parts = np.array_split(array, _cores())
    pool = ThreadPoolExecutor(len(parts))
    return lambda: sum(pool.map(total, parts))


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())
