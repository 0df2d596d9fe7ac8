"""A source whose ids stand beside it: in memory, in a text file of one id a line, or in an `.npy` of integers."""

import os
import re
from typing import Any

import numpy as np
import xxhash

from compressae_jax.codes import ids as ids_of
from compressae_jax.codes.ids import Ids, TextIds, as_ids
from compressae_jax.data import npy, remote
from compressae_jax.data.sources import Source
from compressae_jax.data.wrapped import Wrapped
from compressae_jax.notation import InputError

LINE, RETURN = 10, 13


class WithIds(Wrapped):
    """The rows of another source under ids that it does not have; they are a part of what the source is."""

    def __init__(self, source: Source, ids: Any):
        """`ids`: one a row, or the path of a file of them.

        Raises:
            InputError: ids that are not one a row, or neither texts nor integers; a source with ids of its own.
        """
        if source.ids is not None:
            raise InputError(f"{source.name} has ids of its own; leave out either these or the ids beside it")
        name = str(ids) if isinstance(ids, (str, os.PathLike)) else "ids"
        given = read(ids) if isinstance(ids, (str, os.PathLike)) else ids
        if len(given) != len(source):
            raise InputError(f"{name} must have {len(source)} ids, one for each row of {source.name}, not {len(given)}")
        super().__init__(source)
        self._ids = as_ids(given, len(source))

    @property
    def ids(self) -> Ids:
        """Those beside it."""
        return self._ids

    def selection(self) -> list[str]:
        """That of the rows, and a hash of the ids."""
        ids = self._ids
        arrays = (ids.offsets, ids.utf8) if isinstance(ids, TextIds) else (ids,)
        digest = xxhash.xxh3_128()
        for one in arrays:
            digest.update(np.ascontiguousarray(one))
        return [*super().selection(), f"ids {digest.hexdigest()}"]


def read(path: str | os.PathLike) -> Ids:
    """The ids of a file: `.npy` of integers, or text (UTF-8) of one id a line.

    Raises:
        InputError: nothing there, another kind of `.npy`, text that is not UTF-8.
    """
    try:
        file = remote.at(path)
        if file.suffix == ".npy":
            return _integers(file.path, npy.read_whole(file))
        with file.open() as opened:
            raw = np.frombuffer(opened.read(), np.uint8)
    except (FileNotFoundError, NotADirectoryError):
        raise InputError(f"there is no file of ids {path}") from None
    ids = _lines(raw)
    try:
        ids_of.check(ids)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    return ids


def integers(ids: Ids, name: str = "ids") -> np.ndarray:
    """Ids that a text file gave, as the integers that they say; integers are themselves.

    Raises:
        InputError: the first line that is no 64-bit integer.
    """
    if not isinstance(ids, TextIds):
        return ids
    found = []
    for number, text in enumerate(ids, 1):
        digits = text.strip()
        if not re.fullmatch(r"-?[0-9]{1,20}", digits):
            raise InputError(f"{name}, line {number}: {text[:40]!r} is no integer, as the ids of the index are")
        found.append(int(digits))
    try:
        return as_ids(found or np.empty(0, np.int64), len(found))  # type: ignore[return-value]
    except (InputError, OverflowError):
        raise InputError(f"{name} holds integers of more than 64 bits") from None


def _integers(path: Any, array: np.ndarray) -> Ids:
    if array.ndim != 1 or array.dtype.kind not in "iu":
        raise InputError(f"{path} must hold integers of shape (n,), not {array.dtype} of shape {array.shape}")
    return as_ids(array, len(array))


def _lines(raw: np.ndarray) -> TextIds:
    """The lines of a text; a line may end as on Windows, the last one needs no end."""
    ends = np.flatnonzero(raw == LINE)
    if len(raw) and (not len(ends) or ends[-1] != len(raw) - 1):
        ends = np.append(ends, len(raw))
    starts = np.append(0, ends[:-1] + 1)[: len(ends)]
    kept = np.ones(len(raw), bool)
    kept[ends[ends < len(raw)]] = False
    returned = ends[(ends > starts) & (raw[np.maximum(ends - 1, 0)] == RETURN)] - 1
    kept[returned] = False
    sizes = ends - starts
    sizes[np.searchsorted(ends, returned)] -= 1
    offsets = np.zeros(len(ends) + 1, np.int64)
    np.cumsum(sizes, out=offsets[1:])
    return TextIds(offsets, raw[kept])
