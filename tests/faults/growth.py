"""Time and memory of what comes before the first step and the first search, as rows grow."""

import functools
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from faults import forked, memory, writers
from faults.counts import Count

from compressae_jax.codes import folder
from compressae_jax.data import identity, opening, sampling
from compressae_jax.model import weights as model_weights
from compressae_jax.retrieval import index

ROWS = (10**7, 2 * 10**7)
FEWER = (10**5, 2 * 10**5)
MIB = 2**20
NOISE = 8 * MIB
STEPS, BATCH = 100, 2048
PIECE, SECONDS = 2**16, 600  # rows written at once; until a child hangs
HELD = 1.0  # bytes of anonymous memory that each further row may hold


def measured(rows: Sequence[int] = ROWS) -> Iterator[Count]:
    """Each thing at each number of rows; it fails where twice the rows hold more than a byte a row more."""
    with tempfile.TemporaryDirectory(prefix="faults-") as scratch:
        for what, prepared in WORK.items():
            counts, held = [], []
            for n in rows:
                count = Count("growth", f"{what}, {n:,} rows", tried=1)
                work = prepared(Path(scratch), n)
                done = forked.run(functools.partial(_measured, work), SECONDS)
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


def _index(scratch: Path, n: int) -> Path:
    """An index folder of n rows with integers for ids; made in a child, so that nothing of it stays in memory here."""
    path = scratch / f"index of {n}"

    def write() -> None:
        made_of, codes = writers.codes(0), scratch / "codes"
        model_weights.save(writers.weights(0), scratch / "model")
        arrays = {name: np.tile(array, (PIECE // len(made_of), 1)) for name, array in made_of.arrays().items()}
        header = made_of.made_by._asdict()
        with folder.Writer(codes, writers.D, writers.H, writers.K, made_of.storage, header) as writer:
            for start in range(0, n, len(arrays["norms"])):
                ids = np.arange(start, min(n, start + len(arrays["norms"])))
                writer.append(made_of.like({name: array[: len(ids)] for name, array in arrays.items()}, ids))
            writer.finish()
        index.open_folder(codes, scratch / "model", verify=False).save(path)
        shutil.rmtree(codes)

    if not path.exists() and not (done := forked.run(write, SECONDS)).whole:
        raise AssertionError(f"{done}\n{done.where}")
    return path


def _opened(scratch: Path, n: int) -> Callable[[], Any]:
    path = _index(scratch, n)
    return lambda: index.open_folder(path, verify=False)


def _verified(scratch: Path, n: int) -> Callable[[], Any]:
    path = _index(scratch, n)
    return lambda: index.open_folder(path)


def _searched(scratch: Path, n: int) -> Callable[[], Any]:
    path = _index(scratch, n)

    def work() -> Any:
        there = index.open_folder(path, verify=False)
        return there, there.search(writers.vectors(1), top=10)

    return work


WORK: dict[str, Callable[[Path, int], Callable[[], Any]]] = {
    "split": _split,
    f"rows of {STEPS} steps of {BATCH:,}": _order,
    "identity of a source": _identity,
    "opening an index": _opened,
    "opening an index, all hashes and ids looked at": _verified,
    f"opening an index, and the first search, of {writers.N} queries": _searched,
}
