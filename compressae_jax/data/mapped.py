"""A block of numbers inside a file as a source; which bytes they are is said by the kinds of file."""

import numpy as np
from jaxtyping import Integer

from compressae_jax.data.opened import File
from compressae_jax.data.sources import NOTHING, Beside, Block, Source, check_dtype, check_shape, float32


class Mapped(Source):
    """An array (n, d) that starts at byte `offset` of a file; opening reads none of it.

    Rows in order are read; rows by number are taken from a map of memory.
    """

    def __init__(
        self,
        file: File,
        kind: str,
        shape: tuple[int, ...],
        dtype: np.dtype,
        offset: int,
        fortran_order: bool = False,
        key: str | None = None,
        beside: Beside = NOTHING,
    ):
        check_shape(str(file.path), shape)
        self._dtype = check_dtype(str(file.path), dtype)
        super().__init__(str(file.path), kind, shape, self._dtype, file, beside)
        self._kept, self._offset, self._fortran_order, self._key = file.kept(), offset, fortran_order, key
        self.random_access = self._kept.maps
        self._shape = (int(shape[0]), int(shape[1]))

    def selection(self) -> list[str]:
        """The array's name, in a file of several, and that of the ids."""
        return [*([] if self._key is None else [self._key]), *self.beside.names]

    def _read(self, start: int, stop: int) -> Block:
        if self._fortran_order:
            some = float32(self._array()[start:stop])
            self._kept.forget()
            return some
        some = np.empty((stop - start, self._shape[1]), self._dtype)
        if some.size:
            self._kept.read(some.reshape(-1).view(np.uint8).data, self._offset + start * some.strides[0])
        return some if some.dtype == np.float32 and some.dtype.isnative else float32(some)

    def _take(self, rows: Integer[np.ndarray, " b"]) -> Block:
        return float32(self._array()[rows])

    def _array(self) -> np.ndarray:
        whole, offset = self._kept.mapped(), self._offset
        return np.ndarray(self._shape, self._dtype, whole, offset, order="F" if self._fortran_order else "C")
