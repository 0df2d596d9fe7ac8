"""An index on disk: a model, segments that are written once, which rows are removed, and one file that names them all.

`model/`, `segments/<number>/` (codes folders), `removed/<number>-<generation>.npy` (a bit a row), `cells/` (see
`cells_folder`) and `index.json`, which is replaced in one step: a reader sees the older index or the newer one, whole.
What `index.json` does not name is no part of the index; the next writer removes it. `docs/FORMAT.md` has every field.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import re
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import xxhash
from jaxtyping import Bool

from compressae_jax.base import files, sealed
from compressae_jax.codes import folder as codes_folder
from compressae_jax.codes import spaces
from compressae_jax.codes.ids import TextIds
from compressae_jax.codes.layout import META as CODES_META
from compressae_jax.codes.layout import npy_header
from compressae_jax.codes.rows import SIMILARITIES, MadeBy
from compressae_jax.codes.storage import convert
from compressae_jax.codes.storage.kinds import STORAGES
from compressae_jax.model import weights as model_weights
from compressae_jax.model.weights import Weights
from compressae_jax.notation import BusyError, FolderError, InputError, check_choice, check_range
from compressae_jax.retrieval import cells_folder
from compressae_jax.retrieval.cells import Grouping, grouped
from compressae_jax.retrieval.cells_folder import CELLS
from compressae_jax.retrieval.segments import Home, Segment, Segments

FORMAT_VERSION = 3  # of an index with cells; others have 2, which older programs read
META, MODEL, SEGMENTS, REMOVED = "index.json", "model", "segments", "removed"
CODES = "codes"  # the one segment of version 1
NAMES = (META, MODEL, SEGMENTS, REMOVED, CODES, CELLS)
MOST = 32  # segments of a folder; beyond them the smaller ones are merged when it is written
ADDING, COMPACTING = "adding", "compacting"  # segments in the making, by `folder_changes`
SEGMENT = re.compile(r"\d{6,15}")


class Opened(NamedTuple):
    """What an index folder holds; `added` tells the last addition from files, if it was the last change of its rows."""

    segments: Segments
    weights: Weights
    space: str
    encoder: str
    added: str | None = None


def read(folder: str | os.PathLike, verify: bool = True) -> Opened:
    """An index folder by memory map; `verify=False` skips the hashes of its rows. Written meanwhile: as it was or is.

    Raises:
        FolderError: a folder that is missing, damaged, of parts that do not belong together, or newer than this
            program.
    """
    folder = Path(os.path.expanduser(os.fspath(folder)))
    return files.steadily(folder / META, lambda: _read(folder, verify))


def is_one(folder: Path) -> bool:
    """Whether an index stands there."""
    return (folder / META).is_file()


def has_texts(folder: str | os.PathLike) -> bool:
    """Whether the ids of an index are texts; raises FolderError as `read`."""
    path = files.real(folder)
    return files.steadily(path / META, lambda: _meta(path)).get("ids") == "utf8"


def save(folder: str | os.PathLike, opened: Opened) -> Segments:
    """Write segments: of their home only what it lacks, elsewhere a whole folder, an older index there being replaced.

    Gives the same rows at home in the folder.

    Raises:
        FolderError: something else stands at that name.
        BusyError: another process writes it, or wrote its home since these were read.
    """
    files.check_out(folder)
    path, home = files.real(folder), opened.segments.home
    if home is not None and home.folder == path and is_one(path):
        with files.locked(path):
            check_home(home)
            return change(opened)
    with files.replacing(path, NAMES, META) as aside:
        model_weights.save(opened.weights, aside / MODEL)
        (aside / SEGMENTS).mkdir()
        parts = [part for part in opened.segments.parts if len(part)]
        numbers = range(1, len(parts) + 1)
        written = [_written(aside, number, part, opened) for number, part in zip(numbers, parts, strict=True)]
        seal = _counted(aside, written, opened, generation=1)
    return _at_home(opened, written, Home(path, seal))


def check_home(home: Home) -> None:
    """Raise BusyError where somebody changed the folder since; the caller holds its lock."""
    if sealed.seal(_meta(home.folder)) != home.seal:
        raise BusyError(
            f"{home.folder} was changed by another writer since this index was opened; open it again and repeat the "
            "change"
        )


def change(opened: Opened, made: Path | None = None, grouping: Grouping | None = None) -> Segments:
    """Write to a home what it lacks; the caller holds its lock, and has seen that nobody else changed it.

    `made`: a codes folder, made in the home, that becomes a segment behind the others; `grouping`: where its rows lie,
    if that is known, else they go into the cells that are there.
    """
    home = opened.segments.home
    assert home is not None
    path = home.folder
    files.remove_leftovers(path)
    meta = _meta(path)
    generation = meta["generation"] + 1
    _clear(path, meta)
    written = []
    number = max([0, *(one["number"] for one in meta["segments"])])
    parts = opened.segments.parts
    if made is not None:
        number += 1
        os.rename(made, path / SEGMENTS / _name(number))
        rows = codes_folder.read(path / SEGMENTS / _name(number), verify=False).rows
        rows, there = rows.check(), opened.segments.cells
        if there is not None and grouping is None:
            grouping = grouped(rows, there, opened.weights)
        parts = (*parts, Segment(rows, number=number, grouping=grouping))
    for group in _groups(parts):
        if len(group) == 1 and group[0].number is not None:
            written.append(group[0])
            continue
        number += 1
        whole = Segments(tuple(group))
        groupings = [part.grouping for part in group if part.grouping is not None]
        joint = Grouping.joined(groupings) if len(groupings) == len(group) else None
        gone = None if whole.allowed is None else ~whole.allowed
        one = _written(path, number, Segment(whole.rows, gone, grouping=joint), opened)
        if len(group) > 1:  # the new folder in place of the memory, and of the older folders, which go
            rows = codes_folder.read(path / SEGMENTS / _name(number), verify=False).rows
            one = dataclasses.replace(one, rows=rows.check())
        written.append(one)
    seal = _counted(path, written, opened, generation)
    _clear(path, _meta(path), done=True)
    return _at_home(opened, written, Home(path, seal))


def begin(folder: str | os.PathLike, opened: Opened) -> None:
    """An index folder of no rows, of the kind that the opened one has.

    Raises:
        FolderError: something stands at that name.
    """
    with files.replacing(folder, ()) as aside:
        model_weights.save(opened.weights, aside / MODEL)
        _counted(aside, [], opened, generation=1)


def tidy(folder: Path) -> None:
    """Remove what a writer that was killed after its change has left; the caller holds the folder's lock."""
    files.remove_leftovers(folder)
    _clear(folder, _meta(folder), done=True)


def _at_home(opened: Opened, written: list[Segment], home: Home) -> Segments:
    return Segments(tuple(written) or (Segment(opened.segments.rows[:0]),), home, opened.segments.cells)


def _groups(parts: tuple[Segment, ...]) -> list[list[Segment]]:
    """What goes into one folder each: new segments together; once there are too many, the smaller ones at the end."""
    groups: list[list[Segment]] = []
    for part in parts:
        if part.number is None and groups and groups[-1][-1].number is None:
            groups[-1].append(part)
        elif len(part):
            groups.append([part])
    if len(groups) <= MOST:
        return groups
    sizes = [sum(map(len, group)) for group in groups]
    last = len(groups) - 1
    while last and (last >= MOST // 2 or sizes[last - 1] < 2 * sum(sizes[last:])):
        last -= 1
    return [*groups[:last], [part for group in groups[last:] for part in group]]


def _written(folder: Path, number: int, part: Segment, opened: Opened) -> Segment:
    """A segment's codes folder, written."""
    (folder / SEGMENTS).mkdir(exist_ok=True)
    header = {"fingerprint": opened.weights.fingerprint, "encoder": opened.encoder}
    codes_folder.write(folder / SEGMENTS / _name(number), part.rows, d=opened.weights.d, header=header)
    return dataclasses.replace(part, number=number)


def _counted(folder: Path, parts: list[Segment], opened: Opened, generation: int) -> str:
    """Write the bitmaps that are new and `index.json`; the seal of that."""
    rows = opened.segments.parts[0].rows
    before, cells_before = {}, None
    with contextlib.suppress(FolderError):
        if is_one(folder):
            was = _meta(folder)
            before, cells_before = {one["number"]: one for one in was["segments"]}, was.get("cells")
    cells = opened.segments.cells
    listed = []
    for part in parts:
        assert part.number is not None
        said = {"number": part.number, "rows": len(part), "meta": _digest_of_meta(folder, part.number)}
        said["removed"] = _bitmap(folder, part, before.get(part.number), generation)
        if cells is not None:
            assert part.grouping is not None
            earlier = before.get(part.number, {}).get("cells")
            said["cells"] = cells_folder.write_numbers(folder, part.number, part.grouping, earlier, generation)
        listed.append(said)
    ids = rows.ids
    kind = None if ids is None else "utf8" if isinstance(ids, TextIds) else np.dtype(ids.dtype).str
    fields = {
        "format_version": FORMAT_VERSION if cells is not None else 2,
        "space": opened.space,
        "fingerprint": opened.weights.fingerprint,
        "encoder": opened.encoder,
        "h": rows.h,
        "k": rows.k,
        "storage": rows.storage,
        "levels": rows.levels,
        "similarity": rows.similarity,
        "ids": kind,
        "generation": generation,
        "added": opened.added,
        "segments": listed,
    }
    if cells is not None:
        fields["cells"] = cells_folder.write(folder, cells, opened.weights, cells_before, generation)
    if is_one(folder):
        sealed.replace(folder / META, fields)
    else:
        sealed.write(folder / META, fields)
    return sealed.seal(_meta(folder))


def _bitmap(folder: Path, part: Segment, before: dict[str, Any] | None, generation: int) -> dict[str, Any] | None:
    """What `index.json` says of a segment's removed rows, whose bits are written where they are new."""
    if part.removed is None or not part.removed.any():
        return None
    content = _npy(part.removed)
    said = {"rows": int(np.count_nonzero(part.removed)), "xxh3_128": xxhash.xxh3_128_hexdigest(content)}
    if before and before["removed"] and {name: before["removed"][name] for name in said} == said:
        return before["removed"]
    (folder / REMOVED).mkdir(exist_ok=True)
    files.write_bytes(folder / REMOVED / f"{_name(part.number)}-{generation}.npy", content)
    return {**said, "generation": generation}


def _npy(removed: Bool[np.ndarray, " n"]) -> bytes:
    bits = np.packbits(removed, bitorder="little")
    return npy_header("|u1", bits.shape) + bits.tobytes()


def _clear(folder: Path, meta: dict[str, Any], done: bool = False) -> None:
    """Remove segments and bitmaps that `index.json` does not name: of a writer that was killed, or of a merge.

    What an addition has begun stays, to be continued; what a compaction made goes once another change is `done`.
    """
    named = {_name(one["number"]) for one in meta["segments"]}
    bitmaps = {
        f"{_name(one['number'])}-{one['removed']['generation']}.npy" for one in meta["segments"] if one["removed"]
    }
    of_cells = cells_folder.names(meta)
    for place, kept in ((folder / SEGMENTS, named), (folder / REMOVED, bitmaps), (folder / CELLS, of_cells)):
        for name in sorted(os.listdir(place)) if place.is_dir() else ():
            ours = (
                SEGMENT.match(name)
                or (place.name == CELLS and cells_folder.CENTROIDS.match(name))
                or name.startswith(files.PREFIX)
                or (done and name.startswith(COMPACTING))
            )
            if name in kept or not ours:
                continue
            if (place / name).is_dir():
                shutil.rmtree(place / name, ignore_errors=True)
            else:
                with contextlib.suppress(OSError):
                    (place / name).unlink()


def _read(folder: Path, verify: bool) -> Opened:
    remedy = _remedy(folder)
    meta = _meta(folder)
    weights = model_weights.load(folder / MODEL)
    if meta["format_version"] == 1:
        return _read_1(folder, meta, weights, verify)
    if meta["fingerprint"] != weights.fingerprint:
        raise FolderError(
            f"{folder / META} says fingerprint {meta['fingerprint']}, {MODEL}/ has {weights.fingerprint}; {remedy}"
        )
    made_by = MadeBy(meta["fingerprint"], meta["encoder"])
    kind = {name: meta[name] for name in ("h", "k", "storage")} | {"levels": meta["levels"] and tuple(meta["levels"])}
    kind["similarity"] = meta.get("similarity", "cosine")
    wanted = {**kind, **made_by._asdict(), "rows": 0}
    parts, cells = [], cells_folder.read(folder, meta, weights, verify, remedy)
    for one in meta["segments"]:
        path = folder / SEGMENTS / _name(one["number"])
        try:
            if _digest_of_meta(folder, one["number"]) != one["meta"]:
                raise FolderError(f"{path / CODES_META} is not the one that {META} names")
            rows = codes_folder.read(path, verify).rows
        except FileNotFoundError:
            raise FolderError(f"{path} is missing; {remedy}") from None
        wanted["rows"], given = one["rows"], {**(rows.made_by._asdict() if rows.made_by else {}), "rows": len(rows)}
        given |= {name: getattr(rows, name) for name in kind}
        for name in wanted:
            if given.get(name) != wanted[name]:
                raise FolderError(
                    f"{folder / META} says {name} {wanted[name]!r}, {path} has {given.get(name)!r}; {remedy}"
                )
        grouping = None if cells is None else cells_folder.read_numbers(folder, one, len(cells), remedy)
        parts.append(Segment(rows, _removed(folder, one, remedy), one["number"], grouping))
    if not parts:
        parts = [Segment(convert.empty(**kind, made_by=made_by, ids=meta["ids"]))]
    try:
        segments = Segments(tuple(parts), Home(files.real(folder), sealed.seal(meta)), cells)
        _ = segments.rows
    except InputError as error:
        raise FolderError(f"{folder}: {error}; {remedy}") from None
    return Opened(segments, weights, meta["space"], meta["encoder"], meta.get("added"))


def _read_1(folder: Path, meta: dict[str, Any], weights: Weights, verify: bool) -> Opened:
    """Version 1: one codes folder; a home that is written anew as a whole."""
    rows = codes_folder.read(folder / CODES, verify).rows
    made_by = rows.made_by
    if made_by is None or made_by.fingerprint != weights.fingerprint:
        given = made_by.fingerprint if made_by else None
        raise FolderError(
            f"{folder / CODES} holds codes of the model {given}, not of the given one, {weights.fingerprint}; "
            f"{_remedy(folder)}"
        )
    for name, of_parts in made_by._asdict().items():
        if name in meta and meta[name] != of_parts:  # older folders do not say all
            raise FolderError(f"{folder / META} says {name} {meta[name]!r}, its parts {of_parts!r}; {_remedy(folder)}")
    return Opened(Segments((Segment(rows),)), weights, meta["space"], made_by.encoder)


def _meta(folder: Path) -> dict[str, Any]:
    """The fields of `index.json`, once each is seen to be what it must be."""
    remedy = _remedy(folder)
    if not folder.is_dir():
        raise FolderError(f"index folder {folder} does not exist; {remedy}")
    meta = sealed.read(folder / META, FORMAT_VERSION, remedy)
    try:
        check_choice("space", meta.get("space"), spaces.SPACES)
        if meta["format_version"] > 1:
            _check(meta)
    except (InputError, LookupError, TypeError, AttributeError) as error:
        raise FolderError(f"{folder / META} is damaged: {error}; {remedy}") from None
    return meta


def _check(meta: dict[str, Any]) -> None:
    check_range("h", meta["h"], 1, 2**32)
    check_range("k", meta["k"], 1, meta["h"])
    check_range("generation", meta["generation"], 1, 2**53)
    check_choice("storage", meta["storage"], STORAGES)
    check_choice("similarity", meta.get("similarity", "cosine"), SIMILARITIES)
    if meta["ids"] is not None:
        check_choice("ids", meta["ids"], ["<i8", "<u8", "utf8"])
    if not isinstance(meta.get("added"), str | None):
        raise InputError(f"added must be a hash, not {meta['added']!r}")
    if not (isinstance(meta["fingerprint"], str) and isinstance(meta["encoder"], str)):
        raise InputError(f"fingerprint and encoder must be texts, not {meta['fingerprint']!r} and {meta['encoder']!r}")
    if meta["levels"] is not None and not all(type(level) is float for level in meta["levels"]):
        raise InputError(f"levels must be numbers, not {str(meta['levels'])[:60]}")
    last = 0
    for one in meta["segments"]:
        check_range("number", one["number"], last + 1, 10**15)
        last = one["number"]
        check_range("rows", one["rows"], 1, 2**53)
        if not isinstance(one["meta"], str):
            raise InputError(f"meta must be a hash, not {one['meta']!r}")
        if one["removed"] is not None:
            check_range("removed rows", one["removed"]["rows"], 1, one["rows"])
            check_range("generation", one["removed"]["generation"], 1, meta["generation"])
            if not isinstance(one["removed"]["xxh3_128"], str):
                raise InputError(f"xxh3_128 must be a hash, not {one['removed']['xxh3_128']!r}")
    cells_folder.check(meta)


def _removed(folder: Path, said: dict[str, Any], remedy: str) -> Bool[np.ndarray, " n"] | None:
    """The bitmap of a segment, whose hash is always looked at: it has a bit a row."""
    if said["removed"] is None:
        return None
    path = folder / REMOVED / f"{_name(said['number'])}-{said['removed']['generation']}.npy"
    header = npy_header("|u1", (-(-said["rows"] // 8),))
    try:
        with files.open_regular(path) as file:
            size = os.fstat(file.fileno()).st_size
            if size != len(header) + -(-said["rows"] // 8):
                raise FolderError(f"{path} is damaged: it has {size} bytes for {said['rows']} rows; {remedy}")
            content = file.read()
    except FileNotFoundError:
        raise FolderError(f"{path} is missing; {remedy}") from None
    if xxhash.xxh3_128_hexdigest(content) != said["removed"]["xxh3_128"]:
        raise FolderError(f"{path} is damaged: its hash is not the one in {META}; {remedy}")
    bits = np.frombuffer(content, np.uint8, offset=len(header))
    return np.unpackbits(bits, count=said["rows"], bitorder="little").astype(bool)


def _digest_of_meta(folder: Path, number: int) -> str:
    """The hash of a segment's `meta.json`, which holds the hashes of its other files."""
    with files.open_regular(folder / SEGMENTS / _name(number) / CODES_META) as file:
        return files.digest(file, size=sealed.LARGEST).hexdigest()


def _name(number: int | None) -> str:
    return f"{number:06d}"


def _remedy(folder: Path) -> str:
    return f"make it anew (Index.save writes an index folder such as {folder})"
