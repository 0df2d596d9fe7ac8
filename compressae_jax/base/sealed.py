"""Sealed JSON: the one form of metadata on disk; a seal, the hash of the other fields, shows any damage."""

import json
from pathlib import Path
from typing import Any

import xxhash

from compressae_jax.base import files
from compressae_jax.notation import FolderError

SEAL = "seal"
LARGEST = 2**24  # bytes of a file; ours have a few thousand


def write(path: Path, fields: dict[str, Any]) -> None:
    """Write a sealed file and wait until it is on the disk; not in one step: for folders that are written aside."""
    path.write_bytes(encoded(fields))
    files.sync(path)


def replace(path: Path, fields: dict[str, Any]) -> None:
    """Replace a sealed file in one step; the caller holds the lock of its folder."""
    aside = path.with_name(f"{files.PREFIX}{path.name}")
    try:
        write(aside, fields)
        aside.replace(path)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise
    files.sync(path.parent)


def encoded(fields: dict[str, Any]) -> bytes:
    """The bytes of a sealed file."""
    fields = json.loads(json.dumps(fields, default=_plain))
    sealed = {**fields, SEAL: seal(fields)}
    try:
        return (json.dumps(sealed, indent=1, ensure_ascii=False) + "\n").encode()
    except UnicodeEncodeError:  # a file's name that is not UTF-8
        return (json.dumps(sealed, indent=1) + "\n").encode()


def read(path: Path, version: int, remedy: str) -> dict[str, Any]:
    """The fields of a sealed file whose `format_version` is one of 1..version.

    Raises:
        FolderError: a file that is missing, damaged, or newer than `version`; the message ends with the remedy.
    """
    try:
        with files.open_regular(path) as file:
            text = file.read(LARGEST + 1)
    except (FileNotFoundError, NotADirectoryError):
        raise FolderError(f"{path} is missing; {remedy}") from None
    return decoded(text, path, version, remedy)


def decoded(text: bytes, path: Path, version: int, remedy: str) -> dict[str, Any]:
    """The fields of a sealed file's bytes; raises as `read`."""
    damaged = FolderError(f"{path} is damaged: not the JSON that this program writes; {remedy}")
    if len(text) > LARGEST:
        raise damaged
    try:
        fields = json.loads(text.decode("utf-8"), object_pairs_hook=_once)
        stated, given = fields.pop(SEAL), fields["format_version"]
        wanted = seal(fields)
    except (ValueError, KeyError, AttributeError, TypeError, RecursionError):  # not UTF-8, not JSON, not ours
        raise damaged from None
    if type(given) is int and given > version:
        raise FolderError(f"{path} has format version {given}, this program reads up to {version}; install a newer one")
    if stated != wanted:
        raise FolderError(f"{path} is damaged: its fields do not match its seal; {remedy}")
    if type(given) is not int or given < 1:
        raise FolderError(f"{path} has format version {given!r}, not one of 1 to {version}; {remedy}")
    return fields


def seal(fields: dict[str, Any]) -> str:
    """What seals these fields."""
    return xxhash.xxh3_128_hexdigest(json.dumps(fields, sort_keys=True).encode())


def _plain(value: Any) -> Any:
    """A NumPy or JAX scalar or array as JSON can say it, a path as text."""
    return value.tolist() if hasattr(value, "tolist") else str(value)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) < len(pairs):
        raise ValueError("a field twice")
    return fields
