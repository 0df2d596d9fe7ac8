"""Arrays from outside as NumPy, blocks of fixed shape, bytes that a file holds."""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from compressae_jax.notation import AnyArray, InputError

LINE = 64  # bytes that a core reads at once


def empty(shape: tuple[int, ...], dtype: Any = np.float32) -> np.ndarray:
    """`numpy.empty` that begins with a line of the cache: vectors that lie across two take twice as long to read."""
    size = math.prod(shape) * np.dtype(dtype).itemsize
    room = np.empty(size + LINE, np.uint8)
    start = -room.ctypes.data % LINE
    return room[start : start + size].view(dtype).reshape(shape)


def aligned(array: np.ndarray) -> np.ndarray:
    """The array, or a copy that begins with a line of the cache."""
    if array.ctypes.data % LINE == 0 and array.flags.c_contiguous:
        return array
    copy = empty(array.shape, array.dtype)
    copy[...] = array
    return copy


def padded(part: AnyArray, length: int) -> np.ndarray:
    """A block with zeros behind it up to `length` rows, so that one compilation serves blocks of any size."""
    part = np.asarray(part)
    return part if len(part) == length else np.pad(part, ((0, length - len(part)),) + ((0, 0),) * (part.ndim - 1))


def pieces(array: Any, rows: int) -> Iterator[Any]:
    """Slices of so many rows, the last one shorter."""
    for start in range(0, len(array), rows):
        yield array[start : start + rows]


def vectors(argument: str, given: Any) -> np.ndarray:
    """What people hold vectors in as a NumPy array, copied only where it must be.

    Arrays of any library, lists of rows, data frames. A masked array may not hide a value: nothing would be in its
    place.

    Raises:
        InputError: what no array of numbers can be made of, hidden values.
    """
    if isinstance(given, np.ma.MaskedArray):
        if np.ma.is_masked(given):
            row = int(np.ma.getmaskarray(given).reshape(len(given), -1).any(axis=1).argmax())
            raise InputError(f"{argument} hide values under a mask, first in row {row}; fill them or drop the rows")
        given = given.data
    try:
        return as_numpy(given)
    except (ValueError, TypeError) as error:
        raise InputError(f"{argument} must be rows of numbers (an array, a list of rows), not {error}") from None


def as_numpy(given: Any) -> np.ndarray:
    """An array of any library, a list or a table's column as NumPy; raises ValueError or TypeError where none is."""
    if hasattr(given, "detach") and hasattr(given, "cpu"):  # a PyTorch tensor
        given = given.detach().cpu()
        given = given.float() if str(given.dtype) == "torch.bfloat16" else given
    elif hasattr(given, "to_numpy") and not isinstance(given, np.ndarray):
        given = given.to_numpy()
    return np.asarray(given)
