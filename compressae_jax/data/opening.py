"""The one door for vectors: an array, a file, a folder, a glob or the name of a dataset becomes a source."""

import glob
import os
import re
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np

from compressae_jax.data import named
from compressae_jax.data.concatenated import Concatenated
from compressae_jax.data.fvecs import Fvecs
from compressae_jax.data.npy import open_npy, open_npz
from compressae_jax.data.parquet import Parquet
from compressae_jax.data.sources import InMemory, Source
from compressae_jax.data.tensors import open_safetensors
from compressae_jax.notation import AnyArray, InputError, check_choice

KINDS: dict[str, Callable[..., Source]] = {
    ".npy": open_npy,
    ".npz": open_npz,
    ".safetensors": open_safetensors,
    ".parquet": Parquet,
    ".fvecs": Fvecs,
}
OPTIONS = {".npz": {"key"}, ".safetensors": {"key"}, ".parquet": {"column", "ids_column"}}


def open_source(
    source: str | os.PathLike | AnyArray | Source,
    column: str | None = None,
    ids_column: str | None = None,
    key: str | None = None,
) -> Source:
    """Open vectors without reading them.

    A string that names a dataset is that dataset (write './shop' for a file or folder of that name). The files of a
    folder or glob form one source, in natural order of their paths (part-2 before part-10); in a folder, files of
    other kinds are passed over. `column` and `ids_column` are for .parquet, `key` for .npz and .safetensors; empty
    means None.

    Raises:
        InputError: nothing there, a kind that is not known, or contents that are not rows of floats of one width.
    """
    options = {name: value for name, value in (("column", column), ("ids_column", ids_column), ("key", key)) if value}
    if isinstance(source, Source):
        return source
    if isinstance(source, (np.ndarray, jax.Array)):
        _check_used(options, [], "an array")
        return InMemory(source)
    if not isinstance(source, (str, os.PathLike)):
        raise InputError(f"source must be a path, the name of a dataset, or an array, not {type(source).__name__}")
    if isinstance(source, str) and source in named.names():
        _check_used(options, [], f"the dataset {source}")
        return named.load(source).vectors
    paths = _files(os.fspath(source))
    _check_used(options, paths, str(source))
    parts = [_open_file(path, options) for path in paths]
    return parts[0] if len(parts) == 1 else Concatenated(os.fspath(source), parts)


def _open_file(path: Path, options: dict[str, str]) -> Source:
    kind = path.suffix.lower()
    if kind not in KINDS:
        raise InputError(f"{path} must end in {', '.join(KINDS)}, not {path.suffix or 'nothing'!r}")
    if not path.is_file():
        raise InputError(f"{path} is not a file")
    return KINDS[kind](path, **{name: value for name, value in options.items() if name in OPTIONS.get(kind, ())})


def _files(source: str) -> list[Path]:
    """The file itself, or those of a folder or glob in natural order."""
    if not source:
        raise InputError(f"source is empty; give a file, folder, glob or one of {', '.join(named.names())}")
    path = Path(source).expanduser()
    if path.is_dir():
        found = [each for each in path.iterdir() if each.suffix.lower() in KINDS and not each.name.startswith(".")]
        if not found:
            raise InputError(f"folder {source} holds no {', '.join(KINDS)}")
        return sorted(found, key=_natural)
    if path.exists():
        return [path]
    if glob.has_magic(source):
        found = [Path(each) for each in glob.glob(str(path), recursive=True)]
        if not found:
            raise InputError(f"no file matches {source}")
        return sorted(found, key=_natural)
    if not path.suffix and path.name == source:
        check_choice("source (there is no such file; as the name of a dataset it)", source, named.names())
    raise InputError(f"there is no file {source}")


def _natural(path: Path) -> tuple[list[str | int], str]:
    """Digits count as numbers; the path itself decides between 01 and 1."""
    return [int(some) if some.isascii() and some.isdigit() else some for some in re.split(r"([0-9]+)", str(path))], str(
        path
    )


def _check_used(options: dict[str, str], paths: list[Path], source: str) -> None:
    takes = set().union(*(OPTIONS.get(path.suffix.lower(), set()) for path in paths))
    for name in options.keys() - takes:
        kinds = " and ".join(kind for kind, taken in OPTIONS.items() if name in taken)
        raise InputError(f"{name} is for {kinds} only; {source} has no use for {name}={options[name]!r}")
