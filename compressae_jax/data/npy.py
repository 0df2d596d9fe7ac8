"""`.npy`, and `.npz` with one array: mapped where the bytes lie plain, streamed where they are deflated."""

import contextlib
import io
import struct
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.lib import format as npy_format

from compressae_jax.data.mapped import Mapped
from compressae_jax.data.sources import Block, Source, Streamed, check_dtype, check_shape, float32
from compressae_jax.notation import InputError

LONGEST_HEADER = 2**16  # bytes; one of a matrix takes 128
_READERS = {(1, 0): npy_format.read_array_header_1_0, (2, 0): npy_format.read_array_header_2_0}


class Header(NamedTuple):
    """What an .npy says before its data."""

    shape: tuple[int, ...]
    fortran_order: bool
    dtype: np.dtype
    length: int  # of the header itself, in bytes

    @property
    def total(self) -> int:
        """Bytes that header and data take."""
        size = self.dtype.itemsize
        for axis in self.shape:  # Python's integers: a hostile shape must not wrap around
            size *= int(axis)
        return self.length + size


def open_npy(path: Path) -> Source:
    """An .npy by memory map."""
    with path.open("rb") as file:
        header = read_header(str(path), file.read(LONGEST_HEADER), path.stat().st_size)
    return Mapped(path, "npy", header.shape, header.dtype, header.length, header.fortran_order)


def open_npz(path: Path) -> Source:
    """An .npz that holds one array: by memory map, or as a stream if it is compressed."""
    with _damage(path), zipfile.ZipFile(path) as archive:
        member = _only_member(path, archive)
        with archive.open(member) as file:
            header = read_header(f"{path} ({member.filename})", file.read(LONGEST_HEADER), member.file_size)
        if member.compress_type != zipfile.ZIP_STORED:
            return Deflated(path, member.filename, header)
        offset = _data_offset(path, member) + header.length
    return Mapped(path, "npz", header.shape, header.dtype, offset, header.fortran_order)


class Deflated(Streamed):
    """The one array of a compressed .npz, decompressed piece by piece from its start."""

    def __init__(self, path: Path, member: str, header: Header):
        super().__init__(str(path), "npz, compressed", header.shape, header.dtype, path)
        if header.fortran_order:
            raise InputError(f"{path} is compressed and in Fortran order, so no row lies together; save it in C order")
        self._path, self._member, self._header = path, member, header

    def pieces(self, start: int) -> Iterator[Block]:
        """Rows from `start` on; those before it are decompressed and thrown away."""
        row_bytes = self.width * self._header.dtype.itemsize
        with _damage(self._path), zipfile.ZipFile(self._path) as archive, archive.open(self._member) as file:
            file.seek(self._header.length + start * row_bytes)
            for first in range(start, self.rows, self.piece_rows):
                rows = min(self.piece_rows, self.rows - first)
                data = file.read(rows * row_bytes)
                if len(data) != rows * row_bytes:
                    raise InputError(f"{self._path} is truncated: its data ends after row {first}")
                yield float32(np.frombuffer(data, self._header.dtype).reshape(rows, self.width))


def read_header(name: str, start: bytes, size: int) -> Header:
    """The header of an .npy of `size` bytes, seen to describe a 2-d array of floats that fills these bytes exactly.

    `start` is the file's first LONGEST_HEADER bytes.
    """
    head = io.BytesIO(start)
    try:
        version = npy_format.read_magic(head)
        if version not in _READERS:
            raise InputError(f"{name} has .npy version {version}, wanted 1.0 or 2.0")
        shape, fortran_order, dtype = _READERS[version](head)
    except InputError:
        raise
    except ValueError as error:
        raise InputError(f"{name} is not a whole .npy: {error}") from None
    check_shape(name, shape)
    header = Header(shape, fortran_order, check_dtype(name, dtype), head.tell())
    if header.total != size:
        short = "truncated" if size < header.total else "followed by other bytes"
        raise InputError(f"{name} is {short}: shape {shape} of {dtype} makes {header.total} bytes, the file has {size}")
    return header


def _only_member(path: Path, archive: zipfile.ZipFile) -> zipfile.ZipInfo:
    members = archive.infolist()
    if len(members) != 1:
        names = ", ".join(member.filename.removesuffix(".npy") for member in members[:10])
        raise InputError(f"{path} must hold one array, not {len(members)}: {names}")
    return members[0]


def _data_offset(path: Path, member: zipfile.ZipInfo) -> int:
    """Where a stored member's bytes start: its local header may differ in length from the central one."""
    with path.open("rb") as file:
        file.seek(member.header_offset)
        local = struct.unpack("<4s22xHH", file.read(30))
    offset = member.header_offset + 30 + local[1] + local[2]
    if member.compress_size != member.file_size or offset + member.file_size > path.stat().st_size:
        raise InputError(f"{path} is truncated or damaged: {member.filename} does not fit in it")
    return offset


@contextlib.contextmanager
def _damage(path: Path) -> Iterator[None]:
    """What zipfile raises about damage, as InputError with the file's name."""
    try:
        yield
    except (zipfile.BadZipFile, zlib.error, EOFError, struct.error, RuntimeError) as error:
        raise InputError(f"{path} is not a whole .npz: {error}") from error
