"""`.fbin`, `.u8bin`, `.i8bin` of the big-ann benchmarks: two uint32, rows and width, then the numbers row by row."""

import numpy as np

from compressae_jax.data.kind import Kind
from compressae_jax.data.mapped import Mapped
from compressae_jax.data.opened import File
from compressae_jax.data.sources import Source, check_shape
from compressae_jax.notation import InputError

_DTYPES = {".fbin": "<f4", ".u8bin": "u1", ".i8bin": "i1"}


class BigAnn(Mapped):
    """A table that fills its file exactly; its integers are the vectors, as the benchmarks have them."""

    plain_integers = True


def open_bigann(file: File) -> Source:
    """The rows of a file whose ending says what its numbers are."""
    dtype = np.dtype(_DTYPES[file.suffix])
    with file.open() as opened:
        head = opened.read(8)
    if len(head) < 8:
        raise InputError(f"{file.path} is truncated: {file.size} bytes, and rows and width alone take 8")
    rows, width = (int(number) for number in np.frombuffer(head, "<u4"))
    check_shape(str(file.path), (rows, width))
    wanted = 8 + rows * width * dtype.itemsize
    if wanted != file.size:
        short = "truncated" if file.size < wanted else "followed by other bytes"
        raise InputError(
            f"{file.path} is {short}: {rows} rows of {width} make {wanted} bytes, the file has {file.size}"
        )
    return BigAnn(file, file.suffix[1:], (rows, width), dtype, 8)


KIND = Kind(
    "big-ann",
    tuple(_DTYPES),
    open_bigann,
    "rows and width as two uint32, then float32, uint8 or int8",
    scale="none needed: integers are taken as they are",
)
