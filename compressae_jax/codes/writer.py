"""A codes folder written piece by piece, which continues after any interruption; `folder` reads what it publishes.

The work lives in `<folder>.partial`. Each append goes to the ends of the files and is flushed to the disk before the
manifest counts it; what the manifest does not count is cut off. One rename publishes the finished folder.
"""

import json
import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xxhash
from jaxtyping import Float

from compressae_jax.codes import disk
from compressae_jax.codes.codes import Codes, checked, column_dtype
from compressae_jax.codes.layout import (
    FORMAT_VERSION,
    HEADER,
    MANIFEST,
    META,
    NAMES,
    TEXT_IDS,
    layout,
    npy_header,
    version_of,
)
from compressae_jax.codes.storage.packed import STORAGES, Packed, Packing, check_records, pack, storage_bits
from compressae_jax.notation import AnyArray, FolderError, InputError, check_choice, check_range


class Writer:
    """Appends rows of codes to a folder that appears, complete, at `finish`.

    `storage` is one of `packed.STORAGES`; where it is packed, `levels` are the magnitudes of `packed.Packing`.
    `header` goes into `meta.json` (model fingerprint, source summary, options: JSON-able). A writer on the same folder
    with the same sizes, levels and header continues at row `rows`; `resume=False` starts anew.

    Raises:
        InputError: another header than the partial folder was begun with, or levels that do not fit the storage.
        FolderError: something that is not a codes folder stands at either name, or the partial folder is damaged.
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
    ) -> None:
        check_choice("storage", storage, STORAGES)
        check_range("k", k, 1, h)
        self._packing = _packing(h, k, storage, levels)
        self.folder = Path(folder)
        self.partial = self.folder.with_name(self.folder.name + ".partial")
        self.rows = 0
        self._sizes: dict[str, Any] = {"d": d, "h": h, "k": k, "storage": storage}
        if self._packing is not None:
            self._sizes["levels"] = list(self._packing.levels)
        self._header = json.loads(json.dumps(header or {}))
        self._ids: str | None = None  # dtype
        self._digests: dict[str, xxhash.xxh3_128] = {}
        self._bytes: dict[str, int] = {}  # of data, without headers
        disk.check_replaceable(self.folder, NAMES)
        disk.check_replaceable(self.partial, NAMES)
        if resume and (self.partial / MANIFEST).is_file():
            self._resume()
        else:
            shutil.rmtree(self.partial, ignore_errors=True)
            self.partial.mkdir(parents=True)

    def append(
        self,
        codes: Codes | Packed,
        norms: Float[AnyArray, "b 2"] | None = None,
        ids: Sequence[Any] | np.ndarray | None = None,
    ) -> None:
        """Add rows, which are on the disk and counted when this returns; after an error none of them is.

        Packed rows have no norms.
        """
        if len(codes) == 0:
            return
        shard, dtype = self._shard(codes, norms, ids)
        digests = {name: self._digests[name].copy() if self.rows else xxhash.xxh3_128() for name in shard}
        for name, data in shard.items():
            self._write(name, self._bytes.get(name, 0), data)
            digests[name].update(data)
        self._commit(self.rows + len(codes), dtype, digests, {name: len(data) for name, data in shard.items()})

    def finish(self) -> None:
        """Publish the folder, with hashes of what the disk holds; calling it again after an interruption is safe.

        Raises:
            InputError: no row was appended.
            FolderError: a file does not hold what was appended.
        """
        if self.rows == 0:
            raise InputError(f"{self.folder}: there is no row to write")
        self._check_data()
        if self._ids is not None and self._ids != "<i8":
            self._write_text_ids()
        files = {}
        for name, (dtype, shape) in self._layout().items():
            self._write(name, -HEADER, npy_header(dtype, shape))
            path = self.partial / name
            files[name] = {"bytes": path.stat().st_size, "xxh3_128": disk.digest_file(path).hexdigest()}
        disk.write_json(self.partial / META, self._meta(files))
        disk.publish(self.partial, self.folder, NAMES)
        # Only now: without its manifest a partial folder is worth nothing.
        (self.folder / MANIFEST).unlink()
        (self.folder / TEXT_IDS).unlink(missing_ok=True)

    def discard(self) -> None:
        """Remove the partial folder: for work that can never be completed as it was begun."""
        shutil.rmtree(self.partial, ignore_errors=True)

    def _meta(self, files: dict[str, Any]) -> dict[str, Any]:
        storage, ids = self._sizes["storage"], {"ids": self._ids}
        sizes = {name: self._sizes[name] for name in ("h", "k", "d")}
        own = {"format_version": version_of(storage), "n": self.rows, **sizes}
        if self._packing is None:
            own["dtypes"] = {"columns": column_dtype(self._sizes["h"]).name, "values": storage, **ids}
        else:
            own |= {"storage": storage, "levels": self._sizes["levels"], "dtypes": ids}
        return {**self._header, **own, "files": files}

    def _layout(self) -> dict[str, tuple[str, tuple[int, ...]]]:
        return layout(self.rows, self._sizes["h"], self._sizes["k"], self._sizes["storage"], self._ids)

    def _shard(
        self, codes: Codes | Packed, norms: AnyArray | None, ids: Sequence[Any] | np.ndarray | None
    ) -> tuple[dict[str, bytes], str | None]:
        """The bytes that some rows add to each file, and the dtype of the ids so far."""
        arrays = self._float_arrays(codes, norms) if self._packing is None else self._records(codes, norms)
        shard = {name: array.tobytes() for name, array in arrays.items()}
        dtype = _ids_dtype(ids, len(codes), self._ids)
        if self.rows and (dtype is None) != (self._ids is None):
            raise InputError("ids must come with every append or with none")
        if dtype == "<i8":
            shard["ids.npy"] = np.asarray(ids).astype(dtype).tobytes()
        elif ids is not None:
            shard[TEXT_IDS] = "".join(json.dumps(str(some)) + "\n" for some in ids).encode()
        return shard, dtype

    def _float_arrays(self, codes: Codes | Packed, norms: AnyArray | None) -> dict[str, np.ndarray]:
        h, k = self._sizes["h"], self._sizes["k"]
        if isinstance(codes, Packed):
            raise InputError(f"rows must be codes for storage {self._sizes['storage']!r}, not packed ones")
        norms = np.asarray(norms)
        if codes.h != h or codes.k != k or norms.shape != (len(codes), 2):
            raise InputError(
                f"rows must have h={h}, k={k}, norms (b, 2); not h={codes.h}, k={codes.k}, norms {norms.shape}"
            )
        with np.errstate(over="ignore"):  # what is too large for float16 is named below
            values = np.asarray(codes.values).astype(self._sizes["storage"])
        columns = np.asarray(codes.columns)
        checked(values, columns, h)
        return {"columns.npy": columns.astype(column_dtype(h)), "values.npy": values, "norms.npy": norms.astype("<f4")}

    def _records(self, codes: Codes | Packed, norms: AnyArray | None) -> dict[str, np.ndarray]:
        assert self._packing is not None
        if norms is not None:
            raise InputError(f"norms have no place in storage {self._sizes['storage']!r}; give None")
        if isinstance(codes, Codes):
            codes = pack(codes, self._packing)
        elif codes.packing != self._packing:
            raise InputError(f"rows must be packed by {self._packing}, not by {codes.packing}")
        else:
            check_records(codes)
        return {"records.npy": codes.records}

    def _write(self, name: str, at: int, data: bytes) -> None:
        """Put bytes at an offset of a file's data (its header lies below 0); they are on the disk when this returns."""
        number = os.open(self.partial / name, os.O_RDWR | os.O_CREAT, 0o666)
        with open(number, "r+b") as file:
            file.seek(_start(name) + at)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())

    def _commit(self, rows: int, ids: str | None, digests: dict[str, xxhash.xxh3_128], added: dict[str, int]) -> None:
        sizes = {name: self._bytes.get(name, 0) + more for name, more in added.items()}
        files = {name: {"bytes": sizes[name], "xxh3_128": digests[name].hexdigest()} for name in added}
        begun = {"sizes": self._sizes, "header": self._header}
        version = version_of(self._sizes["storage"])
        fields = {"format_version": version, **begun, "rows": rows, "ids": ids, "files": files}
        disk.write_json(self.partial / MANIFEST, fields)
        self.rows, self._ids, self._digests, self._bytes = rows, ids, digests, sizes

    def _resume(self) -> None:
        """Take up what the manifest counts, once the files are seen to hold it."""
        manifest = disk.read_json(self.partial / MANIFEST, FORMAT_VERSION, self._anew)
        there, here = {**manifest["sizes"], **manifest["header"]}, {**self._sizes, **self._header}
        different = [name for name in {**there, **here} if there.get(name) != here.get(name)]
        if different:
            said = "; ".join(f"{name} {there.get(name)!r}, now {here.get(name)!r}" for name in different)
            raise InputError(f"{self.partial} was begun with {said}; run that command again, or {self._anew}")
        self.rows, self._ids = manifest["rows"], manifest["ids"]
        self._bytes = {name: file["bytes"] for name, file in manifest["files"].items() if name in NAMES}
        self._digests = {name: xxhash.xxh3_128() for name in self._bytes}
        self._check_data({name: file["xxh3_128"] for name, file in manifest["files"].items()})

    @property
    def _anew(self) -> str:
        return f"remove {self.partial} to start anew"

    def _check_data(self, wanted: dict[str, str] | None = None) -> None:
        """Raise FolderError unless each file begins with the data that was counted."""
        wanted = wanted or {name: digest.hexdigest() for name, digest in self._digests.items()}
        for name, size in self._bytes.items():
            path = self.partial / name
            if not path.is_file():
                raise FolderError(f"{path} is missing; {self._anew}")
            self._digests[name] = disk.digest_file(path, _start(name), size)
            if self._digests[name].hexdigest() != wanted[name]:
                raise FolderError(
                    f"{path} is damaged: it does not hold the {self.rows} rows written so far; {self._anew}"
                )
            os.truncate(path, _start(name) + size)

    def _write_text_ids(self) -> None:
        """`ids.npy` from the lines of text: only now is their greatest length known."""
        with (self.partial / "ids.npy").open("wb") as file:
            file.seek(HEADER)
            for ids in _lines(self.partial / TEXT_IDS, 2**16):
                file.write(np.array(ids, self._ids).tobytes())


def _packing(h: int, k: int, storage: str, levels: Sequence[float] | None) -> Packing | None:
    """How rows are packed, None where they are arrays of floats."""
    bits = storage_bits(storage)
    if (bits is None) != (levels is None):
        raise InputError(f"levels must be given for packed storage and for no other, not {levels} for {storage!r}")
    return None if bits is None or levels is None else Packing(h, k, bits, tuple(levels))


def _start(name: str) -> int:
    """Where the data of a file begins."""
    return HEADER if name.endswith(".npy") else 0


def _ids_dtype(ids: Sequence[Any] | np.ndarray | None, b: int, so_far: str | None) -> str | None:
    """'<i8', or '<U' with the greatest length up to now.

    Raises:
        InputError: ids that are not b strings or b integers, or of another kind than before.
    """
    if ids is None:
        return None
    if len(ids) != b:
        raise InputError(f"ids must be {b}, one a row, not {len(ids)}")
    array = np.asarray(ids)
    if array.dtype.kind == "O" and all(isinstance(some, str) for some in ids):
        array = array.astype(str)
    if array.ndim != 1 or array.dtype.kind not in "iuU" or array.dtype == np.uint64:
        raise InputError(f"ids must be strings or 64-bit integers, not {array.dtype} of shape {array.shape}")
    dtype = "<i8" if array.dtype.kind in "iu" else f"<U{max(1, *map(len, array))}"
    if so_far is None:
        return dtype
    if (so_far == "<i8") != (dtype == "<i8"):
        raise InputError(f"ids must be of one kind: {so_far} so far, now {dtype}")
    return max(so_far, dtype, key=lambda some: int(some[2:]))


def _lines(path: Path, rows: int) -> Iterator[list[str]]:
    """The strings of a file with a JSON string a line, some rows at a time."""
    some: list[str] = []
    with path.open(encoding="ascii") as file:
        for line in file:
            some.append(json.loads(line))
            if len(some) == rows:
                yield some
                some = []
    if some:
        yield some
