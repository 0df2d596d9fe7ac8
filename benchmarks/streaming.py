"""Compressing a file from the disk into a folder, beside what bounds it: reading the file, and encoding from memory.

    python -m benchmarks.streaming --out=results

A share of 1 is as fast as the slower of the two alone. Cold is a file that the system's page cache has let go of, warm
one that it holds; what lies below (a disk's own cache, a host's) is not told apart. Random rows and an untrained model:
times do not depend on them. Before timing, the folder is compared with the codes from memory, bit for bit. Linux only.
"""

import argparse
import ctypes
import mmap
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import jax
import numpy as np

from benchmarks import memory, timing
from benchmarks.timing import shown, spread
from compressae_jax import compression, data
from compressae_jax.codes import folder as codes_folder
from compressae_jax.codes.codes import Codes
from compressae_jax.codes.storage.packed import Packed
from compressae_jax.model import weights as model_weights
from compressae_jax.model.weights import Weights

JOBS = (("topk", "float16"), ("topk", "packed4"), ("pursuit", "packed4"))  # encoder and storage
STATES = ("cold", "warm")
ROWS = {"cpu": 100_000}  # 300 MB at d=768
ROWS_ELSEWHERE = 1_000_000
READ_BYTES = 2**24
TARGET = 0.8
GONE = 0.01  # of a cold file at most this share may still be held


def main() -> None:
    """Write the file, check and time every job, write the table."""
    flags = parse()
    with tempfile.TemporaryDirectory(dir=flags.scratch) as name:
        scratch = Path(name)
        memory.save_model(scratch / "model", flags)
        memory.save_vectors(scratch / "vectors.npy", flags.n, flags.d)
        evict(scratch / "vectors.npy")
        results = []
        for encoder, storage in JOBS:
            results.append(measured(scratch, encoder, storage, flags))
            print(f"{encoder}, {storage}: {shown(results[-1]['cold']['share'])} of the slower, cold", flush=True)
    report = {
        "claim": f"a stream reaches at least {TARGET} of the slower of disk and encoder",
        "checked": "codes and norms of the folder against those from memory, bit for bit, before timing",
        "settings": vars(flags),
        "machine": timing.machine(),
        "results": results,
    }
    if flags.out:
        timing.write(flags.out, "streaming", report, table(report))
    print(table(report))


def parse() -> argparse.Namespace:
    """The flags; by default the file has 300 MB on a CPU and 3 GB elsewhere."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--n", type=int, help="rows of the file")
    parser.add_argument("--d", type=int, default=768)
    parser.add_argument("--h", type=int, default=4096)
    parser.add_argument("--k", type=int, default=32)
    parser.add_argument("--batch", type=int, default=65_536, help="rows read at once")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--scratch", default=None, help="folder on the disk in question; what it holds is removed")
    parser.add_argument("--out", default="", help="folder for streaming.json and streaming.md")
    flags = parser.parse_args()
    flags.n = flags.n or ROWS.get(jax.default_backend(), ROWS_ELSEWHERE)
    return flags


def measured(scratch: Path, encoder: str, storage: str, flags: argparse.Namespace) -> dict[str, Any]:
    """Rates of each side, the file cold and warm, and the share that the stream reaches."""
    path, weights = scratch / "vectors.npy", model_weights.load(scratch / "model")
    rows = data.open_source(path).read(0, flags.n)
    outs = {state: scratch / f"codes-{state}" for state in STATES}

    def stream(state: str) -> None:
        source = data.open_source(path)
        compression.to_folder(
            weights, source, outs[state], None, flags.batch, encoder, storage, overwrite=True, progress=False
        )

    def prepare() -> None:
        for out in outs.values():
            shutil.rmtree(out, ignore_errors=True)
        evict(path)

    prepare()
    stream("warm")
    check(outs["warm"], weights, rows, encoder, storage)
    sides = {
        "prepare to read": prepare,  # a side of its own, so that no other's seconds hold it
        "disk, cold": lambda: read(path),
        "disk, warm": lambda: read(path),
        "encoder": lambda: compression.encode(weights, rows, storage, encoder=encoder),
        "prepare to stream": prepare,
        "stream, cold": lambda: stream("cold"),
        "stream, warm": lambda: stream("warm"),
    }
    seconds = timing.alternate(sides, flags.repeats, warm=True)  # the check was the warm-up
    of_state = {state: compared(seconds, state, flags.n, rows.nbytes) for state in STATES}
    return {"encoder": encoder, "storage": storage, **of_state}


def compared(seconds: dict[str, list[float]], state: str, n: int, size: int) -> dict[str, Any]:
    """Rows and GB a second of the sides, the share repeat by repeat, and which side is the slower in the median."""
    sides = {"disk": f"disk, {state}", "encoder": "encoder", "stream": f"stream, {state}"}
    taken = {side: np.array(seconds[name]) for side, name in sides.items()}
    return {
        "rows_per_s": {side: spread(n / some) for side, some in taken.items()},
        "gb_per_s": {side: spread(size / some / 1e9) for side, some in taken.items()},
        "slower": max(("disk", "encoder"), key=lambda side: float(np.median(taken[side]))),
        "share": spread(np.maximum(taken["disk"], taken["encoder"]) / taken["stream"]),
    }


def check(out: Path, weights: Weights, rows: np.ndarray, encoder: str, storage: str) -> None:
    """Stop unless the folder holds what `compression.encode` gives."""
    stored, stored_norms, _, _ = codes_folder.read(out)
    codes = compression.encode(weights, rows, storage, encoder)
    norms = codes.norms
    pairs = zip(arrays(stored, stored_norms), arrays(codes, norms), strict=True)
    if not all(np.array_equal(there, here) for there, here in pairs):
        raise SystemExit(f"{encoder}, {storage}: the folder's codes are not those from memory, so nothing is timed")


def arrays(codes: Codes | Packed, norms: np.ndarray | None) -> list[np.ndarray]:
    """What a folder keeps of codes; packed ones have no norms."""
    if isinstance(codes, Packed):
        return [codes.records]
    return [np.asarray(some) for some in (codes.values, codes.columns, norms)]


def read(path: Path) -> None:
    """The whole file by plain large reads."""
    buffer = bytearray(READ_BYTES)
    with path.open("rb", buffering=0) as file:
        while file.readinto(buffer):
            pass


def evict(path: Path) -> None:
    """Make the page cache let go of a file.

    Raises:
        SystemExit: it holds the file on, as one in memory (tmpfs).
    """
    with path.open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    if (share := held(path)) > GONE:
        raise SystemExit(f"{share:.0%} of {path} stay in memory: give --scratch a folder on a disk")


def held(path: Path) -> float:
    """The share of a file's pages that the page cache holds."""
    array = np.memmap(path, np.uint8, "r")
    pages = np.zeros(-(-array.size // mmap.PAGESIZE), np.uint8)
    libc = ctypes.CDLL(None, use_errno=True)
    sizes = ctypes.c_void_p(array.ctypes.data), ctypes.c_size_t(array.size)
    if libc.mincore(*sizes, ctypes.c_void_p(pages.ctypes.data)):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), str(path))
    return float((pages & 1).mean())


def table(report: dict[str, Any]) -> str:
    """Jobs and states down."""
    s, m = report["settings"], report["machine"]
    lines = [
        f"A file of {s['n']:,} float32 rows (d={s['d']}, {4 * s['n'] * s['d'] / 1e6:,.0f} MB) into a codes folder "
        f"(h={s['h']:,}, k={s['k']}), {s['batch']:,} rows read at once; {m['processor']}, {m['cores']} "
        f"core{'s' * (m['cores'] != 1)}, {', '.join(m['devices'])}. Disk: plain reads; encoder: `compression.encode` "
        "of the rows in memory; stream: `to_folder`. Share: of the slower of disk and encoder, repeat by repeat "
        f"(aim: {TARGET}). Medians of {s['repeats']} alternating runs (least to greatest). Synthetic rows. "
        "`python -m benchmarks.streaming`.",
        "",
        *timing.markdown(
            "encoder | storage | file | disk, GB/s | encoder, rows/s | stream, rows/s | stream, GB/s | slower | share",
            (
                (one["encoder"], one["storage"], state, *cells(one[state]))
                for one in report["results"]
                for state in STATES
            ),
        ),
    ]
    return "\n".join(lines) + "\n"


def cells(of_state: dict[str, Any]) -> list[str]:
    """What a line says of a job with the file cold, or warm."""
    rows, size = of_state["rows_per_s"], of_state["gb_per_s"]
    rates = [shown(size["disk"]), whole(rows["encoder"]), whole(rows["stream"]), shown(size["stream"], digits=3)]
    return [*rates, of_state["slower"], shown(of_state["share"])]


def whole(some: dict[str, float]) -> str:
    """A median and its spread, without decimals."""
    return "{median:,.0f} ({min:,.0f} to {max:,.0f})".format(**some)


if __name__ == "__main__":
    main()
