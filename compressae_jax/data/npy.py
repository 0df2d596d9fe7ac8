"""`.npy`: a header, then the numbers where they lie; `npz` has several of them in an archive."""

import io
import math
import tokenize
from collections.abc import Callable
from pathlib import PurePath
from typing import NamedTuple

import numpy as np
from numpy.lib import format as npy_format

from compressae_jax.data.kind import Kind
from compressae_jax.data.mapped import Mapped
from compressae_jax.data.opened import File
from compressae_jax.data.sources import NOTHING, Beside, Source, check_dtype, check_shape
from compressae_jax.notation import InputError

LONGEST_HEADER = 2**16  # bytes; one of a matrix takes 128
SCALE, SCALE_BESIDE = "scale.npy", ".scale.npy"  # of all integers of a byte in a folder; after the stem of one of them
# What Python's parser, which NumPy asks, has to say about a header that is none.
NO_HEADER = (
    *(ValueError, SyntaxError, TypeError, LookupError, ArithmeticError, AttributeError),
    *(tokenize.TokenError, RecursionError, MemoryError),
)
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


def open_npy(file: File) -> Source:
    """An .npy, read where its numbers lie; of integers of a byte, the scale beside it is their own."""
    with file.open() as opened:
        header = read_header(str(file.path), opened.read(LONGEST_HEADER), file.size)
    beside = NOTHING
    if header.dtype.kind in "iu":
        scale = file.beside([PurePath(file.name).stem + SCALE_BESIDE, SCALE])
        beside = NOTHING if scale is None else Beside(scale=lambda: read_whole(scale))
    file = file.near() if header.fortran_order else file
    return Mapped(file, "npy", header.shape, header.dtype, header.length, header.fortran_order, beside=beside)


def read_whole(file: File) -> np.ndarray:
    """All numbers of a small .npy of any shape: ids, a scale.

    Raises:
        InputError: it is not whole, or holds objects.
    """
    with file.open() as opened:
        return read_small(str(file.path), opened.read, file.size)


def read_small(name: str, read: Callable[[int], bytes], size: int) -> np.ndarray:
    """`read_whole` of `size` bytes that `read` gives one after the other."""
    start = read(LONGEST_HEADER)
    shape, fortran_order, dtype, length = fields(name, start)
    if dtype.hasobject:
        raise InputError(f"{name} holds objects, which are not read")
    count = math.prod(shape)
    if count * dtype.itemsize + length != size:
        raise InputError(f"{name} is damaged: shape {shape} of {dtype} does not make {size} bytes")
    whole = start[length:] + read(max(0, size - len(start)))
    if len(whole) != count * dtype.itemsize:
        raise InputError(f"{name} is truncated")
    return np.frombuffer(whole, dtype, count).reshape(shape, order="F" if fortran_order else "C")


def read_header(name: str, start: bytes, size: int) -> Header:
    """The header of an .npy of `size` bytes, seen to describe a 2-d array of floats that fills these bytes exactly.

    `start` is the file's first LONGEST_HEADER bytes.
    """
    shape, fortran_order, dtype, length = fields(name, start)
    check_shape(name, shape)
    header = Header(shape, fortran_order, check_dtype(name, dtype), length)
    if header.total != size:
        short = "truncated" if size < header.total else "followed by other bytes"
        raise InputError(f"{name} is {short}: shape {shape} of {dtype} makes {header.total} bytes, the file has {size}")
    return header


def fields(name: str, start: bytes) -> tuple[tuple[int, ...], bool, np.dtype, int]:
    """Shape, whether in Fortran order, dtype, and where the data start, of the bytes that an .npy begins with."""
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


KIND = Kind(
    "npy",
    (".npy",),
    open_npy,
    "one array (n, d)",
    scale="`NAME.scale.npy` or `scale.npy` beside it",
)
