"""`.npy` and `.npz`: read where the bytes lie plain, streamed where they are deflated."""

import contextlib
import errno
import io
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.lib import format as npy_format

from compressae_jax.data.mapped import Mapped
from compressae_jax.data.opened import File, Watched
from compressae_jax.data.sources import Block, Source, Streamed, check_dtype, check_shape, float32, only_matrix
from compressae_jax.notation import InputError, check_choice

LONGEST_HEADER = 2**16  # bytes; one of a matrix takes 128
_MOST_MEMBERS = 1000
# What Python's parser, which NumPy asks, has to say about a header that is none.
NO_HEADER = (
    *(ValueError, SyntaxError, TypeError, LookupError, ArithmeticError, AttributeError),
    *(tokenize.TokenError, RecursionError, MemoryError),
)
# `RuntimeError` is a password, or a way to compress that is not known.
DAMAGE = (zipfile.BadZipFile, zlib.error, EOFError, struct.error, RuntimeError, ValueError, OverflowError, KeyError)
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


def open_npy(path: Path, scale: float | None = None) -> Source:
    """An .npy, read where its numbers lie; integers of a byte are multiplied by their `scale`."""
    file = File(path)
    with file.open() as opened:
        header = read_header(str(path), opened.read(LONGEST_HEADER), file.size, scaled=scale is not None)
    return Mapped(file, "npy", header.shape, header.dtype, header.length, header.fortran_order, scale=scale)


def open_npz(path: Path, key: str | None = None) -> Source:
    """The one 2-d array of an .npz, or the one named `key`: where it lies, or as a stream if it is compressed."""
    file = File(path)
    with _archive(file) as (archive, opened):
        members = _members(path, archive)
        if key is not None:
            check_choice(f"key ({path})", key, members)
        elif len(members) == 1:
            key = next(iter(members))
        else:
            key = only_matrix(path, {name: _axes(path, archive, one) for name, one in members.items()}, "arrays")
        member = members[key]
        with archive.open(member) as array:
            header = read_header(f"{path} ({member.filename})", array.read(LONGEST_HEADER), member.file_size)
        if member.compress_type == zipfile.ZIP_DEFLATED:
            return Deflated(file, key, member.filename, header)
        offset = _data_offset(file, opened, member) + header.length
    return Mapped(file, "npz", header.shape, header.dtype, offset, header.fortran_order, key)


class Deflated(Streamed):
    """An array of a compressed .npz, decompressed piece by piece from its start."""

    def __init__(self, file: File, key: str, member: str, header: Header):
        super().__init__(str(file.path), "npz, compressed", header.shape, header.dtype, file)
        if header.fortran_order:
            raise InputError(
                f"{file.path} is compressed and in Fortran order, so no row lies together; save it in C order"
            )
        self._file, self._key, self._member, self._header = file, key, member, header

    def selection(self) -> list[str]:
        """The array's name."""
        return [self._key]

    def pieces(self, start: int) -> Iterator[Block]:
        """Rows from `start` on; those before it are decompressed and thrown away."""
        row_bytes = self.width * self._header.dtype.itemsize
        with _archive(self._file) as (archive, _), archive.open(self._member) as array:
            array.seek(self._header.length + start * row_bytes)
            for first in range(start, self.rows, self.piece_rows):
                rows = min(self.piece_rows, self.rows - first)
                data = array.read(rows * row_bytes)
                if len(data) != rows * row_bytes:
                    raise InputError(f"{self._file.path} is truncated: its data ends after row {first}")
                yield float32(np.frombuffer(data, self._header.dtype).reshape(rows, self.width))


def read_header(name: str, start: bytes, size: int, scaled: bool = False) -> Header:
    """The header of an .npy of `size` bytes, seen to describe a 2-d array of floats that fills these bytes exactly.

    `start` is the file's first LONGEST_HEADER bytes. Numbers that have a scale may be integers of a byte.
    """
    shape, fortran_order, dtype, length = _fields(name, start)
    check_shape(name, shape)
    header = Header(shape, fortran_order, check_dtype(name, dtype, scaled), length)
    if header.total != size:
        short = "truncated" if size < header.total else "followed by other bytes"
        raise InputError(f"{name} is {short}: shape {shape} of {dtype} makes {header.total} bytes, the file has {size}")
    return header


def _fields(name: str, start: bytes) -> tuple[tuple[int, ...], bool, np.dtype, int]:
    """Shape, whether in Fortran order, dtype, and where the data start."""
    head = io.BytesIO(start)
    try:
        version = npy_format.read_magic(head)
        if version not in _READERS:
            raise InputError(f"{name} has .npy version {version}, wanted 1.0 or 2.0")
        shape, fortran_order, dtype = _READERS[version](head)
    except InputError:
        raise
    except NO_HEADER as error:
        raise InputError(f"{name} is not a whole .npy: {str(error)[:200] or type(error).__name__}") from None
    if not all(type(axis) is int and axis >= 0 for axis in shape):
        raise InputError(f"{name} is not a whole .npy: shape {str(shape)[:200]}")
    return shape, fortran_order, dtype, head.tell()


def _axes(path: Path, archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> int:
    """How many axes an array has."""
    with archive.open(member) as file:
        return len(_fields(f"{path} ({member.filename})", file.read(LONGEST_HEADER))[0])


def _members(path: Path, archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    """The arrays of an archive by name, compressed, if at all, as NumPy does it: other ways know no small pieces."""
    members = archive.infolist()
    if not 1 <= len(members) <= _MOST_MEMBERS:
        raise InputError(f"{path} holds {len(members)} arrays, wanted 1 to {_MOST_MEMBERS}")
    for member in members:
        if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise InputError(f"{path} is compressed in another way than NumPy's (method {member.compress_type})")
    return {member.filename.removesuffix(".npy"): member for member in members}


def _data_offset(file: File, opened: Watched, member: zipfile.ZipInfo) -> int:
    """Where a stored member's bytes start: its local header may differ in length from the central one."""
    opened.seek(member.header_offset)
    local = struct.unpack("<4s22xHH", opened.read(30))
    offset = member.header_offset + 30 + local[1] + local[2]
    if member.compress_size != member.file_size or offset + member.file_size > file.size:
        raise InputError(f"{file.path} is truncated or damaged: {member.filename} does not fit in it")
    return offset


@contextlib.contextmanager
def _archive(file: File) -> Iterator[tuple[zipfile.ZipFile, Watched]]:
    """The archive and its open file; what zipfile raises about damage becomes an InputError with the file's name."""
    with file.open() as opened:
        watched = Watched(opened)
        try:
            with zipfile.ZipFile(watched) as archive:  # type: ignore[call-overload]
                yield archive, watched
        except InputError:
            raise
        except (*DAMAGE, OSError) as error:
            if watched.error is not None:  # the system's, which zipfile may say to be damage
                raise watched.error from None
            if isinstance(error, OSError) and error.errno != errno.EINVAL:  # that is a place before the file's start
                raise
            raise InputError(f"{file.path} is not a whole .npz: {error}") from error
