"""`.fvecs`: each row is an int32 with its width, then that many float32; read as one table."""

import numpy as np
from jaxtyping import Float32, Integer

from compressae_jax.data.kind import Kind
from compressae_jax.data.mapped import Mapped
from compressae_jax.data.opened import File
from compressae_jax.data.sources import Block, NoRowsError
from compressae_jax.notation import InputError


class Fvecs(Mapped):
    """A table (n, 1 + d) whose first column must hold d in every row that is read."""

    def __init__(self, file: File):
        path, size = file.path, file.size
        if size < 4:
            raise NoRowsError(f"{path} is empty: {size} bytes")
        with file.open() as opened:
            width = int.from_bytes(opened.read(4), "little", signed=True)
        if width < 1:
            raise InputError(f"{path} is no .fvecs: its first row has width {width}")
        if size % (4 * (1 + width)):
            raise InputError(
                f"{path} is truncated or of mixed widths: {size} bytes are no whole number of rows of width {width}"
            )
        super().__init__(file, "fvecs", (size // (4 * (1 + width)), 1 + width), np.dtype("<f4"), 0)
        self.width = width

    def _read(self, start: int, stop: int) -> Block:
        return self._without_widths(super()._read(start, stop), np.arange(start, stop))

    def _take(self, rows: Integer[np.ndarray, " b"]) -> Block:
        return self._without_widths(super()._take(rows), rows)

    def _without_widths(self, table: Float32[np.ndarray, "b _"], rows: Integer[np.ndarray, " b"]) -> Block:
        widths = table[:, 0].view(np.int32)
        wrong = widths != self.width
        if wrong.any():
            at = int(wrong.argmax())
            raise InputError(f"{self.where(int(rows[at]))} has width {widths[at]}, the first row {self.width}")
        return np.ascontiguousarray(table[:, 1:])


KIND = Kind("fvecs", (".fvecs",), Fvecs, "a row: its width as int32, then float32", scale="floats need none")
