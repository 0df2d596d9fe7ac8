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
from compressae_jax.codes.ids import as_ids
from compressae_jax.codes.rows import MadeBy
from compressae_jax.codes.storage.packed import Packed, Packing, pack
from compressae_jax.model.weights import Weights

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


def codes(which: int, ids: str = "") -> Codes:
    """Rows that no encoder made, with ids that are text, numbers or not there."""
    rng = np.random.default_rng(which)
    columns = rng.permuted(np.tile(np.arange(H), (N, 1)), axis=1)[:, :K].astype(np.uint16)
    values = -np.sort(-rng.uniform(0.5, 2, (N, K)), axis=1).astype(np.float16)
    names = {"text": [f"Zeile {i}·{which}" for i in range(N)], "numbers": np.arange(N) * 7 + which, "": None}[ids]
    norms = rng.uniform(1, 2, (N, 2)).astype(np.float32)
    made_by = MadeBy(f"{which:016x}", "topk")
    return Codes(values, columns, H, norms, None if names is None else as_ids(names, N), made_by)


def packed(which: int) -> Packed:
    """The same, packed."""
    return pack(codes(which), Packing(H, K, 4, tuple(np.linspace(0.5, 2, 8, dtype=np.float32).tolist())))


def table() -> list[Writer]:
    """All writers."""
    return [
        Writer("a file", _put_file, Path.read_bytes, ".bin"),
        Writer("a folder", _put_folder, _read_folder, read_whole=False),
        Writer("codes", lambda path, which: folder.write(path, codes(which), d=D), read_codes),
        Writer("codes with text ids", lambda path, which: folder.write(path, codes(which, "text"), d=D), read_codes),
        Writer("packed codes", lambda path, which: folder.write(path, packed(which), d=D), read_codes),
        Writer("codes by pieces", _put_pieces, read_codes),
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


def _put_pieces(path: Path, which: int) -> None:
    rows = codes(which, "text")
    with folder.Writer(path, D, H, K, "float16", {"which": which}) as writer:
        while writer.rows < N:
            writer.append(rows[writer.rows : writer.rows + N // 3])
        writer.finish()


def _read_folder(path: Path) -> dict[str, bytes]:
    return {name: (path / name).read_bytes() for name in ("a", "below/b")}


def read_codes(path: Path) -> Any:
    """All that is in a codes folder, hashes and ranges checked."""
    rows = folder.read(path, mmap=False).rows
    return [rows.arrays(), rows.storage, rows.made_by, None if rows.ids is None else list(rows.ids)]


def read_npz(path: Path) -> dict[str, np.ndarray]:
    """The arrays of an .npz."""
    with np.load(path, allow_pickle=False) as found:
        return dict(found)
