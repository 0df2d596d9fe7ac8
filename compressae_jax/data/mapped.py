"""A block of numbers inside a file as a memory-mapped source; which bytes they are is said by the kinds of file."""

import mmap
from pathlib import Path

import numpy as np
from jaxtyping import Integer

from compressae_jax.data.sources import Block, Source, check_dtype, check_shape, float32


class Mapped(Source):
    """An array (n, d) that starts at byte `offset` of a file; opening reads none of it."""

    def __init__(
        self,
        path: Path,
        kind: str,
        shape: tuple[int, ...],
        dtype: np.dtype,
        offset: int,
        fortran_order: bool = False,
        key: str | None = None,
    ):
        check_shape(str(path), shape)
        dtype = check_dtype(str(path), dtype)
        super().__init__(str(path), kind, shape, dtype, path)
        self._key = key
        with path.open("rb") as file:
            self._bytes = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self._array = np.ndarray(shape, dtype, self._bytes, offset, order="F" if fortran_order else "C")

    def selection(self) -> list[str]:
        """The array's name, in a file of several."""
        return [] if self._key is None else [self._key]

    def _read(self, start: int, stop: int) -> Block:
        some = float32(self._array[start:stop])
        if hasattr(mmap, "MADV_DONTNEED"):  # pages that were copied go back, or a pass would keep the file resident
            self._bytes.madvise(mmap.MADV_DONTNEED)
        return some

    def _take(self, rows: Integer[np.ndarray, " b"]) -> Block:
        return float32(self._array[rows])
