"""Time and memory of what comes before the first step and the first search, as rows grow."""

import functools
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from faults import forked, memory
from faults.counts import Count

from compressae_jax.data import identity, opening, sampling

ROWS = (10**7, 2 * 10**7)
FEWER = (10**5, 2 * 10**5)
MIB = 2**20
NOISE = 8 * MIB
STEPS, BATCH = 100, 2048
HELD = 1.0  # bytes of anonymous memory that each further row may hold


def measured(rows: Sequence[int] = ROWS) -> Iterator[Count]:
    """Each thing at each number of rows; it fails where twice the rows hold more than a byte a row more."""
    with tempfile.TemporaryDirectory(prefix="faults-") as scratch:
        for what, prepared in WORK.items():
            counts, held = [], []
            for n in rows:
                count = Count("growth", f"{what}, {n:,} rows", tried=1)
                work = prepared(Path(scratch), n)
                done = forked.run(functools.partial(_measured, work), seconds=600)
                if not done.whole:
                    count.failures.append(f"{what}: {done}\n{done.where}")
                else:
                    count.more = done.value
                    held.append(done.value["MiB held"] * MIB)
                counts.append(count)
            if len(held) == len(rows) and held[-1] - held[0] > HELD * (rows[-1] - rows[0]) + NOISE:
                grown = (held[-1] - held[0]) / (rows[-1] - rows[0])
                counts[-1].failures.append(f"{what}: {grown:.1f} bytes of anonymous memory are held for a row")
            yield from counts


def _measured(work: Callable[[], Any]) -> dict[str, float]:
    before, anonymous = memory.reset_peak(), memory.now("RssAnon")
    began = time.monotonic()
    kept = work()
    seconds = time.monotonic() - began
    figures = {"seconds": round(seconds, 3), "MiB peak": (memory.now("VmHWM") - before) / MIB}
    figures["MiB held"] = (memory.now("RssAnon") - anonymous) / MIB
    del kept
    return {name: round(value, 3) for name, value in figures.items()}


def _split(scratch: Path, n: int) -> Callable[[], Any]:
    return lambda: sampling.Split(n, 1000, 1000)


def _order(scratch: Path, n: int) -> Callable[[], Any]:
    rest = sampling.Split(n, 1000, 1000).train
    return lambda: [rest[sampling.rows_of_step(0, step, BATCH, len(rest))] for step in range(STEPS)][-1]


def _identity(scratch: Path, n: int) -> Callable[[], Any]:
    path = scratch / "vectors.npy"
    header = {"descr": "<f2", "fortran_order": False, "shape": (n, 16)}
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        file.truncate(file.tell() + 32 * n)  # holes: read as zeros
    source = opening.open_source(path)
    return lambda: identity.of(source)


WORK: dict[str, Callable[[Path, int], Callable[[], Any]]] = {
    "split": _split,
    f"rows of {STEPS} steps of {BATCH:,}": _order,
    "identity of a source": _identity,
}
