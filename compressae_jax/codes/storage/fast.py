"""Rows that are read as fast as floats, in little more bits than `packed`: fields of few bits and one bitmap a row.

With the columns of a row rising, the low bits of each are a field, its value is a half byte, and what is above, its
bucket, is a bit: of the i-th nonzero in bucket b, bit b + i of the bitmap is set (Elias 1974, Fano 1971). Nothing is
looked up, and no nonzero waits for another: one instruction of AVX-512 finds all buckets of a row, two all of its
fields, and a count of trailing zeros one bucket. The zero row has no bit set. `docs/FORMAT.md` has an example,
`fast_kernels` the loops.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import ClassVar

import numpy as np
from jaxtyping import Bool, Integer, UInt8

from compressae_jax.codes.storage.packed import Decoder, Packing
from compressae_jax.notation import InputError, check_range

MOST_LOW = 8  # bits of a column that are a field: eight fields fit a word


@functools.lru_cache(maxsize=1024)
def low_bits(h: int, k: int) -> int:
    """Bits of a column that are a field, so that rows are shortest; of equal ones the more, for a shorter bitmap."""
    allowed = [low for low in range(MOST_LOW, 0, -1) if -(-h >> low) <= 256]  # a bucket is a byte
    return min(allowed, key=lambda low: k * low + -(-h >> low))


@dataclasses.dataclass(frozen=True)
class Fast(Packing):
    """What all rows of one folder share; values have 4 bits."""

    MOST_COLUMNS: ClassVar[int] = 2**16  # a bucket is a byte
    ENCODED: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range("bits of a value of fast rows", self.bits, 4, 4)

    @property
    def storage(self) -> str:
        """'fast' and the bits of a value."""
        return f"fast{self.bits}"

    @property
    def low(self) -> int:
        """Bits of a column that are a field."""
        return low_bits(self.h, self.k)

    @property
    def bits_per_row(self) -> int:
        """Bits of a row before they are rounded up to bytes."""
        return self.k * (self.low + self.bits) + self.bitmap_bits

    @property
    def bitmap_bits(self) -> int:
        """One a nonzero, and one a step from bucket to bucket."""
        return self.k + -(-self.h >> self.low) - 1

    @property
    def width(self) -> int:
        """Bytes of a row."""
        return -(-self.bits_per_row // 8)

    def records(
        self, numbers: UInt8[np.ndarray, "n k"], columns: Integer[np.ndarray, "n k"], used: Bool[np.ndarray, " n"]
    ) -> UInt8[np.ndarray, "n w"]:
        """Records of level numbers and rising columns; a row that is not `used` becomes the zero row."""
        from compressae_jax.codes.storage import fast_kernels

        records = np.zeros((len(numbers), self.width), np.uint8)
        fast_kernels.pack(numbers, columns.astype(np.uint16), used, self.low, records)
        return records

    def decoder(self, rows: int) -> Decoder:
        """What takes records apart: rows of damaged bitmaps, too, get columns below h, wherever it runs the same."""
        from compressae_jax.codes.storage import fast_kernels

        low, signed = self.low, self.signed
        unpack = fast_kernels.fastest()

        def decode(records: np.ndarray, values: np.ndarray, columns: np.ndarray) -> None:
            if records.shape[1] != self.width or records.dtype != np.uint8:  # loops would read beside them
                raise InputError(f"records must be (n, {self.width}) uint8, not {records.shape} {records.dtype}")
            given = np.ascontiguousarray(records).view()
            given.flags.writeable = False  # as maps are, so that loops are compiled once
            unpack(given, self.h, low, signed, values, columns)

        return decode
