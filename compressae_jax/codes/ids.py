"""Ids of rows: integers as NumPy arrays, texts as offsets and UTF-8, so that a long one costs only itself."""

from __future__ import annotations

import codecs
import sys
from collections.abc import Iterator, Sequence
from typing import Any, overload

import numpy as np
from jaxtyping import Int64, Shaped, UInt8

from compressae_jax.base.arrays import pieces
from compressae_jax.codes.mapped import NO_FILES, MappedFiles
from compressae_jax.notation import InputError

PIECE = 2**16  # texts decoded at once
BYTES = 2**22  # looked at together


class TextIds(Sequence):
    """Texts by row: text i is `utf8[offsets[i]:offsets[i + 1]]`; both arrays may be memory maps.

    `ids[i]` is a str; a slice, or an array of row numbers or booleans, gives `TextIds`. `np.asarray` gives an array of
    objects, whose bytes are those of the texts.
    """

    def __init__(
        self,
        offsets: Int64[np.ndarray, " n_and_1"],
        utf8: UInt8[np.ndarray, " bytes"],
        files: MappedFiles | None = None,
    ) -> None:
        self.offsets, self.utf8, self.files = offsets, utf8, files or MappedFiles()

    @staticmethod
    def of(texts: Sequence[str]) -> TextIds:
        """Of any sequence of str; a lone surrogate (of a file's name that is no UTF-8) stays what it is."""
        encoded = [text.encode("utf-8", "surrogatepass") for text in texts]
        offsets = np.zeros(len(encoded) + 1, np.int64)
        np.cumsum([len(one) for one in encoded], out=offsets[1:])
        return TextIds(offsets, np.frombuffer(b"".join(encoded), np.uint8))

    @property
    def nbytes(self) -> int:
        """Bytes of offsets and of texts."""
        return self.offsets.nbytes + int(self.offsets[-1] - self.offsets[0])

    @property
    def shape(self) -> tuple[int]:
        """(n,)."""
        return (len(self),)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @overload
    def __getitem__(self, rows: int | np.integer) -> str: ...
    @overload
    def __getitem__(self, rows: Any) -> TextIds: ...
    def __getitem__(self, rows: Any) -> str | TextIds:
        """A str of a row number, `TextIds` of several."""
        self.files.check()
        if isinstance(rows, (int, np.integer)):
            row = range(len(self))[int(rows)]
            return self._text(*self.offsets[row : row + 2].tolist())
        if isinstance(rows, slice) and rows.step in (None, 1):
            start, stop, _ = rows.indices(len(self))
            return TextIds(self.offsets[start : max(start, stop) + 1], self.utf8, self.files)
        return self._gathered(np.arange(len(self))[rows])

    def __iter__(self) -> Iterator[str]:
        for start in range(0, len(self), PIECE):
            self.files.check()
            ends = np.asarray(self.offsets[start : start + PIECE + 1]).tolist()
            for i in range(len(ends) - 1):
                yield self._text(ends[i], ends[i + 1])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Shaped[np.ndarray, " n"]:
        array = np.empty(len(self), object)
        array[:] = list(self)
        return array if dtype is None else array.astype(dtype)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, (TextIds, list, tuple, np.ndarray)):
            return NotImplemented
        return len(self) == len(other) and all(mine == its for mine, its in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"<{len(self):,} ids, {', '.join(repr(text[:40]) for text in self[:3])}{', …' * (len(self) > 3)}>"

    def _text(self, start: int, stop: int) -> str:
        # Slices of an array stay inside it, whatever offsets nobody has checked.
        text = self.utf8[max(0, start) : max(0, stop)].tobytes()
        try:
            return text.decode("utf-8", "surrogatepass")
        except UnicodeDecodeError:
            raise InputError(f"the id {text[:40]!r} is not UTF-8") from None

    def _gathered(self, rows: np.ndarray) -> TextIds:
        """Rows in any order, copied."""
        starts, stops = (np.clip(self.offsets[some], 0, len(self.utf8)) for some in (rows, rows + 1))
        sizes = np.maximum(stops - starts, 0)
        offsets = np.zeros(len(rows) + 1, np.int64)
        np.cumsum(sizes, out=offsets[1:])
        return TextIds(offsets, self.utf8[np.repeat(starts - offsets[:-1], sizes) + np.arange(offsets[-1])])


Ids = np.ndarray | TextIds


def as_ids(ids: Any, n: int) -> Ids:
    """What people hold ids in, as 64-bit integers, signed or not, or as texts.

    Raises:
        InputError: ids that are not n, one a row, or neither texts nor integers.
    """
    if len(ids) != n:
        raise InputError(f"ids must be {n}, one a row, not {len(ids)}")
    if isinstance(ids, TextIds):
        return ids
    if not isinstance(ids, np.ndarray) and all(isinstance(one, str) for one in ids):
        return TextIds.of(ids)  # not by way of an array, where each takes the room of the longest
    array = np.asarray(ids)
    if array.ndim != 1 or not (array.dtype.kind in "iuU" or _all_texts(array)):
        raise InputError(f"ids must be strings or 64-bit integers, not {array.dtype} of shape {array.shape}")
    if array.dtype.kind in "iu":
        return array.astype(np.uint64 if array.dtype == np.uint64 else np.int64, copy=False)
    return TextIds.of(array.tolist())


def check(ids: Ids, files: MappedFiles = NO_FILES) -> None:
    """Raise InputError for ids of a file, which are maps of `files`, that are no texts: looked at piece by piece."""
    if isinstance(ids, TextIds):
        _check_offsets(ids, files)
        decoder = codecs.getincrementaldecoder("utf-8")("surrogatepass")
        try:
            for some in files.watched(pieces(ids.utf8, BYTES)):
                decoder.decode(some.tobytes())
            decoder.decode(b"", final=True)
        except UnicodeDecodeError:
            raise InputError("the ids are not UTF-8") from None
    elif ids.dtype.kind == "U":
        for some in files.watched(pieces(ids, max(1, BYTES // ids.dtype.itemsize))):
            if int(np.ascontiguousarray(some).view(np.uint32).max()) > sys.maxunicode:
                raise InputError("the ids are not Unicode")


def _check_offsets(ids: TextIds, files: MappedFiles) -> None:
    files.check()
    last, size = 0, len(ids.utf8)
    if int(ids.offsets[0]) != 0 or int(ids.offsets[-1]) != size:
        raise InputError(f"the offsets of ids must go from 0 to {size}")
    for some in files.watched(pieces(ids.offsets, PIECE)):
        if int(some[0]) < last or (some[1:] < some[:-1]).any():
            raise InputError("the offsets of ids fall somewhere")
        last = int(some[-1])
        if last > size or (ids.utf8[some[some < size]] & 0xC0 == 0x80).any():
            raise InputError("the offsets of ids part a letter")


def same(one: Ids, other: Ids) -> bool:
    """Whether ids of one kind are equal; of texts, without one being made."""
    if not (isinstance(one, TextIds) and isinstance(other, TextIds)):
        return np.array_equal(np.asarray(one), np.asarray(other))
    one.files.check()
    other.files.check()
    mine, its = (ids.utf8[ids.offsets[0] : ids.offsets[-1]] for ids in (one, other))
    return np.array_equal(np.diff(one.offsets), np.diff(other.offsets)) and np.array_equal(mine, its)


def joined(parts: Sequence[Ids]) -> Ids:
    """The ids of several rows as one, in memory."""
    texts = [part for part in parts if isinstance(part, TextIds)]
    if len(texts) == len(parts):
        sizes = [np.diff(np.asarray(part.offsets)) for part in texts]
        offsets = np.zeros(sum(map(len, sizes)) + 1, np.int64)
        np.cumsum(np.concatenate(sizes), out=offsets[1:])
        return TextIds(offsets, np.concatenate([part.utf8[part.offsets[0] : part.offsets[-1]] for part in texts]))
    return np.concatenate([np.asarray(part) for part in parts])


def _all_texts(array: np.ndarray) -> bool:
    return array.dtype.kind == "O" and all(isinstance(one, str) for one in array.flat)
