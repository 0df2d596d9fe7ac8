"""What the quick pursuit of `shortlist` works with, compiled and jitted: 16-bit numbers, a Gram matrix in 8 bits.

Matching pursuit (Mallat and Zhang 1993) takes the atom that goes best with what is left, and its part off, where
orthogonal matching pursuit makes the values of all anew: a step is one row of the Gram matrix, however many atoms
there are. Half way the values are once fitted anew, and so is what is left; docs/research-log.md has what that gives.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Int8

from compressae_jax.base import products
from compressae_jax.notation import DecoderW, InputError

ONE = 1 << 14  # what is left is counted in parts of 1 / ONE
LEAST = 2  # such parts may be left by rounding alone: there is nothing more to choose
FACTOR = 3 << 13  # at most; it is 128 / 127 of ONE for an atom that has a twin
SHIFT = 7  # an atom's numbers times a 16-bit factor are shifted by so many bits
CHUNK_BITS = 8  # an atom's numbers are filled up to a multiple of 2^8 of them
LARGEST = 127  # of an atom's numbers
LARGEST_H = 2**15  # a Gram matrix takes 1 GiB in 8 bits
ROWS = 1024  # of float32 products at a time


class Coarse(NamedTuple):
    """W_d W_dᵀ less its diagonal, which is 1, in 8 bits and a scale a row; zeros behind, to whole chunks."""

    numbers: Int8[np.ndarray, "h whole"]
    scales: Float32[np.ndarray, " h"]

    @property
    def nbytes(self) -> int:
        """Bytes in memory."""
        return self.numbers.nbytes + self.scales.nbytes


def coarse(decoder_w: DecoderW) -> Coarse:
    """The products of all atoms with each other, rounded.

    Raises:
        InputError: too many latents for them.
    """
    h = len(decoder_w)
    if h > LARGEST_H:
        raise InputError(
            f"encoder='shortlist' keeps the {h}² products of all latents in memory; h must be at most {LARGEST_H} for "
            "it, or encoder='topk'"
        )
    decoder_w = np.ascontiguousarray(decoder_w, np.float32)
    atoms = products.strips(decoder_w.T)
    numbers, scales = np.zeros((h, -(-h >> CHUNK_BITS) << CHUNK_BITS), np.int8), np.empty(h, np.float32)
    for start in range(0, h, ROWS):
        some = products.by_all_cores(decoder_w[start : start + ROWS], atoms)
        here = np.arange(len(some))
        some[here, start + here] = 0
        scale = np.maximum(np.abs(some).max(axis=1), np.float32(1e-12)) / LARGEST
        numbers[start : start + len(some), :h] = np.rint(some / scale[:, None])
        scales[start : start + len(some)] = scale
    return Coarse(numbers, scales)


def corrected(k: int) -> int:
    """Atoms of k after which values are fitted anew; 0: never."""
    return -(-k // 4) if k > 4 else 0


def spare(k: int, h: int) -> int:
    """Columns beside the k chosen ones that atoms may be swapped for when values go on levels."""
    return min(k // 2, h - k)
