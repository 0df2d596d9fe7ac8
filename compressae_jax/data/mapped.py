"""A block of numbers inside a file as a memory-mapped source; which bytes they are is said by the kinds of file."""

import mmap
from pathlib import Path

import numpy as np
from jaxtyping import Integer

from compressae_jax.data.sources import Block, Source, check_dtype, check_shape, float32


class Mapped(Source):
    """An array (n, d) that starts at byte `offset` of a file; opening reads none of it."""

    def __init__(
        self, path: Path, kind: str, shape: tuple[int, ...], dtype: np.dtype, offset: int, fortran_order: bool = False
    ):
        check_shape(str(path), shape)
        dtype = check_dtype(str(path), dtype)
        super().__init__(str(path), kind, shape, dtype, path)
        with path.open("rb") as file:
            self._bytes = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self._array = np.ndarray(shape, dtype, self._bytes, offset, order="F" if fortran_order else "C")
        self._offset, self._row_bytes = offset, 0 if fortran_order else self.width * dtype.itemsize

    def _read(self, start: int, stop: int) -> Block:
        some = float32(self._array[start:stop])
        self._release(start, stop)
        return some

    def _take(self, rows: Integer[np.ndarray, " b"]) -> Block:
        return float32(self._array[rows])

    def _release(self, start: int, stop: int) -> None:
        """Hand the pages of rows that were copied back, or a pass over the file would stay resident as a whole."""
        if not hasattr(mmap, "MADV_DONTNEED"):
            return
        first, last = self._offset + start * self._row_bytes, self._offset + stop * self._row_bytes
        if self._row_bytes == 0:
            first, last = 0, len(self._bytes)
        first -= first % mmap.PAGESIZE
        if first < last:
            self._bytes.madvise(mmap.MADV_DONTNEED, first, last - first)
