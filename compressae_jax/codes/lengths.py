"""Lengths ‖x‖ beside rows of floats that are compared by inner products; packed rows have them in their values."""

import numpy as np
from jaxtyping import Float

from compressae_jax.base.arrays import pieces
from compressae_jax.codes.mapped import NO_FILES, MappedFiles
from compressae_jax.notation import AnyArray, InputError

PIECE = 2**22  # lengths looked at together
LONGEST = 2.0**60  # of a vector: the product of two such lengths is a number of float32


def of(x: Float[AnyArray, "b d"]) -> Float[np.ndarray, " b"]:
    """‖x‖ of every row, summed in float64, as float32; the same in any company."""
    from compressae_jax.codes import row_kernels

    x = np.ascontiguousarray(x, np.float32)
    out = np.empty(len(x), np.float32)
    row_kernels.lengths(x, out)
    return out


def fault(lengths: Float[AnyArray, " n"]) -> tuple[int, str] | None:
    """The first row whose length is out of range, and why; None where there is none."""
    lengths = np.asarray(lengths, np.float32)
    good = (lengths >= 0) & (lengths <= LONGEST)
    if good.all():
        return None
    row = int(good.argmin())
    return row, (
        f"has the length {lengths[row]:g}, which is not of 0 to {LONGEST:.6g}: multiply all vectors with one number, "
        "which changes no order"
    )


def check(lengths: AnyArray, n: int, files: MappedFiles = NO_FILES) -> None:
    """Raise InputError unless these, a map of `files` or none, are lengths of n vectors: (n,), finite, none below 0."""
    if lengths.shape != (n,):
        raise InputError(f"lengths must be ({n},), one a row of codes, not {lengths.shape}")
    for start, some in zip(range(0, n, PIECE), files.watched(pieces(lengths, PIECE)), strict=True):
        if (found := fault(some)) is not None:
            raise InputError(f"row {start + found[0]} {found[1]}")
