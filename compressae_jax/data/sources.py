"""Rows of vectors behind one interface, wherever they lie; the kinds of file are neighbours, `opening` picks one."""

import contextlib
import functools
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np
from jaxtyping import Float32, Integer

from compressae_jax.codes.ids import Ids, as_ids
from compressae_jax.data import identity as identities
from compressae_jax.data.identity import Identity, Stretch
from compressae_jax.data.opened import File
from compressae_jax.notation import AnyArray, InputError, check_range

DTYPES = ("float16", "float32", "float64", "bfloat16")
BYTES = ("int8", "uint8")  # with a scale: see `scaled`
WIDEST = 2**20  # numbers of a row: one row must not be more than a piece
SCALE = "scale"  # of the array beside integers that they are to be multiplied by
PIECE_BYTES = 2**24  # of float32 rows that a stream decodes, or a scan reads, at once

Block = Float32[np.ndarray, "b d"]


class NoRowsError(InputError):
    """A file that is whole and has no rows: among others of a folder it adds none."""


class BadRowsError(InputError):
    """Rows that were read as they are and cannot be used: no later reading helps, the source must change."""


class Beside(NamedTuple):
    """What a file holds beside its vectors, each read when it is asked for."""

    ids: Callable[[], np.ndarray] | None = None
    ids_name: str = ""
    scale: Callable[[], np.ndarray] | None = None

    @property
    def names(self) -> list[str]:
        """What a `selection` says of it."""
        return [] if self.ids is None else [self.ids_name]


NOTHING = Beside()


class Source:
    """n rows of `width` numbers, given out as float32 whatever they are stored as.

    `random_access` says that rows can be taken by number without decoding others.
    """

    random_access = True
    plain_integers = False  # of a byte, are the numbers themselves, and need no scale

    def __init__(
        self,
        name: str,
        kind: str,
        shape: tuple[int, ...],
        dtype: np.dtype | str,
        file: File | None = None,
        beside: Beside = NOTHING,
    ):
        check_shape(name, shape)
        self.name, self.kind, self.file, self.beside = name, kind, file, beside
        self.rows, self.width = int(shape[0]), int(shape[1])
        self.dtype = np.dtype(dtype).name
        self.nbytes = file.size if file else self.rows * self.width * np.dtype(dtype).itemsize
        self.modified = file.modified if file else 0  # newest of its files, in ns; 0 where there is none

    def __len__(self) -> int:
        return self.rows

    @functools.cached_property
    def ids(self) -> Ids | None:
        """One int or str a row, or None; read when first asked for."""
        if self.beside.ids is None:
            return None
        return ids_of(f"{self.name} ({self.beside.ids_name})", self.beside.ids(), self.rows)

    def read(self, start: int, stop: int) -> Block:
        """Rows start to stop - 1, a copy."""
        check_range("start", start, 0, self.rows)
        check_range("stop", stop, start, self.rows)
        return self._read(start, stop)

    def take(self, rows: Integer[AnyArray, " b"]) -> Block:
        """Rows by number, in any order and as often as asked.

        Raises:
            InputError: a row outside the source, or a source without random access.
        """
        rows = np.asarray(rows)
        if rows.size and not 0 <= rows.min() <= rows.max() < self.rows:
            raise InputError(f"rows must lie in 0..{self.rows - 1} of {self.name}, not {rows.min()}..{rows.max()}")
        return self._take(rows)

    def batches(self, rows: int, start: int = 0) -> Iterator[tuple[int, Block]]:
        """(first row, rows) from `start` on, in order, the last batch short; every value is seen to be finite.

        Raises:
            InputError: while iterating, NaN or infinity, with the file and the first such row; damage of the file.
        """
        check_range("rows (of a batch)", rows, 1, sys.maxsize)
        check_range("start", start, 0, self.rows)
        return self._checked(rows, start)

    def summary(self) -> dict[str, Any]:
        """What a report says about the source, as JSON has it; `bytes` as stored."""
        return {
            "name": self.name,
            "kind": self.kind,
            "rows": self.rows,
            "width": self.width,
            "dtype": self.dtype,
            "bytes": self.nbytes,
        }

    def identity(self) -> Identity:
        """What the source is (see `data.identity`), found out once."""
        return self._identity

    def stretches(self) -> Iterator[Stretch]:
        """The bytes that identity is about: those of its file, or else of its rows as float32."""
        if self.file is not None:
            yield self.file.stretch()
        else:
            yield Stretch(4 * self.rows * self.width, lambda: contextlib.nullcontext(self._bytes))

    def selection(self) -> list[str]:
        """What of its file, of those that hold several things, is the source: column or key."""
        return []

    def own_scale(self) -> np.ndarray | None:
        """What integers of a byte are to be multiplied by, where the file says so; `scaled` does it."""
        return None if self.beside.scale is None else self.beside.scale()

    @functools.cached_property
    def _identity(self) -> Identity:
        return identities.of(self)

    @property
    def piece_rows(self) -> int:
        """Rows that make a piece of handy size."""
        return max(1, PIECE_BYTES // (4 * self.width))

    def where(self, row: int) -> str:
        """A row as a message names it: file and number."""
        return f"{self.name}: row {row}"

    def blocks(self, rows: int, start: int) -> Iterator[Block]:
        """What `batches` gives, unchecked and without row numbers."""
        for first in range(start, self.rows, rows):
            yield self._read(first, min(first + rows, self.rows))

    def _checked(self, rows: int, start: int) -> Iterator[tuple[int, Block]]:
        for block in self.blocks(rows, start):
            finite = np.isfinite(block).all(axis=1)
            if not finite.all():
                row = start + int(finite.argmin())
                raise BadRowsError(f"{self.where(row)} has a value that is not a finite float32 (NaN or infinity)")
            yield start, block
            start += len(block)

    def _bytes(self, start: int, stop: int) -> memoryview:
        return bytes_of(self._read, 4 * self.width, start, stop)

    def _read(self, start: int, stop: int) -> Block:
        raise NotImplementedError

    def _take(self, rows: Integer[np.ndarray, " b"]) -> Block:
        raise NotImplementedError


class InMemory(Source):
    """An array as a source; it is neither copied nor converted as a whole."""

    def __init__(self, array: AnyArray, name: str = "array"):
        self._array = np.asarray(array)
        check_shape(name, self._array.shape)
        self._array = self._array.view(check_dtype(name, self._array.dtype))
        super().__init__(name, "array", self._array.shape, self._array.dtype)

    def stretches(self) -> Iterator[Stretch]:
        """The array's bytes, row by row."""
        yield Stretch(self.nbytes, lambda: contextlib.nullcontext(self._raw))

    def _raw(self, start: int, stop: int) -> memoryview:
        return bytes_of(lambda first, last: self._array[first:last], self.nbytes // self.rows, start, stop)

    def _read(self, start: int, stop: int) -> Block:
        return float32(self._array[start:stop])

    def _take(self, rows: Integer[np.ndarray, " b"]) -> Block:
        return float32(self._array[rows])


class Streamed(Source):
    """A source that must be decoded in order; `pieces` is what a kind of file adds."""

    random_access = False

    def pieces(self, start: int) -> Iterator[Block]:
        """Rows from `start` on, in pieces of any size."""
        raise NotImplementedError

    def blocks(self, rows: int, start: int) -> Iterator[Block]:
        """The pieces in batches of `rows`."""
        return regroup(self.pieces(start), rows)

    def _read(self, start: int, stop: int) -> Block:
        some = np.empty((stop - start, self.width), np.float32)
        filled = 0
        for piece in self.pieces(start) if len(some) else ():
            part = some[filled : filled + len(piece)]
            part[:] = piece[: len(part)]
            filled += len(part)
            if filled == len(some):
                break
        return some

    def _take(self, rows: Integer[np.ndarray, " b"]) -> Block:
        raise InputError(f"{self.name} gives no rows by number; compressae_jax.data.stage() makes an .npy that does")


def ids_of(name: str, array: np.ndarray, rows: int) -> Ids:
    """The ids that an array of a file holds: integers, texts, or texts as bytes of UTF-8.

    Raises:
        InputError: another shape or dtype, bytes that are no UTF-8.
    """
    if array.shape != (rows,) or array.dtype.kind not in "iuUS":
        raise InputError(
            f"{name} must be ids of shape ({rows},), integers or texts, not {array.dtype} of shape {array.shape}"
        )
    try:
        return as_ids(np.char.decode(array, "utf-8") if array.dtype.kind == "S" else array, rows)
    except UnicodeDecodeError as error:
        raise InputError(f"{name} must hold UTF-8: {error}") from None


def bytes_of(rows: Callable[[int, int], np.ndarray], width: int, start: int, stop: int) -> memoryview:
    """Bytes start to stop - 1 of rows that have `width` of them; `rows` gives those of two row numbers."""
    first = start // width
    some = np.ascontiguousarray(rows(first, -(-stop // width))).reshape(-1).view(np.uint8)
    return some.data[start - first * width : stop - first * width]


def only_matrix(path: Any, axes: dict[str, int], arrays: str) -> str:
    """The name of the one array that is 2-d, of those in a file; a `scale` is not meant.

    Raises:
        InputError: none is, or several are; the message names `key`.
    """
    matrices = [name for name, number in axes.items() if number == 2 and name != SCALE]
    if len(matrices) != 1:
        names = ", ".join(matrices[:10]) or f"only {', '.join(list(axes)[:10]) or 'nothing'}"
        raise InputError(f"{path} holds {len(matrices)} 2-d {arrays} ({names}); give the wanted one as key")
    return matrices[0]


def check_shape(name: str, shape: Sequence[int]) -> None:
    """Raise InputError unless the shape is (rows, width) with some of both."""
    if len(shape) != 2:
        raise InputError(f"{name} must be 2-d (rows, width), not {len(shape)}-d: shape {tuple(shape)}")
    if shape[0] == 0:
        raise NoRowsError(f"{name} is empty: shape {tuple(shape)}")
    if 0 in shape:
        raise InputError(f"{name} is empty: shape {tuple(shape)}")
    if shape[1] > WIDEST:
        raise InputError(f"{name} has width {shape[1]}, wanted at most {WIDEST}")


def check_dtype(name: str, dtype: np.dtype) -> np.dtype:
    """The dtype to view the data as; two bytes of no type are bfloat16, which is how np.save writes it.

    Raises:
        InputError: integers of more than a byte, complex numbers, objects, or any other dtype.
    """
    if dtype.kind == "V" and dtype.itemsize == 2 and dtype.names is None and dtype.subdtype is None:
        return np.dtype(ml_dtypes.bfloat16)
    if dtype.name not in (*DTYPES, *BYTES):
        raise InputError(f"{name} must hold {', '.join((*DTYPES, *BYTES))}, not {dtype.name}")
    return dtype


def float32(some: np.ndarray) -> Block:
    """A C-contiguous float32 copy; what is too large for float32 becomes infinite, which `batches` refuses."""
    with np.errstate(over="ignore", invalid="ignore"):
        return np.array(some, np.float32, order="C")


def regroup(pieces: Iterable[Block], rows: int) -> Iterator[Block]:
    """The same rows in blocks of `rows`, the last one short; copies."""
    held: list[np.ndarray] = []
    count = 0
    for piece in pieces:
        while len(piece):
            some, piece = piece[: rows - count], piece[rows - count :]
            held.append(some)
            count += len(some)
            if count == rows:
                yield np.concatenate(held)
                held, count = [], 0
    if held:
        yield np.concatenate(held)
