"""The one door for vectors: an array, a file, a folder, a glob or the name of a dataset becomes a source."""

import glob
import itertools
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from compressae_jax.base import arrays
from compressae_jax.data import named
from compressae_jax.data.concatenated import Concatenated
from compressae_jax.data.fvecs import Fvecs
from compressae_jax.data.npy import open_npy, open_npz
from compressae_jax.data.parquet import Parquet
from compressae_jax.data.sources import InMemory, NoRowsError, Source
from compressae_jax.data.tensors import open_safetensors
from compressae_jax.data.with_ids import WithIds
from compressae_jax.notation import InputError, check_choice

KINDS: dict[str, Callable[..., Source]] = {
    ".npy": open_npy,
    ".npz": open_npz,
    ".safetensors": open_safetensors,
    ".parquet": Parquet,
    ".fvecs": Fvecs,
}
OPTIONS = {".npz": {"key"}, ".safetensors": {"key"}, ".parquet": {"column", "ids_column"}}


def open_source(
    source: Any,
    column: str | None = None,
    ids_column: str | None = None,
    key: str | None = None,
    ids: Any = None,
) -> Source:
    """Open vectors without reading them.

    An array of any library, a list of rows, a data frame, or a path. A string that names a dataset is that dataset
    (write './shop' for a file or folder of that name). The files of a folder or glob form one source, in natural order
    of their paths (part-2 before part-10); files without a row add none, and in a folder files of other kinds are
    passed over; a folder laid out as a dataset (`named.of_folder`) gives its vectors. `column` and `ids_column` are for
    .parquet, `key` for .npz and .safetensors; empty means None. `ids` stand beside the vectors: one a row in memory,
    or the path of a file of them, text of one id a line or `.npy` of integers.

    Raises:
        InputError: nothing there, a kind that is not known, or contents that are not rows of floats of one width.
    """
    if ids is not None and not (isinstance(ids, str) and not ids):
        return WithIds(open_source(source, column, ids_column, key), ids)
    options = {name: value for name, value in (("column", column), ("ids_column", ids_column), ("key", key)) if value}
    if isinstance(source, Source):
        return source
    if not isinstance(source, (str, os.PathLike)):
        _check_used(options, [], "an array")
        return InMemory(_array(source))
    if isinstance(source, str) and source in named.names():
        _check_used(options, [], f"the dataset {source}")
        return named.load(source).vectors
    if (own := named.of_folder(source)) is not None:
        _check_used(options, [], f"the dataset {source}")
        return own.vectors
    paths = _files(os.fspath(source))
    _check_used(options, paths, str(source))
    if len(paths) == 1:
        return _open_file(paths[0], options)
    return Concatenated(os.fspath(source), _parts(paths, options))


def _array(given: Any) -> np.ndarray:
    """Rows of numbers that are in memory; integers without a dtype of their own, in lists, are numbers like others."""
    array = arrays.vectors("vectors", given)
    if array.dtype == object and not isinstance(given, np.ndarray):
        kind = type(given).__name__
        raise InputError(f"source must be a path, the name of a dataset, or rows of numbers of one width, not {kind}")
    return array.astype(np.float64) if isinstance(given, (list, tuple)) and array.dtype.kind in "iu" else array


def _parts(paths: list[Path], options: dict[str, str]) -> list[Source]:
    """The files that have rows, seen to be of one kind where they say what their vectors are."""
    parts, empty = [], []
    for path in paths:
        try:
            parts.append(_open_file(path, options))
        except NoRowsError as error:
            empty.append(error)
    if not parts:
        raise empty[0]
    _check_names(parts)
    return parts


def _check_names(parts: list[Source]) -> None:
    """Raise InputError unless the vectors of all files of a kind have one name, where they have any."""
    for kind in {part.kind.partition(",")[0] for part in parts}:
        named: dict[str, str] = {}
        for part in parts:
            if part.kind.startswith(kind) and part.selection():
                named.setdefault(part.selection()[0], part.name)
        if len(named) > 1:
            told = ", ".join(f"{name!r} in {file}" for name, file in list(named.items())[:3])
            raise InputError(f"vectors have unlike names: {told}; give the wanted one as column or key")


def _open_file(path: Path, options: dict[str, str]) -> Source:
    kind = path.suffix.lower()
    if kind not in KINDS:
        raise InputError(f"{path} must end in {', '.join(KINDS)}, not {path.suffix or 'nothing'!r}")
    if not path.is_file():
        raise InputError(f"{path} is not a file")
    if "ids_column" in options and "ids_column" not in OPTIONS.get(kind, ()):
        raise InputError(
            f"{path} has no ids, but ids_column={options['ids_column']!r} was given: all files must have it"
        )
    return KINDS[kind](path, **{name: value for name, value in options.items() if name in OPTIONS.get(kind, ())})


def _files(source: str) -> list[Path]:
    """The file itself, or those of a folder or glob in natural order."""
    if not source:
        raise InputError(f"source is empty; give a file, folder, glob or one of {', '.join(named.names())}")
    path = Path(source).expanduser()
    if path.is_dir():
        return _in_folder(path)
    if path.exists():
        return [path]
    if glob.has_magic(source):
        found = [each for each in map(Path, glob.glob(str(path), recursive=True)) if not each.is_dir()]
        if not found:
            raise InputError(f"no file matches {source}")
        return sorted(found, key=_natural)
    if not path.suffix and path.name == source:
        check_choice("source (there is no such file; as the name of a dataset it)", source, named.names())
    raise InputError(f"there is no file {source}")


def _in_folder(folder: Path) -> list[Path]:
    """The files of vectors in a folder.

    Raises:
        InputError: there is none, or a folder in it has more of them: whether they are wanted is not for us to guess.
    """
    shown = [each for each in folder.iterdir() if not each.name.startswith(".")]
    found = [each for each in shown if each.suffix.lower() in KINDS and not each.is_dir()]
    folders = sorted(each for each in shown if each.is_dir() and not each.name.startswith("_"))  # _temporary of Spark
    deeper = next(filter(_has_vectors, folders), None)
    if deeper is not None:
        of_all = f"*{found[0].suffix if found else '.npy'}"
        own, every = (os.path.join(glob.escape(str(folder)), *names, of_all) for names in ((), ("**",)))
        raise InputError(
            f"folder {folder} has vectors in its folder {deeper.name}: a glob says which are wanted, "
            f"{every!r} all of them" + (f" or {own!r} its own" if found else "")
        )
    if not found:
        raise InputError(f"folder {folder} holds no {', '.join(KINDS)}")
    return sorted(found, key=_natural)


def _has_vectors(folder: Path) -> bool:
    """Whether a file of vectors lies in a folder, or in one below it; looked for in some ten thousand names."""
    names = itertools.chain.from_iterable(files for _, _, files in os.walk(folder))
    return any(os.path.splitext(name)[1].lower() in KINDS for name in itertools.islice(names, 10_000))


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
