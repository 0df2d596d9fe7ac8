"""Everything in the package that writes under a name, each with two things to write and a reader that tells them apart.

None of it may start JAX: children are forked from the process that has made these things.
"""

import contextlib
import functools
import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow
from faults.forked import Outcome
from pyarrow import parquet

from compressae_jax import compression
from compressae_jax.base import files, sealed
from compressae_jax.codes import folder
from compressae_jax.codes.codes import Codes
from compressae_jax.codes.ids import as_ids
from compressae_jax.codes.rows import MadeBy, Rows
from compressae_jax.codes.storage.packed import Packed, Packing, pack
from compressae_jax.data.opening import open_source
from compressae_jax.data.staging import stage
from compressae_jax.model import weights as model_weights
from compressae_jax.model.weights import Weights
from compressae_jax.notation import InputError
from compressae_jax.retrieval import found
from compressae_jax.retrieval.index import Index
from compressae_jax.training import records

D, H, K, N = 8, 32, 4, 30
STEPS = 5
BOARD = re.compile("tensorboard/")  # whose files have the time in their names

with contextlib.suppress(ImportError):
    import tensorboardX  # noqa: F401, which a log imports: not in each child anew


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
    stands: bool = False  # whether it changes what `beside` has put at the name
    locks: bool = True  # whether it locks the name itself, and not one above it
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
    made_by = MadeBy(weights(which).fingerprint, "topk")
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
        Writer("model", lambda path, which: model_weights.save(weights(which), path), _read_model),
        Writer("config.json of a run", _put_config, _read_config, ".json", locks=False),
        Writer(
            "metrics.jsonl of a run",
            _put_metrics,
            _read_metrics,
            replaces=False,
            read_whole=False,
            locks=False,
            ignore=BOARD,
        ),
        Writer("index", lambda path, which: index(which).save(path), _read_index),
        Writer("packed index", lambda path, which: index(which, packed).save(path), _read_index),
        Writer("found.npz", _put_found, read_npz, ".npz"),
        Writer("found.parquet", _put_found, _read_parquet, ".parquet"),
        Writer("staged copy", _put_staged, np.load, ".npy", beside=_two_sources, read_whole=False),
        Writer("codes by pieces", _put_pieces, read_codes),
        Writer("compression", _put_compressed, read_codes, beside=_model_and_vectors),
        Writer("join", _put_joined, read_codes, beside=_two_folders),
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


def _model_and_vectors(root: Path) -> None:
    model_weights.save(weights(0), root / "model")


def _put_compressed(path: Path, which: int) -> None:
    compression.to_folder(path.parent / "model", open_source(vectors(which)), path, overwrite=True, progress=False)


def _two_folders(root: Path) -> None:
    for which, rows in enumerate((slice(N // 3), slice(N // 3, N))):
        folder.write(root / f"{which}", codes(0, "text")[rows], d=D)


def _put_joined(path: Path, which: int) -> None:
    compression.join([path.parent / f"{which}", path.parent / f"{1 - which}"], path, overwrite=True)


def index(which: int, rows: Callable[[int], Rows] = codes) -> Index:
    """An index of such rows."""
    return Index(rows(which), weights(which), "reconstructed")


def _read_index(path: Path) -> Any:
    there = Index.load(path)
    return [there.codes.arrays(), there.codes.made_by, there.weights.fingerprint, there.space, there.encoder]


def _put_found(path: Path, which: int) -> None:
    rng = np.random.default_rng(which)
    scores, rows = rng.random((5, 3)).astype(np.float32), rng.integers(0, N, (5, 3))
    found.write(path, found.Found(scores, rows, np.char.add("item ", rows.astype(str))))


def _read_parquet(path: Path) -> Any:
    with path.open("rb") as file:  # by its path, Arrow opens it several times, and may mix two files
        return parquet.read_table(file).to_pydict()


def _two_sources(root: Path) -> None:
    for which in (0, 1):
        parquet.write_table(pyarrow.table({"vector": list(vectors(which))}), root / f"{which}.parquet")


def _put_staged(path: Path, which: int) -> None:
    stage(open_source(path.parent / f"{which}.parquet"), path, progress=False)


def _read_model(path: Path) -> Any:
    model = model_weights.load(path)
    return [model.fingerprint, model.params, model.summary, model.levels]


def _put_config(path: Path, which: int) -> None:
    sealed.replace(path, {"format_version": records.FORMAT_VERSION, "seed": which, "train": {"steps": [1] * 1000}})


def _read_config(path: Path) -> Any:
    return sealed.read(path, records.FORMAT_VERSION, "choose another workdir")


def _put_metrics(path: Path, which: int) -> None:
    with files.locked(path):
        path.mkdir(exist_ok=True)
        log = records.Log(path, 0, steps=STEPS)
        for step in range(1, STEPS + 1):
            log.write({"step": step, "loss": 1 / (step + which), "seconds": float(step)})
        log.sync()
        log.close()


def _read_metrics(path: Path) -> Any:
    """All lines, or None where they end early; damage, which is left out with a warning, is an error here."""
    with warnings.catch_warnings(action="error"):
        try:
            lines = records.read_metrics(path)
        except UserWarning as warning:
            raise InputError(str(warning)) from None
    return lines if len(lines) == STEPS else None


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
