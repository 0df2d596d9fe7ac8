"""What a source is, in a few fields of JSON, so that a job that goes on can tell that it is still the same one.

The sample is a hash of all bytes where these are few. Of more bytes it takes blocks that are spread over the whole, one
at a random place (always the same) of each of as many equal stretches, and the sizes of all files: a change that lies
together is seen from two thousandths of the bytes on, one that is scattered over one row in 300 with 95 of 100 chances.
Names and times are noted but do not count: a file that was moved or touched is the same.
"""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, NamedTuple

import numpy as np
import xxhash

from compressae_jax.base.arrays import pieces
from compressae_jax.data import sampling

WHOLE = 2**28  # bytes: sources up to this size are hashed whole, within a tenth of a second when they are in memory
BLOCKS, BLOCK = 1024, 4096  # of larger ones
PIECE = 2**22  # bytes read at once
EXACT = ("rows", "width", "dtype", "sample")  # what must be the same

Identity = dict[str, Any]


class Stretch(NamedTuple):
    """Bytes of a source that lie together, a file or an array; `reading()` is a context of what reads [start, stop).

    With a `token`, which somebody else vouches for, they need not be read.
    """

    size: int
    reading: Callable[[], AbstractContextManager[Callable[[int, int], Any]]]
    token: str = ""


def of(source: Any) -> Identity:
    """Of a `Source`: name, kind, rows, width, dtype, bytes, time of the last change in ns, and the sample's hash.

    Raises:
        OSError: a file cannot be read.
        InputError: a file is not the one that was opened.
    """
    return {**source.summary(), "modified": source.modified, "sample": _sample(source)}


def difference(before: Identity, now: Identity) -> str | None:
    """In words how the source that was noted before differs from the one that is there now; None where it does not.

    Fields that one of them lacks, as a note of version 0.1 does, do not count.
    """
    for name in EXACT[:-1]:
        if name in before and name in now and before[name] != now[name]:
            return f"{name} {before[name]}, now {now[name]}"
    if "sample" in before and "sample" in now and before["sample"] != now["sample"]:
        return f"other contents of the same shape{_changed(before, now)}"
    return None


def surely_same(before: Identity, now: Identity) -> bool:
    """Whether what was seen in the one need not be looked for in the other: all bytes hashed, or no file touched."""
    whole = max(before.get("bytes", 0), now["bytes"]) <= WHOLE
    touched = not now["modified"] or before.get("modified") != now["modified"]
    return "sample" in before and difference(before, now) is None and (whole or not touched)


def _changed(before: Identity, now: Identity) -> str:
    if now.get("modified", 0) > before.get("modified", 0) > 0:
        return f" (changed {time.strftime('%F %T', time.localtime(now['modified'] / 1e9))})"
    return ""


def _sample(source: Any) -> str:
    stretches = list(source.stretches())
    sizes = np.array([stretch.size for stretch in stretches], np.int64)
    digest = xxhash.xxh3_128(sizes.astype("<i8").tobytes())
    vouched = [stretch.token for stretch in stretches if stretch.token]
    digest.update("\0".join([*source.selection(), *vouched]).encode("utf-8", "surrogatepass"))
    stretches = [stretch for stretch in stretches if not stretch.token]
    sizes = np.array([stretch.size for stretch in stretches], np.int64)
    total = int(sizes.sum())
    if total <= WHOLE:
        for stretch in stretches:
            with stretch.reading() as read:
                for piece in pieces(range(stretch.size), PIECE):
                    digest.update(read(piece[0], piece[-1] + 1))
        return digest.hexdigest()
    ends = np.cumsum(sizes)
    starts = _block_starts(total)
    places = np.searchsorted(ends, starts, side="right")
    for number in np.unique(places):
        stretch, first = stretches[number], int(ends[number] - sizes[number])
        with stretch.reading() as read:
            for start in starts[places == number] - first:
                digest.update(read(int(start), min(int(start) + BLOCK, stretch.size)))
    return digest.hexdigest()


def _block_starts(total: int) -> np.ndarray:
    """Where blocks start: one in each of `BLOCKS` equal parts of the bytes, at a place that `total` alone decides."""
    bounds = np.linspace(0, total - BLOCK, BLOCKS + 1).astype(np.int64)
    chance = sampling.key(total, sampling.IDENTITY, np.arange(BLOCKS)) >> np.uint64(11)
    return bounds[:-1] + (np.diff(bounds) * (chance / 2.0**53)).astype(np.int64)
