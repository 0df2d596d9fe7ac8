"""Where files of vectors lie: one path, a folder or a glob becomes files in their order; `kinds` opens them."""

import functools
import glob
import itertools
import os
import re
from collections.abc import Collection, Iterable
from pathlib import Path, PurePath, PurePosixPath
from typing import Any, TypeVar

from compressae_jax.base import files
from compressae_jax.data import named, npy, remote, saved
from compressae_jax.data.kinds import ENDINGS
from compressae_jax.data.opened import File
from compressae_jax.notation import InputError, check_choice

P = TypeVar("P", bound=PurePath)


def files_of(source: str) -> list[File]:
    """The file itself, or those of a folder or glob in natural order.

    Raises:
        InputError: nothing there, no file of a known kind in a folder, more of them in a folder below it.
    """
    source = remote.path_of(source)
    if remote.is_url(source):
        return _remote_files(source)
    return [_file(path) for path in _paths(source)]


def _remote_files(url: str) -> list[File]:
    """The same of a url; servers have files alone."""
    system, path = remote.file_system(url)
    with remote.said(url):
        if not remote.is_of_server(url):
            if glob.has_magic(path):
                found = [
                    name
                    for name in system.glob(path)
                    if not _is_hidden(PurePosixPath(name).name) and system.isfile(name)
                ]
                return _listed(system, found, f"no file matches {url}")
            if system.isdir(path):
                return _in_remote_folder(system, path, url)
        try:
            return [remote.RemoteFile(system, path, url)]
        except FileNotFoundError:
            raise InputError(f"there is no file {url}") from None


def _in_remote_folder(system: Any, path: str, url: str) -> list[File]:
    path = path.rstrip("/")

    def read(name: str) -> bytes | None:
        return system.cat_file(f"{path}/{name}") if system.isfile(f"{path}/{name}") else None

    if (ordered := saved.data_files(url.rstrip("/"), read)) is not None:
        return [remote.at(f"{url.rstrip('/')}/{name}") for name in ordered]
    inside = [name.removeprefix(path).lstrip("/") for name in system.find(path)]
    shown = [name for name in inside if PurePosixPath(name).suffix.lower() in ENDINGS and not _is_hidden(name)]
    deeper = next((name for name in shown if "/" in name), None)
    if deeper is not None:
        raise InputError(
            f"folder {url} has vectors in its folder {deeper.partition('/')[0]}: a glob says which are wanted, "
            f"{url.rstrip('/')}/**/*{PurePosixPath(deeper).suffix} all of them"
        )
    return _listed(system, [f"{path}/{name}" for name in shown], f"folder {url} holds no {', '.join(ENDINGS)}")


def _listed(system: Any, found: list[str], none: str) -> list[File]:
    """Files in natural order of their names."""
    if not found:
        raise InputError(none)
    names = sorted(map(str, vectors_of(map(PurePosixPath, found))), key=natural)
    return [remote.RemoteFile(system, name, system.unstrip_protocol(name)) for name in names]


def _is_hidden(name: str) -> bool:
    """Whether a file or a folder above it begins with a dot, or a folder with what Spark's own begin with."""
    *folders, file = PurePosixPath(name).parts
    return file.startswith(".") or any(each.startswith((".", "_")) for each in folders)


def _file(path: Path) -> File:
    if not path.is_file():
        raise InputError(f"{path} is not a file")
    return File(path)


def _paths(source: str) -> list[Path]:
    if not source:
        raise InputError(f"source is empty; give a file, folder, glob or one of {', '.join(named.names())}")
    path = Path(source).expanduser()
    if path.is_dir():
        return _in_folder(path)
    if path.exists():
        return [path]
    if glob.has_magic(source):
        found = vectors_of(each for each in map(Path, glob.glob(str(path), recursive=True)) if not each.is_dir())
        if not found:
            raise InputError(f"no file matches {source}")
        return sorted(found, key=natural)
    if not path.suffix and path.name == source:
        check_choice("source (there is no such file; as the name of a dataset it)", source, named.names())
    raise InputError(f"there is no file {source}")


def _in_folder(folder: Path) -> list[Path]:
    """The files of vectors in a folder.

    Raises:
        InputError: there is none, or a folder in it has more of them: whether they are wanted is not for us to guess.
    """
    if (ordered := saved.data_files(str(folder), functools.partial(_read, folder))) is not None:
        return [folder / name for name in ordered]
    shown = [each for each in folder.iterdir() if not each.name.startswith(".")]
    found = vectors_of(each for each in shown if each.suffix.lower() in ENDINGS and not each.is_dir())
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
        raise InputError(f"folder {folder} holds no {', '.join(ENDINGS)}")
    return sorted(found, key=natural)


def _read(folder: Path, name: str) -> bytes | None:
    if not (folder / name).is_file():
        return None
    with files.open_regular(folder / name) as file:
        return file.read()


def _has_vectors(folder: Path) -> bool:
    """Whether a file of vectors lies in a folder, or in one below it; looked for in some ten thousand names."""
    names = itertools.chain.from_iterable(files for _, _, files in os.walk(folder))
    return any(os.path.splitext(name)[1].lower() in ENDINGS for name in itertools.islice(names, 10_000))


def natural(path: Any) -> tuple[list[str | int], str]:
    """What paths are sorted by: digits count as numbers; the path itself decides between 01 and 1."""
    pieces = re.split(r"([0-9]+)", str(path))
    return [int(some) if some.isascii() and some.isdigit() else some for some in pieces], str(path)


def vectors_of(paths: Iterable[P]) -> list[P]:
    """Those of some files that are no scale of their neighbours."""
    found = list(paths)
    there = {(path.parent, path.name) for path in found}
    return [path for path in found if not _is_scale(path, there)]


def _is_scale(path: PurePath, there: Collection[tuple[PurePath, str]]) -> bool:
    if path.name == npy.SCALE:
        return len(there) > 1
    stem = path.name.removesuffix(npy.SCALE_BESIDE)
    return stem != path.name and (path.parent, f"{stem}.npy") in there
