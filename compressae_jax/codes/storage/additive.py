"""Rows that are sums of k atoms, one of each group of 256 columns: a byte names an atom, whose value is its length.

Of column 256 j + c, which is atom c of codebook j, the value is the same in all rows, so a row of k nonzeros takes
k bytes (additive quantisation, Babenko & Lempitsky 2014). The row of zero bytes is the zero row.
`docs/FORMAT.md` has an example.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import ClassVar

import numpy as np
from jaxtyping import Bool, Float, Integer, UInt8

from compressae_jax.codes.storage.packed import Decoder, Packing
from compressae_jax.notation import InputError, check_range

GROUP = 256  # columns of a codebook
CLOSE = 1e-3  # of an atom's length, that a value may be off: float16 is, by half as much


@dataclasses.dataclass(frozen=True)
class Additive(Packing):
    """What all rows of one folder share.

    `levels` are the lengths of the h = 256 k atoms, as values have them, and, last, what these were divided by so that
    a row's product with its own vector is about 1: the product that encoders aim at.
    """

    MOST_COLUMNS: ClassVar[int] = 2**16
    ENCODED: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_range("h", self.h, 1, self.MOST_COLUMNS)
        check_range("bits of additive rows", self.bits, 8, 8)
        if self.h != GROUP * self.k:
            raise InputError(f"additive rows of k={self.k} have h={GROUP * self.k} columns, not {self.h}")
        if self.similarity != "cosine":
            raise InputError(
                "additive rows have no lengths of vectors, which similarity 'dot' needs: learn a model with h, k and "
                "steps, or with refine_rounds, in the place of this budget"
            )
        numbers = np.asarray(self.levels, np.float64)
        if numbers.shape != (self.h + 1,):
            raise InputError(f"levels of additive rows must be {self.h + 1} numbers, not of shape {numbers.shape}")
        if not (np.isfinite(numbers).all() and (numbers > 0).all() and (numbers.astype(np.float32) == numbers).all()):
            raise InputError("levels of additive rows must be positive, finite numbers of float32")
        if numbers[-1] > 1:
            raise InputError(f"the last level of additive rows is a cosine, not {numbers[-1]}")
        object.__setattr__(self, "levels", tuple(numbers.tolist()))

    @property
    def storage(self) -> str:
        """'additive' and the bits of a nonzero."""
        return f"additive{self.bits}"

    @property
    def bits_per_row(self) -> int:
        """Bits of a row: whole bytes."""
        return self.bits * self.k

    @property
    def width(self) -> int:
        """Bytes of a row."""
        return self.k

    @functools.cached_property
    def lengths(self) -> Float[np.ndarray, " h"]:
        """Those of the atoms, as values have them."""
        return np.array(self.levels[:-1], np.float32)

    def packed(
        self, values: Float[np.ndarray, "n k"], columns: Integer[np.ndarray, "n k"], used: Bool[np.ndarray, " n"]
    ) -> UInt8[np.ndarray, "n w"]:
        """Records of rising columns, one of each codebook.

        Raises:
            InputError: rows of other columns, or of other values than their atoms have; one that would be a zero row.
        """
        numbers = columns.astype(np.int64) - GROUP * np.arange(self.k)
        if used.any() and ((numbers[used] < 0) | (numbers[used] >= GROUP)).any():
            raise InputError(f"a row must have one column of each {GROUP} of the {self.h}")
        records = np.where(used[:, None], numbers, 0).astype(np.uint8)
        wanted = self.lengths[columns[used].astype(np.int64)]
        if (np.abs(values[used] - wanted) > CLOSE * wanted).any():
            raise InputError("values of additive rows must be the lengths of their atoms")
        if (used & ~records.any(axis=1)).any():
            raise InputError("a row of the first atom of every codebook would be a zero row; encoders make none")
        return records

    def decoder(self, rows: int) -> Decoder:
        """What takes records apart; whatever they hold, columns are below h."""
        from compressae_jax.codes.storage import additive_kernels

        lengths = self.lengths

        def decode(records: np.ndarray, values: np.ndarray, columns: np.ndarray) -> None:
            if records.shape[1] != self.width or records.dtype != np.uint8:
                raise InputError(f"records must be (n, {self.width}) uint8, not {records.shape} {records.dtype}")
            given = np.ascontiguousarray(records).view()
            given.flags.writeable = False  # as maps are, so that loops are compiled once
            additive_kernels.unpack(given, lengths, values, columns)

        return decode

    def sound(self, records: UInt8[np.ndarray, "n w"]) -> Bool[np.ndarray, " n"]:
        """Which records are ones that `packed` writes: all of this width."""
        return np.ones(len(records), bool)
