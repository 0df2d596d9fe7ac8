"""Codes packed to almost as few bits as their information: a set of columns and rounded values a row.

A row is a little-endian string of bits of one length: the rank of its buckets, k low parts, k values. With the columns
rising, bucket = column >> l and low part = column mod 2ˡ; the k buckets are one of C(B+k-1, k) multisets, numbered by
the combinatorial number system, Σ_i C(bucket_i + i, i + 1); the rank above all others is the row of zeros. A value is
the number of its level, with its sign as the top bit. `docs/FORMAT.md` has an example, `packed_kernels` the loops.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
from collections.abc import Callable, Iterator
from typing import Any, ClassVar, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Integer, UInt8, UInt64

from compressae_jax.codes.codes import Codes, checked, column_dtype
from compressae_jax.codes.ids import Ids
from compressae_jax.codes.mapped import NO_FILES, MappedFiles
from compressae_jax.codes.rows import SIMILARITIES, Beside, Encoded, MadeBy, Part, Rows, Some
from compressae_jax.notation import AnyArray, InputError, check_choice, check_range

BUCKETS = 8  # a nonzero, at most: more of them save less than .1 bit a nonzero, and unpacking passes over all of them
TABLE_WORDS = 2**21  # of 64 bits, at most, for the binomials that unpacking reads
PIECE = 2**16  # nonzeros unpacked at once: they and their records stay in a core's own cache

ROOM = 64  # bytes behind a row's own that vectors may be loaded from

Decoder = Callable[[np.ndarray, np.ndarray, np.ndarray], None]  # of records (n, w) into values and columns (n, k)


class Split(NamedTuple):
    """How the columns of a row are written: `low` bits apart, the rest as the rank of a multiset of `buckets`."""

    low: int
    buckets: int
    rank_bits: int
    zero_rank: int  # the number of multisets, so above all their ranks


@functools.lru_cache(maxsize=1024)
def split(h: int, k: int) -> Split:
    """The split of fewest bits that unpacks fast from a small table; of equal ones that with fewer buckets."""
    return min(_splits(h, k), key=lambda some: some.rank_bits + k * some.low)


def _splits(h: int, k: int) -> Iterator[Split]:
    """All that are allowed, by rising number of buckets, from the single one on."""
    for low in reversed(range((h - 1).bit_length() + 1)):
        buckets = -(-h >> low)
        if buckets > 1 and (buckets > BUCKETS * k or k * buckets > TABLE_WORDS):
            return
        count = math.comb(buckets + k - 1, k)
        if buckets > 1 and k * buckets * -(-count.bit_length() // 64) > TABLE_WORDS:
            return
        yield Split(low, buckets, count.bit_length(), count)


def packed_width(h: int, k: int, bits: int) -> int:
    """Bytes of a row of k nonzeros out of h columns with values of `bits` bits, everything included."""
    low, _, rank_bits, _ = split(h, k)
    return -(-(rank_bits + k * (low + bits)) // 8)


@dataclasses.dataclass(frozen=True)
class Packing:
    """What all rows of one folder share; `levels` are the 2^(bits-1) rising positive magnitudes, float32 numbers.

    Under `similarity` 'dot' values have the length of the row's vector folded in.
    """

    h: int
    k: int
    bits: int
    levels: tuple[float, ...]
    similarity: str = "cosine"

    MOST_COLUMNS: ClassVar[int] = 2**32
    ENCODED: ClassVar[bool] = False  # whether search takes records apart itself

    def __post_init__(self) -> None:
        check_range("h", self.h, 1, self.MOST_COLUMNS)
        check_range("k", self.k, 1, min(self.h, 2**16))
        check_range("bits", self.bits, 2, 8)
        check_choice("similarity", self.similarity, SIMILARITIES)
        levels = np.asarray(self.levels, np.float64)
        if levels.shape != (2 ** (self.bits - 1),):
            raise InputError(f"levels must be {2 ** (self.bits - 1)} of {self.bits} bits, not of shape {levels.shape}")
        if not (np.isfinite(levels).all() and levels[0] > 0 and (np.diff(levels) > 0).all()):
            raise InputError(f"levels must be positive, finite and rising, not {self.levels}")
        if (levels.astype(np.float32) != levels).any():
            raise InputError("levels must be numbers of float32")
        object.__setattr__(self, "levels", tuple(levels.tolist()))

    @property
    def storage(self) -> str:
        """'packed' and the bits of a value."""
        return f"packed{self.bits}"

    @property
    def beside(self) -> tuple[Any, ...] | None:
        """Of `residual` rows, the packing of their nonzeros and the fields of `Beside` behind k; None of others."""
        return None

    @property
    def low(self) -> int:
        """Bits of a column that are written apart."""
        return split(self.h, self.k).low

    @property
    def bits_per_row(self) -> int:
        """Bits of a row before they are rounded up to bytes."""
        low, _, rank_bits, _ = split(self.h, self.k)
        return rank_bits + self.k * (low + self.bits)

    @property
    def width(self) -> int:
        """Bytes of a row."""
        return packed_width(self.h, self.k, self.bits)

    def records(
        self, numbers: UInt8[np.ndarray, "n k"], columns: Integer[np.ndarray, "n k"], used: Bool[np.ndarray, " n"]
    ) -> UInt8[np.ndarray, "n w"]:
        """Records of level numbers and rising columns; a row that is not `used` becomes the zero row."""
        from compressae_jax.codes.storage import packed_kernels

        words = np.zeros((len(numbers), _words_of(self)), "<u8")
        low, rank_bits, zero_rank, binomials, *_ = _tables(self.h, self.k)
        columns = columns.astype(np.uint32)
        packed_kernels.pack(numbers, columns, used, self.bits, low, rank_bits, zero_rank, binomials, words)
        return words.view(np.uint8)[:, : self.width]

    def packed(
        self, values: Float[np.ndarray, "n k"], columns: Integer[np.ndarray, "n k"], used: Bool[np.ndarray, " n"]
    ) -> UInt8[np.ndarray, "n w"]:
        """Records of float values, each on the level nearest to it, at rising columns; see `records`."""
        return self.records(_level_numbers(values, self), columns, used)

    def sound(self, records: UInt8[np.ndarray, "n w"]) -> Bool[np.ndarray, " n"]:
        """Which records, as many as an `Unpacker` takes at most, are ones that `packed` writes."""
        numbers = tuple(float(i) for i in range(1, 2 ** (self.bits - 1) + 1))
        counted = dataclasses.replace(self, levels=numbers)
        values, columns = Unpacker(counted, len(records))(records)
        again = self.records(_level_numbers(values, counted), columns, values[:, 0] != 0)
        return (again == records).all(axis=1) & (columns[:, 1:] > columns[:, :-1]).all(axis=1)

    def decoder(self, rows: int) -> Decoder:
        """What takes up to `rows` records apart, for one thread: the inverse of `records`, with levels for numbers."""
        from compressae_jax.codes.storage import packed_kernels

        given = np.zeros((rows, _words_of(self)), "<u8")
        signed, tables = self.signed, _tables(self.h, self.k)

        def decode(records: np.ndarray, values: np.ndarray, columns: np.ndarray) -> None:
            words = given[: len(records)]
            words.view(np.uint8)[:, : self.width] = records
            packed_kernels.unpack(words, self.h, self.bits, signed, tables, values, columns)

        return decode

    @functools.cached_property
    def signed(self) -> Float[np.ndarray, " levels"]:
        """What the number of a value stands for: the levels, then the same below zero."""
        levels = np.array(self.levels, np.float32)
        return np.concatenate([levels, -levels])


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Packed(Rows):
    """Rows of k nonzeros in few bits, searched as they are: `records (n, width)` uint8, NumPy or a memory map.

    The columns of a row are a set without an order, and its values were multiplied with whatever scale it has.
    """

    records: Any
    packing: Packing
    ids: Ids | None = None
    made_by: MadeBy | None = None
    verified: bool = False
    files: MappedFiles = NO_FILES

    @property
    def h(self) -> int:  # type: ignore[override]
        """The width of the rows when unpacked."""
        return self.packing.h

    @property
    def k(self) -> int:
        """Nonzeros a row."""
        return self.packing.k

    @property
    def storage(self) -> str:
        """How `packing` writes them."""
        return self.packing.storage

    @property
    def levels(self) -> tuple[float, ...]:
        """The magnitudes of `Packing`."""
        return self.packing.levels

    @property
    def similarity(self) -> str:
        """That of `Packing`."""
        return self.packing.similarity

    @property
    def norms(self) -> None:  # type: ignore[override]
        """None: no search needs them."""

    @property
    def lengths(self) -> None:  # type: ignore[override]
        """None: the values have them."""

    @property
    def nbytes(self) -> int:
        """Bytes of the records, which are all that a search needs."""
        return self.records.nbytes

    def __len__(self) -> int:
        return self.records.shape[0]

    def arrays(self) -> dict[str, Any]:
        """`records`."""
        self.files.check()
        return {"records": self.records}

    def like(self, arrays: dict[str, Any], ids: Ids | None = None, files: MappedFiles = NO_FILES) -> Packed:
        """Records of the same packing and origin."""
        return dataclasses.replace(self, **arrays, ids=ids, files=files)

    def codes(self) -> Codes:
        """Float32 values and uint16 or uint32 columns, rising within a row; a zero row has the first k columns."""
        values = np.empty((len(self), self.k), np.float32)
        columns = np.empty(values.shape, column_dtype(self.h))
        unpacker = Unpacker(self.packing)
        for start in range(0, len(self), unpacker.rows):
            here = slice(start, start + unpacker.rows)
            self.files.check()
            unpacker.into(self.records[here], values[here], columns[here])
        return Codes(values, columns, self.h, None, self.ids, self.made_by, self.verified)

    def unpack(self) -> Codes:
        """`codes`, by the name it had in version 0.1."""
        return self.codes()

    def prefix(self, k: int) -> Packed:
        """Raises InputError, but for the k that the rows have."""
        if k == self.k:
            return self
        raise InputError(
            f"packed columns are a set without an order, so they have no prefix of {k}: compress again with a smaller k"
        )

    def with_norms(self, decoder_w: Float[AnyArray, "h d"]) -> Packed:
        """Themselves: they need none."""
        return self

    def scales(self, space: str) -> Float[np.ndarray, " n"] | None:
        """1 for every row, a view of a single number; None in the space 'sparse', unless values have lengths."""
        from compressae_jax.codes import spaces

        check_choice("space", space, spaces.SPACES)
        return None if space == "sparse" and self.similarity == "cosine" else np.broadcast_to(np.float32(1), len(self))

    def reader(self, space: str, rows: int, fresh: bool = False) -> Callable[[Some], Part]:
        """Some rows unpacked into one buffer; whatever the records are, columns are below h."""
        from compressae_jax.codes import row_kernels

        rows, scales = min(rows, max(1, len(self))), self.scales(space)
        unpacker, own = Unpacker(self.packing, rows), np.empty(rows, np.float32)

        def read(here: Some) -> Part:
            self.files.check()
            values, columns = unpacker(self.records[here])
            if fresh:
                values, columns = values.copy(), columns.copy()
            if scales is not None:
                return Part(values, columns, scales[here])
            computed = np.empty(len(values), np.float32) if fresh else own[: len(values)]
            row_kernels.unit_scales(values, computed)
            return Part(values, columns, computed)

        return read

    def encoded(self, space: str) -> Encoded | None:
        """Records as they are, where search takes them apart itself; None where their scales follow from values."""
        return self._encoded(space, self.packing) if self.packing.ENCODED else None

    def beside(self, space: str) -> Beside | None:
        """Records of storage `residual`, in the same way."""
        described = self.packing.beside
        first = None if described is None else self._encoded(space, described[0])
        return None if described is None or first is None else Beside(first, self.k, *described[1:])

    def _encoded(self, space: str, how: Packing) -> Encoded | None:
        """Records, which begin as `how` says."""
        scales = self.scales(space)
        if scales is None:
            return None
        n, width = len(self), self.packing.width

        def read(here: Some) -> tuple[np.ndarray, np.ndarray]:
            self.files.check()
            records = self.records[here]
            inside = isinstance(here, slice) and width * (n - here.indices(n)[1]) >= ROOM
            return records if inside and records.flags.c_contiguous else with_room(records), scales[here]

        return Encoded(how.signed, how.h, how.low, how.k, read, np.asarray(self.records))

    def check(self) -> Packed:
        """The same rows, verified; raises InputError as `check_records`."""
        if self.verified:
            return self
        check_records(self)
        return dataclasses.replace(self, verified=True)


def with_room(records: UInt8[np.ndarray, "c w"]) -> UInt8[np.ndarray, "c w"]:
    """A copy of records behind which `ROOM` bytes may be read."""
    roomy = np.zeros(records.size + ROOM, np.uint8)
    roomy[: records.size] = records.reshape(-1)
    return roomy[: records.size].reshape(records.shape)


class Unpacker:
    """Unpacks up to `rows` rows at a time, for one thread, whose buffers it keeps."""

    def __init__(self, packing: Packing, rows: int | None = None) -> None:
        self.rows = rows or max(1, PIECE // packing.k)
        self.into = packing.decoder(self.rows)  # records, values and columns of the caller
        self._values = np.empty((self.rows, packing.k), np.float32)
        self._columns = np.empty((self.rows, packing.k), column_dtype(packing.h))

    def __call__(
        self, records: UInt8[np.ndarray, "n w"]
    ) -> tuple[Float[np.ndarray, "n k"], Integer[np.ndarray, "n k"]]:
        """Values and columns, to be used before the next call overwrites them."""
        values, columns = self._values[: len(records)], self._columns[: len(records)]
        self.into(records, values, columns)
        return values, columns


def pack(codes: Codes, packing: Packing) -> Packed:
    """Pack codes, each value at the nearest level by magnitude (of two, the lower one), with its sign.

    Raises:
        InputError: codes of another h or k, a row with k nonzeros in fewer than k columns, with fewer nonzeros (but
            not none), not finite, or with lengths beside them, which belong into the values before these are rounded.
    """
    if codes.lengths is not None:
        raise InputError("codes with lengths are packed from their vectors: compress them by storage='packed…'")
    if (codes.h, codes.k) != (packing.h, packing.k):
        raise InputError(f"codes must have h={packing.h}, k={packing.k}, not h={codes.h}, k={codes.k}")
    checked(codes.values, codes.columns, codes.h)
    records = np.empty((len(codes), packing.width), np.uint8)
    step = max(1, 2**20 // packing.k)
    for start in range(0, len(codes), step):
        here = slice(start, start + step)
        values = np.asarray(codes.values[here]).astype(np.float32)
        records[here] = _packed_piece(values, np.asarray(codes.columns[here]), packing, start)
    return Packed(records, packing, codes.ids, codes.made_by, verified=True)


def check_records(packed: Packed) -> None:
    """Raise InputError unless every record is one that `pack` writes: rank, columns and unused bits are in range."""
    rows = max(1, PIECE // packed.k)
    for start in packed.files.watched(range(0, len(packed), rows)):
        good = packed.packing.sound(packed.records[start : start + rows])
        if not good.all():
            row = start + int(good.argmin())
            raise InputError(f"the record of row {row} is none of {packed.k} different columns of 0..{packed.h - 1}")


def _packed_piece(values: np.ndarray, columns: np.ndarray, packing: Packing, start: int) -> UInt8[np.ndarray, "n w"]:
    used = (values != 0).sum(axis=1)
    partly = (used > 0) & (used < packing.k)
    if partly.any():
        row = int(partly.argmax())
        raise InputError(f"row {start + row} has {used[row]} nonzeros; a packed row has all {packing.k} or none")
    order = np.argsort(columns, axis=1, kind="stable")
    columns, values = np.take_along_axis(columns, order, axis=1), np.take_along_axis(values, order, axis=1)
    twice = (columns[:, 1:] == columns[:, :-1]).any(axis=1) & (used > 0)
    if twice.any():
        raise InputError(f"row {start + int(twice.argmax())} has a column twice; a packed row has {packing.k} columns")
    return packing.packed(values, columns, used > 0)


def _level_numbers(values: Float[np.ndarray, "n k"], packing: Packing) -> UInt8[np.ndarray, "n k"]:
    """What is stored of each value: the number of the nearest level, and the sign as its top bit."""
    levels = np.array(packing.levels)
    numbers = np.searchsorted((levels[1:] + levels[:-1]) / 2, np.abs(values).astype(np.float64))
    return (numbers | (values < 0).astype(np.int64) << (packing.bits - 1)).astype(np.uint8)


def _words_of(packing: Packing) -> int:
    """Words of 64 bits that hold a record, and one more, so that a field may be read across any boundary."""
    return -(-packing.bits_per_row // 64) + 1


class Tables(NamedTuple):
    """What the kernels read: binomials, and where among them to look for the one of a remainder."""

    low: int
    rank_bits: int
    zero_rank: UInt64[np.ndarray, " w"]
    binomials: UInt64[np.ndarray, "k w buckets"]  # C(b + i, i + 1) at [i, :, b], the lowest word first
    floats: Float[np.ndarray, "k buckets"]  # their top two words as numbers, not above the truth
    lengths: Integer[np.ndarray, " k"]  # words that a remainder at digit i has at most
    mantissas: Integer[np.ndarray, " k"]  # bits of its mantissa that its cell is named by
    firsts: Integer[np.ndarray, " k+1"]  # of the cells of digit i in `guesses`
    guesses: Integer[np.ndarray, " cells"]  # the greatest bucket that some remainder in a cell has, below 2^16


@functools.lru_cache(maxsize=32)
def _tables(h: int, k: int) -> Tables:
    low, buckets, rank_bits, zero_rank = split(h, k)
    width = -(-rank_bits // 64)
    words: list[bytes] = []
    tops = np.empty((k, buckets))
    lengths, mantissas, cells = np.empty(k, np.int64), np.empty(k, np.int64), np.empty(k, np.int64)
    row = [1] * buckets  # C(b + i - 1, i) of i = 0
    for i in range(k):
        # C(b + i, i + 1) is the sum of C(b' + i, i) over b' < b.
        sums = list(itertools.accumulate(row, initial=0))
        words.extend(one.to_bytes(8 * width, "little") for one in sums[:-1])
        bits = sums[-1].bit_length()
        lengths[i], mantissas[i] = -(-bits // 64), (buckets // (i + 1) + 1).bit_length()
        below = 64 * max(0, int(lengths[i]) - 2)  # bits under the two words at the top
        tops[i] = [one >> below for one in sums[:-1]]
        cells[i] = 1 + ((bits - below) << int(mantissas[i]))
        row = sums[1:]
    binomials = np.frombuffer(b"".join(words), "<u8").astype(np.uint64, copy=False).reshape(k, buckets, width)
    # Rounded down, so that no bucket is missed: one too far is noticed when its binomial is subtracted.
    floats = (1 - 2.0**-50) * tops
    return Tables(
        low,
        rank_bits,
        np.frombuffer(zero_rank.to_bytes(8 * width, "little"), "<u8").astype(np.uint64),
        np.ascontiguousarray(binomials.transpose(0, 2, 1)),
        floats,
        lengths,
        mantissas,
        np.concatenate([[0], np.cumsum(cells)]),
        _guesses(np.where(tops < 2.0**53, tops, floats), mantissas, cells),
    )


def _guesses(
    tops: Float[np.ndarray, "k buckets"], mantissas: Integer[np.ndarray, " k"], cells: Integer[np.ndarray, " k"]
) -> Integer[np.ndarray, " cells"]:
    """For each cell of remainders of each digit, the greatest bucket whose binomial is at most some remainder in it.

    A remainder's top two words make a float64; cell 0 is where they are zero, each other cell is an exponent and the
    first bits of a mantissa, so narrow that one bucket at most begins within. `tops` are the same words of the
    binomials, exact or rounded down.
    """
    guesses, at = np.empty(int(cells.sum()), np.uint16), 0
    for mantissa in np.unique(mantissas)[::-1]:  # they fall from digit to digit
        parts = np.arange(1, 2**mantissa + 1) / 2.0**mantissa
        exponents = 2.0 ** np.arange((cells[mantissas == mantissa].max() - 1) >> mantissa)
        ends = np.concatenate([[1], (exponents[:, None] * (1 + parts)).ravel()])
        for i in np.flatnonzero(mantissas == mantissa):
            here = slice(at, at + int(cells[i]))
            guesses[here] = np.searchsorted(tops[i, 1:], ends[: cells[i]])
            at = here.stop
    return guesses
