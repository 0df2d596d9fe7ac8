"""A codes folder written piece by piece, which continues after any interruption; `folder` reads what it publishes.

The work lives in `<folder>.partial`, under the lock of `<folder>`. Each append goes to the ends of the files and is
flushed to the disk before the manifest counts it; what the manifest does not count is cut off. One exchange of names
publishes the finished folder; what it replaces, and what a killed writer left, goes away.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import xxhash
from jaxtyping import Float

from compressae_jax.base import files, sealed
from compressae_jax.base.arrays import pieces
from compressae_jax.codes import ids as ids_of
from compressae_jax.codes.codes import check_norms, column_dtype
from compressae_jax.codes.ids import TextIds
from compressae_jax.codes.layout import (
    FORMAT_VERSION,
    HEADER,
    MANIFEST,
    META,
    NAMES,
    OFFSETS,
    TEXT,
    UTF8,
    layout,
    npy_header,
    version_of,
)
from compressae_jax.codes.rows import SIMILARITIES, MadeBy, Rows
from compressae_jax.codes.storage.convert import stored
from compressae_jax.codes.storage.kinds import FLOATS, PACKINGS, STORAGES, packing
from compressae_jax.notation import AnyArray, FolderError, InputError, check_choice, check_range

PIECE = 2**16  # rows written at once


class Writer:
    """Appends rows to a folder that appears, complete, at `finish`; a context that ends with `close`.

    `storage` is one of `kinds.STORAGES`; where it is packed, `levels` are the magnitudes of `packed.Packing`.
    `similarity` is that of the rows.
    `header` goes into `meta.json` (model fingerprint, encoder, source summary, options: JSON-able); rows that know who
    made them add that. A writer on the same folder with the same sizes, levels and header continues at row `rows`;
    `resume=False` starts anew.

    Raises:
        InputError: another header than the partial folder was begun with, or levels that do not fit the storage.
        FolderError: something that this program did not make stands at either name, or the partial folder is damaged.
        BusyError: another process writes the folder.
    """

    def __init__(
        self,
        folder: str | os.PathLike,
        d: int,
        h: int,
        k: int,
        storage: str = "float16",
        header: dict[str, Any] | None = None,
        resume: bool = True,
        levels: Sequence[float] | None = None,
        similarity: str = "cosine",
    ) -> None:
        self._work = _Work(d, h, k, storage, header, levels, similarity)
        self.folder = files.real(files.check_out(folder))
        self.partial = partial_of(self.folder)
        with contextlib.ExitStack() as held:
            held.enter_context(files.locked(self.folder))
            _clear(self.folder)
            files.check_replaceable(self.folder, NAMES, META)
            files.check_replaceable(self.partial, NAMES, MANIFEST)
            self._work.folder = self.partial
            if resume and (self.partial / MANIFEST).is_file():
                self._work.resume()
            else:
                self._begin()
            self._held = held.pop_all()

    def _begin(self) -> None:
        """An empty partial folder, which bears our mark from its first moment on; an older one goes away."""
        files.remove(self.partial)
        aside = files.aside_of(self.partial)
        aside.mkdir()
        sealed.write(aside / MANIFEST, self._work.manifest())
        files.sync_tree(aside)
        files.exchange(aside, self.partial)

    @property
    def rows(self) -> int:
        """Rows that are on the disk and counted."""
        return self._work.rows

    def append(self, rows: Rows, norms: Float[AnyArray, "b 2"] | None = None, ids: Any = None) -> None:
        """Add rows, which are on the disk and counted when this returns; after an error none of them is.

        `norms` and `ids` may be given beside rows that do not have them.

        Raises:
            InputError: rows of another width, storage, origin or kind of ids, or that are not in range.
        """
        rows = _given(rows, norms, ids)
        if len(rows) == 0:
            return
        self._work.add(rows)

    def finish(self) -> None:
        """Publish the folder, with hashes of what the disk holds; calling it again after an interruption is safe.

        Raises:
            InputError: no row was appended.
            FolderError: a file does not hold what was appended.
        """
        if self.rows == 0:
            raise InputError(f"{self.folder}: there is no row to write")
        self._work.complete()
        files.sync_tree(self.partial)
        files.check_replaceable(self.folder, NAMES, META)
        files.exchange(self.partial, self.folder)
        files.remove(self.partial)  # what stood at the name before
        _clear(self.folder)
        self.close()

    def discard(self) -> None:
        """Remove the partial folder: for work that can never be completed as it was begun."""
        files.remove(self.partial)
        self.close()

    def close(self) -> None:
        """Let others write the folder; what was appended stays, to be continued."""
        self._held.close()

    def __enter__(self) -> Writer:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def write(
    folder: str | os.PathLike,
    rows: Rows,
    norms: Float[AnyArray, "n 2"] | None = None,
    ids: Any = None,
    *,
    d: int,
    header: dict[str, Any] | None = None,
) -> None:
    """Write a codes folder at once, complete or not at all; an older codes folder of that name is replaced.

    `norms` and `ids` may be given beside rows that do not have them.

    Raises:
        FolderError: something that this program did not make stands at that name.
        BusyError: another process writes it.
    """
    rows = _given(rows, norms, ids)
    write_pieces(folder, pieces(rows, PIECE), d=d, header=header)


def write_pieces(
    folder: str | os.PathLike, some: Iterable[Rows], *, d: int, header: dict[str, Any] | None = None
) -> int:
    """`write` rows of one kind that come piece by piece, so that memory holds one piece; gives their number.

    Raises:
        InputError: pieces of different kinds, or no row.
        FolderError: something that this program did not make stands at that name.
        BusyError: another process writes it.
    """
    every = (rows for rows in some if len(rows))
    first = next(every, None)
    if first is None:
        raise InputError(f"{folder}: there is no row to write")
    work = _Work(d, first.h, first.k, first.storage, header, first.levels, first.similarity)
    with files.replacing(folder, NAMES, META) as aside:
        work.folder = aside
        for rows in itertools.chain([first], every):
            work.add(rows, count=False)
        work.complete()
    return work.rows


def partial_of(folder: Path) -> Path:
    """Where the work for a folder lives until it is published."""
    return folder.with_name(folder.name + ".partial")


def begun(folder: str | os.PathLike) -> dict[str, Any] | None:
    """The header that work for a folder was begun with, None where none is.

    Raises:
        FolderError: a manifest that is damaged.
    """
    partial = partial_of(files.real(folder))
    if not (partial / MANIFEST).is_file():
        return None
    header = sealed.read(partial / MANIFEST, FORMAT_VERSION, f"remove {partial} to start anew").get("header")
    if not isinstance(header, dict):
        raise FolderError(f"{partial / MANIFEST} is damaged: it has no header; remove {partial} to start anew")
    return header


def sweep(folder: Path) -> None:
    """Remove what a killed writer left of a folder that is complete, where any of it is seen and nobody is at it."""
    partial = partial_of(folder)
    seen = files.left(folder) or files.left(partial) or (folder / MANIFEST).exists()
    if seen or ((partial / META).exists() and not (partial / MANIFEST).exists()):
        with contextlib.suppress(FolderError):  # what is not ours stays
            files.sweep(folder, lambda: _clear(folder))


def _clear(folder: Path) -> None:
    """Remove what a killed writer left of a published folder; the caller holds the lock.

    That is: names aside, the manifest, and under the partial name the folder that was replaced, which has no manifest.
    """
    partial = partial_of(folder)
    for path in (folder, partial):
        if path.parent.is_dir():
            files.remove_leftovers(path)
    if (folder / META).is_file() and not folder.is_symlink():
        for name in (MANIFEST, *_asides(folder)):
            (folder / name).unlink(missing_ok=True)
    if (partial / META).is_file() and not (partial / MANIFEST).exists():
        files.check_replaceable(partial, NAMES, META)
        files.remove(partial)


def _asides(folder: Path) -> list[str]:
    return [name for name in os.listdir(folder) if name.startswith(files.PREFIX)]


def _given(rows: Rows, norms: AnyArray | None, ids: Any) -> Rows:
    """Rows with the norms and ids that were given beside them."""
    if norms is not None:
        if rows.levels is not None:
            raise InputError(f"norms have no place in storage {rows.storage!r}; give None")
        rows = dataclasses.replace(rows.codes(), norms=norms)
    if ids is not None:
        rows = rows.like(rows.arrays(), ids_of.as_ids(ids, len(rows)))
    return rows


class _Counted(NamedTuple):
    """What the files of a folder in the making hold for certain."""

    rows: int
    ids: str | None  # '<i8', '<u8' or 'utf8'
    made_by: MadeBy | None
    digests: dict[str, xxhash.xxh3_128]  # of each file's data, without its header
    sizes: dict[str, int]  # bytes of the same


class _Work:
    """The growing files of one folder."""

    def __init__(
        self,
        d: int,
        h: int,
        k: int,
        storage: str,
        header: dict[str, Any] | None,
        levels: Sequence[float] | None,
        similarity: str,
    ) -> None:
        check_choice("storage", storage, STORAGES)
        check_choice("similarity", similarity, SIMILARITIES)
        check_range("k", k, 1, h)
        if (storage in PACKINGS) != (levels is not None):
            raise InputError(f"levels must be given for packed storage and for no other, not {levels} for {storage!r}")
        self.folder = Path()
        self._sizes: dict[str, Any] = {"d": d, "h": h, "k": k, "storage": storage}
        if levels is not None:
            self._sizes["levels"] = list(packing(storage, h, k, levels).levels)
        if similarity != "cosine":
            self._sizes["similarity"] = similarity
        self._similarity = similarity
        self._header = json.loads(json.dumps(header or {}))
        self._counted = _Counted(0, None, None, {}, {})

    @property
    def rows(self) -> int:
        """Rows that were added."""
        return self._counted.rows

    def add(self, rows: Rows, count: bool = True) -> None:
        """Put rows at the ends of the files, and count them in the manifest unless all is written in one go."""
        made_by = self._made_by_of(rows)
        shard, ids = self._shard(rows)
        so_far = self._counted
        digests = {name: so_far.digests[name].copy() if self.rows else xxhash.xxh3_128() for name in shard}
        sizes = {name: so_far.sizes.get(name, 0) for name in shard}
        for name, data in shard.items():
            self._write(name, sizes[name], data, flush=count)
            digests[name].update(data)
            sizes[name] += data.nbytes
        counted = _Counted(self.rows + len(rows), ids, made_by, digests, sizes)
        if count:
            sealed.replace(self.folder / MANIFEST, self.manifest(counted))
        self._counted = counted

    def complete(self) -> None:
        """Headers and `meta.json`, once the files are seen to hold what was added."""
        found = {}
        for name, (dtype, shape) in self._layout().items():
            self._write(name, -HEADER, npy_header(dtype, shape))
        for name in self._counted.sizes:
            found[name] = self._check_data(name, self._counted.digests[name].hexdigest())
        for name in _asides(self.folder):
            (self.folder / name).unlink()
        sealed.write(self.folder / META, self._meta(found))

    def manifest(self, counted: _Counted | None = None) -> dict[str, Any]:
        """What is counted, with the hashes of it."""
        rows, ids, made_by, digests, sizes = counted or self._counted
        return {
            "format_version": FORMAT_VERSION,
            "sizes": self._sizes,
            "header": self._header,
            "made_by": made_by,
            "rows": rows,
            "ids": ids,
            "files": {name: {"bytes": sizes[name], "xxh3_128": digests[name].hexdigest()} for name in sizes},
        }

    def resume(self) -> None:
        """Take up what the manifest counts, once the files are seen to hold it."""
        path = self.folder / MANIFEST
        manifest = sealed.read(path, FORMAT_VERSION, self._anew)
        try:
            there, here = {**manifest["sizes"], **manifest["header"]}, {**self._sizes, **self._header}
            counted = {name: (said["bytes"], said["xxh3_128"]) for name, said in manifest["files"].items()}
            rows, ids, made_by = manifest["rows"], manifest["ids"], manifest.get("made_by")
            made_by = None if made_by is None else MadeBy(*made_by)
            check_range("rows", rows, 0, 2**53)
            for name, (size, _) in counted.items():
                check_choice("files", name, NAMES)
                check_range(f"bytes of {name}", size, 0, 2**53)
        except (InputError, LookupError, TypeError, AttributeError) as error:
            raise FolderError(f"{path} is damaged: {error}; {self._anew}") from None
        different = [name for name in {**there, **here} if there.get(name) != here.get(name)]
        if different:
            said = "; ".join(f"{name} {there.get(name)!r}, now {here.get(name)!r}" for name in different)
            raise InputError(f"{self.folder} was begun with {said}; run that command again, or {self._anew}")
        if ids not in (None, "<i8", "<u8", TEXT):
            raise InputError(f"{self.folder} was begun by an older version, which wrote ids otherwise; {self._anew}")
        sizes = {name: size for name, (size, _) in counted.items()}
        digests = {name: xxhash.xxh3_128() for name in sizes}
        self._counted = _Counted(rows, ids, made_by, digests, sizes)
        for name, (_, wanted) in counted.items():
            self._check_data(name, wanted)

    def _shard(self, rows: Rows) -> tuple[dict[str, np.ndarray], str | None]:
        """The bytes that some rows add to each file, and the kind of the ids."""
        h, k = self._sizes["h"], self._sizes["k"]
        if rows.h != h or rows.k != k:
            raise InputError(f"rows must have h={h}, k={k}, not h={rows.h}, k={rows.k}")
        rows = stored(rows, self._sizes["storage"], self._sizes.get("levels"), self._similarity)
        if rows.similarity != self._similarity:
            raise InputError(f"rows must be for similarity {self._similarity!r}, not {rows.similarity!r}")
        arrays = {name: np.asarray(array) for name, array in rows.arrays().items()}
        if rows.levels is None:
            if rows.norms is None:
                raise InputError(f"rows must have norms (b, 2) for storage {rows.storage!r}; rows.with_norms has them")
            check_norms(arrays["norms"], len(rows))
            arrays["columns"] = arrays["columns"].astype(column_dtype(h), copy=False)
            arrays["norms"] = arrays["norms"].astype("<f4", copy=False)
            if rows.lengths is not None:
                arrays["lengths"] = arrays["lengths"].astype("<f4", copy=False)
        shard: dict[str, np.ndarray] = {f"{name}.npy": np.ascontiguousarray(array) for name, array in arrays.items()}
        return self._with_ids(shard, rows)

    def _with_ids(self, shard: dict[str, np.ndarray], rows: Rows) -> tuple[dict[str, np.ndarray], str | None]:
        ids = None if rows.ids is None else ids_of.as_ids(rows.ids, len(rows))
        kind = None if ids is None else TEXT if isinstance(ids, TextIds) else np.dtype(ids.dtype).str
        if self.rows and (kind is None) != (self._counted.ids is None):
            raise InputError("ids must come with every append or with none")
        if self.rows and kind != self._counted.ids:
            raise InputError(f"ids must be of one kind: {self._counted.ids} so far, now {kind}")
        if isinstance(ids, TextIds):
            start, stop = int(ids.offsets[0]), int(ids.offsets[-1])
            offsets = np.asarray(ids.offsets) - start + self._counted.sizes.get(UTF8, 0)
            shard[OFFSETS] = np.ascontiguousarray(offsets[1:] if self.rows else offsets)
            shard[UTF8] = np.ascontiguousarray(ids.utf8[start:stop])
        elif ids is not None:
            shard["ids.npy"] = np.ascontiguousarray(ids)
        return shard, kind

    def _made_by_of(self, rows: Rows) -> MadeBy | None:
        """Who made the rows so far and these.

        Raises:
            InputError: rows of two models, or by two encoders.
        """
        so_far = self._counted.made_by if self.rows else rows.made_by
        said = {} if rows.made_by is None else rows.made_by._asdict()
        differ = [name for name in said if self._header.get(name, said[name]) != said[name]]
        if differ:
            raise InputError(f"rows were made by {differ[0]} {said[differ[0]]!r}, not {self._header[differ[0]]!r}")
        if so_far != rows.made_by:
            raise InputError(f"rows of one folder must be made by one model and encoder: {so_far}, now {rows.made_by}")
        return so_far

    def _write(self, name: str, at: int, data: bytes | np.ndarray, flush: bool = True) -> None:
        """Put bytes at an offset of a file's data (its header lies below 0); flushed, they are on the disk."""
        number = os.open(self.folder / name, os.O_RDWR | os.O_CREAT, 0o666)
        with open(number, "r+b") as file:
            file.seek(_start(name) + at)
            file.write(data)
            file.flush()
            if flush:
                os.fsync(file.fileno())

    def _check_data(self, name: str, wanted: str) -> dict[str, Any]:
        """The bytes and hash of a file as it stands in a finished folder, cut off behind the data that was counted.

        Raises:
            FolderError: a file that does not hold that data.
        """
        path, start = self.folder / name, _start(name)
        try:
            with files.open_regular(path) as file:
                whole, data = xxhash.xxh3_128(file.read(start)), self._counted.digests[name]
                data.reset()
                left = self._counted.sizes[name]
                while left > 0 and (some := file.read(min(left, files.PIECE))):
                    whole.update(some)
                    data.update(some)
                    left -= len(some)
        except FileNotFoundError:
            raise FolderError(f"{path} is missing; {self._anew}") from None
        if data.hexdigest() != wanted:
            raise FolderError(f"{path} is damaged: it does not hold the {self.rows} rows written so far; {self._anew}")
        os.truncate(path, start + self._counted.sizes[name])
        return {"bytes": start + self._counted.sizes[name], "xxh3_128": whole.hexdigest()}

    def _meta(self, found: dict[str, Any]) -> dict[str, Any]:
        storage, h = self._sizes["storage"], self._sizes["h"]
        version = version_of(storage, self._counted.ids, self._similarity)
        made_by = {} if self._counted.made_by is None else self._counted.made_by._asdict()
        own: dict[str, Any] = {"format_version": version, "n": self.rows}
        own |= {name: self._sizes[name] for name in ("h", "k", "d")}
        floats = {"columns": column_dtype(h).name, "values": storage} if storage in FLOATS else {}
        own["dtypes"] = {**floats, "ids": self._counted.ids}
        if version > 1:
            own["storage"] = storage
        if version > 3:
            own["similarity"] = self._similarity
        if "levels" in self._sizes:
            own["levels"] = self._sizes["levels"]
        return {**made_by, **self._header, **own, "files": found}

    def _layout(self) -> dict[str, tuple[str, tuple[int, ...]]]:
        return layout(
            self.rows,
            self._sizes["h"],
            self._sizes["k"],
            self._sizes["storage"],
            self._counted.ids,
            self._similarity,
            self._sizes.get("levels"),
        )

    @property
    def _anew(self) -> str:
        return f"remove {self.folder} to start anew"


def _start(name: str) -> int:
    """Where the data of a file begins."""
    return HEADER if name.endswith(".npy") else 0
