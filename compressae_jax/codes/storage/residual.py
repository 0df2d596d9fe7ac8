"""Rows of a few nonzeros and, in all bytes that are left, scalar bits of what these leave of the vector.

The nonzeros, of the first h - d columns, are a record of `fast`. The last d columns are the coordinates of what is left
in an orthonormal basis, each in a number of bits that its variance deserves (reverse water-filling, Cover & Thomas
10.3), on levels about zero that all coordinates of so many bits share, in units of its deviation times one scale a row.
Coordinates come in groups of eight
of one number of bits, so a byte holds one bit of each of a group. `docs/FORMAT.md` has an example.
"""

from __future__ import annotations

import dataclasses
import functools
import heapq
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Bool, Float, Int, Integer, UInt8

from compressae_jax.codes.storage.fast import Fast
from compressae_jax.codes.storage.packed import Decoder, Packing
from compressae_jax.notation import InputError, check_range

GROUP = 8  # coordinates of one number of bits, whose bits of one worth are a byte
MOST_BITS = 8
MAGNITUDES = 8  # of the nonzeros' values, 4 bits with their sign
SHARED = 2**MOST_BITS - 1  # positive levels of 1, 2, … 8 bits
HEAD = MAGNITUDES + 2 + MOST_BITS + SHARED  # numbers before the deviations
# The least squared error of b bits on a Gaussian of deviation 1 (Max 1960, table I).
ERRORS = (1.0, 0.3634, 0.1175, 0.03454, 0.009497, 0.002499, 0.000640, 0.000162, 0.0000406)
SCALES = 256  # of a row, a byte
LEAST_RATIO = 1.0001  # of one scale to the next: nearer ones could be the same in float32


@dataclasses.dataclass(frozen=True)
class Residual(Packing):
    """What all rows of one folder share; k counts the nonzeros and the coordinates that have bits.

    `levels` are, in this order: the 8 magnitudes of the nonzeros; the lowest scale of a row and the ratio of one to the
    next; the numbers of groups of 1, 2, … 8 bits; the positive levels of 1, of 2, … of 8 bits, each rising; the
    deviation of each of the d coordinates.
    """

    MOST_COLUMNS: ClassVar[int] = 2**16
    ENCODED: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_range("h", self.h, 1, self.MOST_COLUMNS)
        check_range("bits of a value of residual rows", self.bits, 4, 4)
        numbers = np.asarray(self.levels, np.float64)
        if numbers.ndim != 1 or len(numbers) <= HEAD:
            raise InputError(f"levels of residual rows must be more than {HEAD} numbers, not of shape {numbers.shape}")
        if not np.isfinite(numbers).all() or (numbers.astype(np.float32) != numbers).any():
            raise InputError("levels must be finite numbers of float32")
        object.__setattr__(self, "levels", tuple(numbers.tolist()))
        lowest, ratio = self.levels[MAGNITUDES : MAGNITUDES + 2]
        counts, deviations = numbers[MAGNITUDES + 2 : HEAD - SHARED], numbers[HEAD:]
        if not (lowest > 0 and LEAST_RATIO < ratio < 8 and lowest * ratio ** (SCALES - 1) < 1e38):
            raise InputError(f"scales of residual rows must rise from above 0, not from {lowest} by {ratio}")
        if (counts < 0).any() or (counts % 1 != 0).any() or not 0 < counts.sum() <= groups(self.d):
            raise InputError(f"groups of residual rows must be 1 to {groups(self.d)}, not {counts.tolist()}")
        if (deviations < 0).any():
            raise InputError("deviations of residual rows must not be negative")
        for bits in range(1, MOST_BITS + 1):
            some = self.positive(bits)
            if some[0] <= 0 or (np.diff(some) <= 0).any():
                raise InputError(f"levels of {bits} bits must be positive and rising, not {some.tolist()[:9]}")
        check_range("k of residual rows", self.k, self.coordinates + 1, self.coordinates + self.h - self.d)
        _ = self.first  # whose magnitudes and sizes are looked at

    @property
    def storage(self) -> str:
        """'residual' and the bits of a nonzero's value."""
        return f"residual{self.bits}"

    @functools.cached_property
    def d(self) -> int:
        """Coordinates of the basis."""
        return len(self.levels) - HEAD

    @functools.cached_property
    def widths(self) -> Int[np.ndarray, " m"]:
        """Bits of each coordinate that has some: they fall."""
        counts = np.array(self.levels[MAGNITUDES + 2 : HEAD - SHARED], np.int64)
        return np.repeat(np.arange(MOST_BITS, 0, -1), GROUP * counts[::-1])[: self.d]

    @functools.cached_property
    def coordinates(self) -> int:
        """Coordinates that have bits, m."""
        return len(self.widths)

    @property
    def beside(self) -> tuple[Any, ...]:
        """See `Packing.beside`."""
        return self.first, self.first.width, self.deviations, self.scales_of_rows, self.widths, self.tables

    @functools.cached_property
    def first(self) -> Fast:
        """How the nonzeros are written."""
        return Fast(self.h - self.d, self.k - self.coordinates, self.bits, self.levels[:MAGNITUDES], self.similarity)

    @functools.cached_property
    def deviations(self) -> Float[np.ndarray, " m"]:
        """Those of the coordinates that have bits, at a scale of 1."""
        return np.array(self.levels[HEAD:], np.float32)[: self.coordinates]

    def positive(self, bits: int) -> Float[np.ndarray, " l"]:
        """The positive levels of so many bits."""
        start = HEAD - SHARED + 2 ** (bits - 1) - 1
        return np.array(self.levels[start : start + 2 ** (bits - 1)], np.float32)

    @functools.cached_property
    def tables(self) -> Float[np.ndarray, "9 256"]:
        """The rising levels of so many bits, those below zero first; zeros behind them."""
        tables = np.zeros((MOST_BITS + 1, 2**MOST_BITS), np.float32)
        for bits in range(1, MOST_BITS + 1):
            some = self.positive(bits)
            tables[bits, : 2**bits] = np.concatenate([-some[::-1], some])
        return tables

    @functools.cached_property
    def scales_of_rows(self) -> Float[np.ndarray, " 256"]:
        """The scales that a row may have, rising."""
        lowest, ratio = self.levels[MAGNITUDES : MAGNITUDES + 2]
        return (lowest * ratio ** np.arange(SCALES)).astype(np.float32)

    @property
    def bits_per_row(self) -> int:
        """Bits of a row: all of them are whole bytes."""
        return 8 * self.width

    @property
    def low(self) -> int:
        """Bits of a nonzero's column that are a field."""
        return self.first.low

    @functools.cached_property
    def width(self) -> int:
        """Bytes of a row: nonzeros, scale, and a byte for each bit of a group."""
        return self.first.width + 1 + int(self.planes.sum())

    @functools.cached_property
    def planes(self) -> Int[np.ndarray, " groups"]:
        """Bits of the coordinates of each group."""
        return self.widths[::GROUP]

    def packed(
        self, values: Float[np.ndarray, "n k"], columns: Integer[np.ndarray, "n k"], used: Bool[np.ndarray, " n"]
    ) -> UInt8[np.ndarray, "n w"]:
        """Records of float values at rising columns: nonzeros on the nearest level, coordinates by the nearest scale.

        Raises:
            InputError: rows whose last columns are not the coordinates that have bits.
        """
        from compressae_jax.codes.storage import residual_kernels

        some, m = self.k - self.coordinates, self.coordinates
        if used.any() and (
            (columns[used, some - 1] >= self.h - self.d).any()
            or (columns[used, some:] != self.h - self.d + np.arange(m)).any()
        ):
            raise InputError(f"a row must have {some} columns below {self.h - self.d}, and the first {m} from there on")
        records = np.zeros((len(values), self.width), np.uint8)
        at = self.first.width
        records[:, :at] = self.first.packed(values[:, :some], columns[:, :some], used)
        tail = np.zeros((len(values), self.width - at), np.uint8)
        dense = np.ascontiguousarray(values[:, some:], np.float32)
        residual_kernels.pack(dense, used, self.deviations, self.scales_of_rows, self.widths, self.tables, tail)
        records[:, at:] = tail
        return records

    def decoder(self, rows: int) -> Decoder:
        """What takes records apart; whatever they hold, columns are below h."""
        from compressae_jax.codes.storage import residual_kernels

        some, at, m = self.k - self.coordinates, self.first.width, self.coordinates
        decode_first = self.first.decoder(rows)
        few_values, few_columns = np.empty((rows, some), np.float32), np.empty((rows, some), np.uint16)
        how = self.deviations, self.scales_of_rows, self.widths, self.tables
        unpack = residual_kernels.fastest()

        def decode(records: np.ndarray, values: np.ndarray, columns: np.ndarray) -> None:
            if records.shape[1] != self.width or records.dtype != np.uint8:
                raise InputError(f"records must be (n, {self.width}) uint8, not {records.shape} {records.dtype}")
            n = len(records)
            decode_first(np.ascontiguousarray(records[:, :at]), few_values[:n], few_columns[:n])
            given = np.ascontiguousarray(records).view()
            given.flags.writeable = False  # as maps are, so that loops are compiled once
            columns[:, :some] = few_columns[:n]
            columns[:, some:] = self.h - self.d + np.arange(m)
            unpack(given, at, few_values[:n], *how, values)

        return decode

    def sound(self, records: UInt8[np.ndarray, "n w"]) -> Bool[np.ndarray, " n"]:
        """Which records are ones that `packed` writes: those whose nonzeros are, and zero rows of zeros alone."""
        at = self.first.width
        firsts = np.ascontiguousarray(records[:, :at])
        used = firsts.any(axis=1)
        found = self.first.sound(firsts) & (used | ~records[:, at:].any(axis=1))
        if self.d % GROUP and self.coordinates == self.d:  # bits of the last group that stand for no coordinate
            found &= ~(records[:, self.width - int(self.planes[-1]) :] >> (self.d % GROUP)).any(axis=1)
        return found


def groups(d: int) -> int:
    """Groups of d coordinates, the last of which may be smaller."""
    return -(-d // GROUP)


def dealt(deviations: Float[np.ndarray, " d"], count: int) -> Int[np.ndarray, " 8"]:
    """How many groups get 1, 2, … 8 bits a coordinate, of falling deviations, for so many bytes a row.

    Each byte goes where it lessens the squared error most.

    Raises:
        InputError: no byte, or more of them than eight bits a coordinate.
    """
    squares = np.square(np.asarray(deviations, np.float64))
    squares = np.add.reduceat(squares, np.arange(0, len(squares), GROUP))
    check_range("bytes of coordinates", count, 1, MOST_BITS * len(squares))
    bits = np.zeros(len(squares), np.int64)
    gains = [(-square * (ERRORS[0] - ERRORS[1]), group) for group, square in enumerate(squares.tolist())]
    heapq.heapify(gains)
    for _ in range(count):
        group = heapq.heappop(gains)[1]
        bits[group] += 1
        if (has := bits[group]) < MOST_BITS:
            heapq.heappush(gains, (-float(squares[group]) * (ERRORS[has] - ERRORS[has + 1]), group))
    # Equal groups may get bits in another order: the earlier ones get the more.
    return np.bincount(np.sort(bits)[::-1], minlength=MOST_BITS + 1)[1:]


def numbers(
    magnitudes: Sequence[float],
    scales: tuple[float, float],
    counts: Sequence[int] | Int[np.ndarray, " 8"],
    shared: Sequence[float] | Float[np.ndarray, " 255"],
    deviations: Sequence[float] | Float[np.ndarray, " d"],
) -> tuple[float, ...]:
    """The `levels` of a `Residual`, as numbers of float32."""
    given = np.concatenate([magnitudes, scales, counts, shared, deviations]).astype(np.float32)
    return tuple(given.astype(np.float64).tolist())
