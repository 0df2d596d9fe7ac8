"""What all folders on disk share: sealed JSON, hashes, publishing by one rename; `folder` has the layout of one."""

import json
import os
import shutil
from collections.abc import Collection
from pathlib import Path
from typing import Any

import xxhash

from compressae_jax.notation import FolderError

SEAL = "seal"  # xxh3_128 of the other fields


def digest_file(path: Path, start: int = 0, size: int | None = None) -> xxhash.xxh3_128:
    """The running xxh3_128 of a file's bytes from `start`, of all of them or of at most `size`."""
    digest = xxhash.xxh3_128()
    with path.open("rb") as file:
        file.seek(start)
        left = path.stat().st_size if size is None else size
        while left > 0 and (some := file.read(min(left, 2**22))):
            digest.update(some)
            left -= len(some)
    return digest


def sync(path: Path) -> None:
    """Wait until a file's bytes, or a folder's names, are on the disk."""
    number = os.open(path, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


def write_json(path: Path, fields: dict[str, Any]) -> None:
    """Replace a JSON file in one rename; its seal lets a reader notice any damage."""
    fields = json.loads(json.dumps(fields, default=_plain))
    aside = path.with_name(path.name + ".new")
    aside.write_text(json.dumps({**fields, SEAL: _seal(fields)}, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    sync(aside)
    aside.replace(path)
    sync(path.parent)


def read_json(path: Path, version: int, remedy: str) -> dict[str, Any]:
    """The fields of a sealed JSON file whose `format_version` this program knows.

    Raises:
        FolderError: a file that is missing, damaged, or newer than `version`; the message ends with the remedy.
    """
    if not path.is_file():
        raise FolderError(f"{path} is missing; {remedy}")
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
        seal, given = fields.pop(SEAL), fields["format_version"]
    except (ValueError, KeyError, AttributeError, TypeError):  # not UTF-8, not JSON, not ours
        raise FolderError(f"{path} is damaged: not the JSON that this program writes; {remedy}") from None
    if isinstance(given, int) and given > version:
        raise FolderError(f"{path} has format version {given}, this program reads up to {version}; install a newer one")
    if seal != _seal(fields):
        raise FolderError(f"{path} is damaged: its fields do not match its seal; {remedy}")
    return fields


def check_replaceable(folder: Path, names: Collection[str]) -> None:
    """Raise FolderError unless nothing stands at `folder`, or a folder of those files only, which may be replaced."""
    if not folder.is_dir():
        if os.path.lexists(folder):
            raise FolderError(f"{folder} exists and is not a folder; remove it or choose another name")
        return
    foreign = sorted(set(os.listdir(folder)) - set(names))
    if foreign:
        raise FolderError(
            f"{folder} holds other files ({', '.join(foreign[:3])}), so it is not replaced; choose another name"
        )


def begin(folder: Path, names: Collection[str]) -> Path:
    """An empty folder beside `folder`, to be filled and published; raises as `check_replaceable`."""
    check_replaceable(folder, names)
    aside = folder.with_name(folder.name + ".partial")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    return aside


def publish(aside: Path, folder: Path, names: Collection[str]) -> None:
    """Give a finished folder its name by one rename; an older one there, holding only `names`, goes away."""
    check_replaceable(folder, names)
    sync(aside)
    older = folder.with_name(folder.name + ".old")
    if folder.is_dir():
        shutil.rmtree(older, ignore_errors=True)
        folder.rename(older)
    aside.rename(folder)
    sync(folder.parent)
    shutil.rmtree(older, ignore_errors=True)


def _seal(fields: dict[str, Any]) -> str:
    return xxhash.xxh3_128_hexdigest(json.dumps(fields, sort_keys=True).encode())


def _plain(value: Any) -> Any:
    """A NumPy or JAX scalar or array as JSON can say it, a path as text."""
    return value.tolist() if hasattr(value, "tolist") else str(value)
