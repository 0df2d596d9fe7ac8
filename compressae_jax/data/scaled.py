"""Rows kept as int8 or uint8, and the scale that they are multiplied by: one number, one a row or one a column.

Files that hold several arrays may have it among them, under the name `scale`; an .npy has it in a file beside it.
"""

import os
from collections.abc import Iterator
from typing import Any

import numpy as np
import xxhash
from jaxtyping import Float32, Integer

from compressae_jax.data import npy, remote
from compressae_jax.data.sources import BYTES, Block, Source
from compressae_jax.data.wrapped import Wrapped
from compressae_jax.notation import InputError


class Scaled(Wrapped):
    """The integers of another source times a scale, which is a part of what the source is."""

    def __init__(self, source: Source, scale: Any):
        """`scale`: a number, or as many as rows or as columns; where these are as many, the shape says which.

        Raises:
            InputError: another shape, a value that is not finite or is negative, rows that are no integers.
        """
        super().__init__(source)
        if source.dtype not in BYTES:
            raise InputError(f"scale is for {' and '.join(BYTES)}; {source.name} holds {source.dtype}")
        self._scale, self._by_row = _shaped(source, scale)

    def own_scale(self) -> np.ndarray:
        """That which they have."""
        return self._scale

    def selection(self) -> list[str]:
        """That of the rows, and a hash of the scale."""
        return [*self._source.selection(), f"scale {self._by_row} {xxhash.xxh3_128_hexdigest(self._scale)}"]

    def blocks(self, rows: int, start: int) -> Iterator[Block]:
        """Those of the rows, scaled."""
        for block in self._source.blocks(rows, start):
            yield self._times(block, slice(start, start + len(block)))
            start += len(block)

    def _read(self, start: int, stop: int) -> Block:
        return self._times(self._source.read(start, stop), slice(start, stop))

    def _take(self, rows: Integer[np.ndarray, " b"]) -> Block:
        return self._times(self._source.take(rows), rows)

    def _times(self, block: Block, rows: Any) -> Block:
        scale = self._scale[rows, None] if self._by_row else self._scale
        return np.multiply(block, scale, out=block)


def with_own(source: Source) -> Source:
    """The source of one file, scaled by the scale that the file holds.

    Raises:
        InputError: integers that have none, and are of a kind where that may mean something else.
    """
    if source.dtype not in BYTES:
        return source
    if (own := source.own_scale()) is not None:
        return Scaled(source, own)
    if source.plain_integers:
        return source
    raise InputError(
        f"{source.name} holds {source.dtype} without a scale: give scale=1 (--scale=1, open_source(…, scale=1)) "
        "to take them as they are, as one scale for all changes no cosine, or their scale: a number, one a row or one "
        "a column, which may also lie beside an .npy as NAME.scale.npy"
    )


def with_given(source: Source, scale: Any) -> Source:
    """The source scaled as it was asked for: a number, an array, or the path of an .npy."""
    if source.dtype in BYTES and source.own_scale() is not None:
        raise InputError(f"{source.name} has a scale of its own; leave out scale")
    scale = _number(scale)
    if isinstance(scale, (str, os.PathLike)):
        scale = read(scale)
    if isinstance(scale, float) and scale == 1 and source.dtype in BYTES:
        return source
    return Scaled(source, scale)


def read(path: str | os.PathLike) -> np.ndarray:
    """The numbers of an .npy.

    Raises:
        InputError: there is no such file, or it is none of numbers.
    """
    try:
        return npy.read_whole(remote.at(path))
    except (FileNotFoundError, NotADirectoryError):
        raise InputError(f"scale must be a number or the path of an .npy, and there is no file {path}") from None


def _number(scale: Any) -> Any:
    try:
        return float(scale) if np.ndim(scale) == 0 else scale
    except (TypeError, ValueError):
        return scale


def _shaped(source: Source, scale: Any) -> tuple[Float32[np.ndarray, " m"], bool]:
    """The scale as one number, one a row or one a column, and whether it is one a row."""
    n, d = len(source), source.width
    try:
        given = np.asarray(scale)
        if given.dtype.kind not in "fiu" and given.dtype.name != "bfloat16":
            raise ValueError
        numbers = np.asarray(given, np.float32)
    except (TypeError, ValueError):
        raise InputError(f"scale of {source.name} must be numbers, not {str(scale)[:80]!r}") from None
    shapes: dict[tuple[int, ...], bool] = {(): False, (1,): False, (1, 1): False, (n, 1): True, (1, d): False}
    shapes |= {(n,): True, (d,): False} if n != d else {}
    if numbers.shape not in shapes:
        either = f"({n}, 1) or (1, {d})" if n == d else f"({n},) or ({d},)"
        raise InputError(f"scale of {source.name} must be one number or have shape {either}, not {numbers.shape}")
    flat = np.ascontiguousarray(numbers.reshape(-1))
    bad = ~(np.isfinite(flat) & (flat >= 0))
    if bad.any() or not flat.any():
        at = int(bad.argmax())
        raise InputError(f"scale of {source.name} must be finite and above 0, not {flat[at]} (number {at})")
    return flat, shapes[numbers.shape] and flat.size == n
