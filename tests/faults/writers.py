"""Everything in the package that writes under a name, each with two things to write and a reader that tells them apart.

None of it may start JAX: children are forked from the process that has made these things.
"""

import functools
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from faults.forked import Outcome

from compressae_jax.base import files
from compressae_jax.codes import folder
from compressae_jax.codes.codes import Codes
from compressae_jax.codes.ids import TextIds
from compressae_jax.codes.rows import MadeBy
from compressae_jax.codes.storage.packed import Packed, Packing, pack
from compressae_jax.model.weights import Weights
from compressae_jax.notation import BusyError, InputError

D, H, K, N = 8, 32, 4, 30


def an_error_of_the_system(done: Outcome) -> str | None:
    """What is wrong with an error that the system gave, None where it went up as it was."""
    return f"not an OSError: {done}\n{done.where}" if done.error and "OSError" not in done.error else None


class Writer(NamedTuple):
    """`put(path, 0 or 1)` writes the first or the second thing; `read(path)` is what tells which one stands there."""

    name: str
    put: Callable[[Path, int], Any]
    read: Callable[[Path], Any]
    suffix: str = ""
    replaces: bool = True  # whether the second may take the place of the first
    every: int = 1  # of the calls, that one is looked at: 1 for all
    beside: Callable[[Path], Any] | None = None  # puts what the work needs into the same folder
    judge: Callable[[Outcome], str | None] = an_error_of_the_system  # of how the work ended, after an error
    ignore: re.Pattern | None = None  # names that may be others each time
    read_whole: bool = True  # whether `read` is a reader of ours, which gives the old or the new, never both


@functools.cache
def vectors(which: int) -> np.ndarray:
    """(N, D) float32, made anew for each number."""
    return np.random.default_rng(100 + which).standard_normal((N, D)).astype(np.float32)


@functools.cache
def weights(which: int) -> Weights:
    """A model that nobody trained."""
    rng = np.random.default_rng(which)
    decoder = rng.standard_normal((H, D)).astype(np.float32)
    decoder /= np.linalg.norm(decoder, axis=1, keepdims=True)
    params = {"encoder_w": np.ascontiguousarray(decoder.T), "encoder_b": np.zeros(H, np.float32), "decoder_w": decoder}
    return Weights(params, H, K, summary={"number": which})


def table() -> list[Writer]:
    """All writers."""
    return [
        Writer("a file", _put_file, Path.read_bytes, ".bin"),
        Writer("a folder", _put_folder, _read_folder, read_whole=False),
        Writer("codes piece by piece", _put_pieces, read_codes),
        Writer("packed codes", put_packed, read_codes),
    ]


# Writes in place: what the harness must find fault with, else it finds nothing.
CARELESS = Writer("in place", lambda path, which: path.write_bytes(bytes([which]) * 100_000), Path.read_bytes)


def _put_file(path: Path, which: int) -> None:
    files.write_bytes(path, bytes([which]) * 100_000)


def _put_folder(path: Path, which: int) -> None:
    with files.replacing(path, ("a", "below")) as aside:
        (aside / "a").write_bytes(bytes([which]) * 10_000)
        (aside / "below").mkdir()
        (aside / "below/b").write_bytes(bytes([which]) * 10)


def _read_folder(path: Path) -> dict[str, bytes]:
    return {name: (path / name).read_bytes() for name in ("a", "below/b")}


@functools.cache
def codes(which: int) -> Codes:
    """Rows with texts for ids, norms and who made them, made anew for each number."""
    rng = np.random.default_rng(200 + which)
    values = -np.sort(-rng.random((N, K)).astype(np.float16), axis=1)
    columns = rng.random((N, H)).argsort(axis=1)[:, :K].astype(np.uint16)
    norms, made_by = rng.random((N, 2)).astype(np.float32), MadeBy(f"{which:04}", "topk")
    return Codes(values, columns, H, norms, TextIds.of([f"{which}: ß{i}" for i in range(N)]), made_by).check()


@functools.cache
def packed(which: int) -> Packed:
    """The same, packed."""
    return pack(codes(which), Packing(H, K, 3, (0.125, 0.25, 0.5, 0.75)))


def _put_pieces(path: Path, which: int) -> None:
    rows = codes(which)
    try:
        writer = folder.Writer(path, D, H, K, header={"which": which})
    except BusyError:
        raise
    except InputError:  # what the other number began, and did not end
        files.remove(path.with_name(path.name + ".partial"))
        writer = folder.Writer(path, D, H, K, header={"which": which})
    with writer:
        for start in range(writer.rows, N, 11):
            writer.append(rows[start : start + 11])
        writer.finish()


def put_packed(path: Path, which: int) -> None:
    """Packed rows written at once."""
    folder.write(path, packed(which), d=D)


def read_codes(path: Path) -> Any:
    """All that is in a codes folder, hashes and ranges checked."""
    rows, norms, ids, _ = folder.read(path, mmap=False)
    return [rows.arrays(), norms, None if ids is None else list(ids)]


def read_npz(path: Path) -> dict[str, np.ndarray]:
    """The arrays of an .npz."""
    with np.load(path, allow_pickle=False) as found:
        return dict(found)
