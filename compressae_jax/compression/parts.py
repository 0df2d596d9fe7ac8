"""A source in parts that many machines compress, and the parts as one folder."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from compressae_jax.base import files
from compressae_jax.codes import folder as codes_folder
from compressae_jax.codes import writer as codes_writer
from compressae_jax.codes.joined import join as joined
from compressae_jax.codes.joined import same
from compressae_jax.codes.rows import Rows
from compressae_jax.data import identity
from compressae_jax.model.encoders import BLOCK
from compressae_jax.notation import FolderError, InputError, check_range

PART, SOURCE = "part", "source"  # fields of a folder's header


def span_of(rows: int, part: tuple[int, int] | None) -> range:
    """The rows of part i of m (1 to m), whole blocks but for the last; of all without a part.

    Raises:
        InputError: i outside 1..m, more parts than blocks.
    """
    if part is None:
        return range(rows)
    i, m = part
    blocks = -(-rows // BLOCK)
    check_range("part: the number of parts", m, 1, blocks)
    check_range(f"part: which of {m}", i, 1, m)
    first, end = (BLOCK * (blocks * some // m) for some in (i - 1, i))
    return range(first, min(end, rows))


def join(folders: Sequence[str | os.PathLike], out: str | os.PathLike, overwrite: bool = False) -> dict[str, Any]:
    """One codes folder of several, in the order of their parts, else as given: the same bytes as of one compression.

    Folders that `to_folder` made as parts must be all parts of one source. Every checksum is seen to hold. Where the
    same rows stand at `out` already, nothing is written. Returns rows and parts.

    Raises:
        InputError: parts that are missing, twice, or of different models, encoders, storages or sources; another folder
            at `out` already.
        FolderError: a folder that is missing or damaged.
    """
    if not folders:
        raise InputError("folders must name at least one codes folder to join")
    if not _may_be(out, folders):
        check_free(out, overwrite)
    read = [codes_folder.read(each) for each in folders]
    metas = [each.meta for each in read]
    order = _order(folders, metas)
    first = metas[order[0]]
    for i in order[1:]:
        for name in ("fingerprint", "encoder", "zero_rows", "d"):
            if metas[i].get(name) != first.get(name):
                raise InputError(
                    f"{folders[i]} has {name} {metas[i].get(name)}, {folders[order[0]]} has {first.get(name)}: they "
                    "are no parts of one"
                )
        if PART in first and (found := identity.difference(first[SOURCE], metas[i][SOURCE])):
            raise InputError(f"{folders[i]} is of another source than {folders[order[0]]}: {found}")
    header = {name: first[name] for name in ("fingerprint", "encoder", SOURCE, "zero_rows") if name in first}
    if PART not in first:
        header.pop(SOURCE, None)
    rows = joined([read[i].rows for i in order])
    if _is_there(out, rows, {**header, "d": first["d"]}):
        codes_writer.sweep(files.real(out))
    else:
        check_free(out, overwrite)
        codes_folder.write(out, rows, d=first["d"], header=header)
    return {"rows": len(rows), "parts": len(read)}


def _may_be(out: str | os.PathLike, folders: Sequence[str | os.PathLike]) -> bool:
    """Whether a codes folder of as many rows stands at `out`: seen before any row is read."""
    try:
        rows, *parts = (len(codes_folder.read(each, verify=False).rows) for each in (out, *folders))
    except FolderError:
        return False
    return rows == sum(parts)


def _is_there(out: str | os.PathLike, rows: Rows, header: dict[str, Any]) -> bool:
    """Whether these very rows stand at `out`: the same call again is done, as after a kill at its very end."""
    try:
        there = codes_folder.read(out)
    except FolderError:
        return False
    if {name: there.meta.get(name) for name in header} != header or PART in there.meta:
        return False
    return same(there.rows, rows)


def check_free(out: str | os.PathLike, overwrite: bool) -> None:
    """Raise InputError where a folder with something in it stands at `out`, unless it may be replaced."""
    path = Path(os.path.expanduser(os.fspath(out)))
    if not overwrite and path.is_dir() and any(path.iterdir()):
        raise FolderError(f"{path} is there already; choose another name, or say overwrite (--overwrite) to replace it")


def _order(folders: Sequence[Any], metas: Sequence[dict[str, Any]]) -> list[int]:
    """Which folder comes first, which next, and so on."""
    return order_of(folders, [part_of(folder, meta) for folder, meta in zip(folders, metas, strict=True)])


def order_of(names: Sequence[Any], parts: Sequence[tuple[int, int] | None]) -> list[int]:
    """Which part (i, m) comes first, which next, and so on; as given where all are None. `names` are for messages.

    Raises:
        InputError: parts of different m, missing or twice, or only some that are no parts.
    """
    if all(part is None for part in parts):
        return list(range(len(parts)))
    first, place = next(part for part in parts if part is not None), dict[int, int]()
    for i, part in enumerate(parts):
        if part is None or part[1] != first[1]:
            raise InputError(f"{names[i]} is {_said(part)}, another one {_said(first)}: they are no parts of one")
        if part[0] in place:
            raise InputError(f"{names[place[part[0]]]} and {names[i]} are both {_said(part)}")
        place[part[0]] = i
    missing = [number for number in range(1, first[1] + 1) if number not in place]
    if missing:
        raise InputError(f"of {first[1]} parts, {', '.join(map(str, missing[:10]))} are missing")
    return [place[number] for number in sorted(place)]


def part_of(folder: Any, meta: Mapping[str, Any]) -> tuple[int, int] | None:
    """The (i, m) that the metadata of a codes folder names, None of one that is no part.

    Raises:
        FolderError: metadata of no part.
    """
    part = meta.get(PART)
    if part is None:
        return None
    if not (isinstance(part, list) and len(part) == 2 and all(type(number) is int for number in part)):
        raise FolderError(f"{folder} is damaged: its part must be two numbers, not {str(part)[:60]}")
    check_range(f"{folder}: the number of parts", part[1], 1, 2**20)
    check_range(f"{folder}: the part", part[0], 1, part[1])
    if not isinstance(meta.get(SOURCE), dict):
        raise FolderError(f"{folder} is damaged: it does not say what its source was")
    return part[0], part[1]


def _said(part: tuple[int, int] | None) -> str:
    return "no part" if part is None else f"part {part[0]} of {part[1]}"
