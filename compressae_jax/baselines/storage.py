"""How the floats of a row are kept, byte for byte; searching what is kept lives in `flat`."""

from collections.abc import Callable
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Int8, Shaped, UInt8

from compressae_jax.baselines.units import unit_rows

Reduced = Float[np.ndarray, "n m"]
Float16Values = Shaped[np.ndarray, "n m"]


@runtime_checkable
class Storage(Protocol):
    """How m floats of a row are kept: `width` bytes, all of them counted."""

    width: int

    def pack(self, reduced: Reduced) -> Shaped[np.ndarray, "n ..."]:
        """The stored rows, one element or one row of the array each, `width` bytes a row."""
        ...

    def unpack(self, stored: Shaped[np.ndarray, "n ..."]) -> Reduced:
        """The floats that stored rows stand for."""
        ...


class Float32:
    """m float32 values."""

    def __init__(self, m: int):
        self.width = 4 * m

    def pack(self, reduced: Reduced) -> Float[np.ndarray, "n m"]:
        """The values themselves."""
        return reduced

    def unpack(self, stored: Float[np.ndarray, "n m"]) -> Reduced:
        """The values themselves."""
        return stored


class Float16:
    """m float16 values."""

    def __init__(self, m: int):
        self.width = 2 * m

    def pack(self, reduced: Reduced) -> Float16Values:
        """The values to eleven bits."""
        return reduced.astype(np.float16)

    def unpack(self, stored: Float16Values) -> Reduced:
        """The values in float32."""
        return stored.astype(np.float32)


class Int8Rows:
    """m symmetric int8 values and one float32 scale a row, which is counted."""

    def __init__(self, m: int):
        self.dtype = np.dtype([("scale", np.float32), ("values", np.int8, (m,))])
        self.width = self.dtype.itemsize

    def pack(self, reduced: Reduced) -> Shaped[np.ndarray, " n"]:
        """Values rounded to the nearest of 255 steps; a step is the row's largest magnitude / 127."""
        stored = np.zeros(len(reduced), self.dtype)
        stored["scale"] = scale = np.abs(reduced).max(axis=1, initial=0) / np.float32(127)
        stored["values"] = np.rint(reduced / np.where(scale > 0, scale, 1)[:, None])
        return stored

    def unpack(self, stored: Shaped[np.ndarray, " n"]) -> Reduced:
        """The values in units of their row's scale."""
        return stored["values"] * stored["scale"][:, None]


class Int8Dimensions:
    """m symmetric int8 values; every dimension has one step for all rows, learned from training rows."""

    def __init__(self, training: Reduced):
        steps = np.abs(training).max(axis=0, initial=0) / np.float32(127)
        self._steps = np.where(steps > 0, steps, 1).astype(np.float32)
        self.width = len(steps)

    def pack(self, reduced: Reduced) -> Int8[np.ndarray, "n m"]:
        """Values rounded to the nearest step; beyond the training rows' largest they are clipped."""
        return np.clip(np.rint(reduced / self._steps), -127, 127).astype(np.int8)

    def unpack(self, stored: Int8[np.ndarray, "n m"]) -> Reduced:
        """The values in units of their dimension's step."""
        return stored * self._steps


class Int4Dimensions:
    """m values in sixteen even levels, two a byte; the middle and the step of a dimension are learned for all rows."""

    def __init__(self, training: Reduced):
        self._middle = training.mean(axis=0)
        self._steps = _steps(training - self._middle)
        self.width = -(-len(self._steps) // 2)

    def pack(self, reduced: Reduced) -> UInt8[np.ndarray, "n p"]:
        """Values as the nearest of the levels, an even dimension in the low half of its byte."""
        levels = _levels(reduced - self._middle, self._steps).astype(np.uint8)
        levels = np.pad(levels, ((0, 0), (0, len(self._steps) % 2)))
        return levels[:, ::2] | levels[:, 1::2] << 4

    def unpack(self, stored: UInt8[np.ndarray, "n p"]) -> Reduced:
        """The levels about their dimension's middle."""
        levels = np.stack([stored & 15, stored >> 4], axis=2).reshape(len(stored), -1)[:, : len(self._steps)]
        return self._middle + _values(levels, self._steps)


def _steps(offsets: Reduced) -> Float[np.ndarray, " m"]:
    """The step of each dimension that leaves the least squared error, among tenths of a standard deviation and up."""
    candidates = np.geomspace(0.1, 1, 25, dtype=np.float32)[:, None] * offsets.std(axis=0)
    errors = [np.square(_values(_levels(offsets, steps), steps) - offsets).sum(axis=0) for steps in candidates]
    return candidates[np.argmin(errors, axis=0), np.arange(offsets.shape[1])]


def _levels(offsets: Reduced, steps: Float[np.ndarray, " m"]) -> Reduced:
    return np.clip(np.floor(offsets / np.where(steps > 0, steps, 1)) + 8, 0, 15)


def _values(levels: Shaped[np.ndarray, "n m"], steps: Float[np.ndarray, " m"]) -> Reduced:
    return (levels - np.float32(7.5)) * steps


class Signs:
    """The signs of m values, a bit each; they stand for a row of unit length, or for magnitudes of the dimensions."""

    def __init__(self, m: int, magnitudes: Float[np.ndarray, " m"] | None = None):
        self._m = m
        self._magnitudes = np.full(m, 1 / np.sqrt(m), np.float32) if magnitudes is None else magnitudes
        self.width = -(-m // 8)

    def pack(self, reduced: Reduced) -> UInt8[np.ndarray, "n p"]:
        """A bit for every value above zero."""
        return np.packbits(reduced > 0, axis=1)

    def unpack(self, stored: UInt8[np.ndarray, "n p"]) -> Reduced:
        """Plus or minus the magnitudes, by default 1/√m."""
        bits = np.unpackbits(stored, axis=1, count=self._m)
        return (2 * bits.astype(np.float32) - 1) * self._magnitudes


class Centred:
    """Rows about the mean of training rows, which no row stores; unpacked they are of unit length.

    The last dimension is the mean's alone: of rows, nothing of it is stored. `make` gives the storage of the others.
    """

    def __init__(self, make: Callable[[Reduced], Storage], training: Float[np.ndarray, "n p"]):
        self._mean = training.mean(axis=0)
        self._storage = make(training[:, :-1] - self._mean[:-1])
        self.width = self._storage.width

    def pack(self, reduced: Float[np.ndarray, "n p"]) -> Shaped[np.ndarray, "n ..."]:
        """What is left of the mean, as the storage packs it."""
        return self._storage.pack(reduced[:, :-1] - self._mean[:-1])

    def unpack(self, stored: Shaped[np.ndarray, "n ..."]) -> Float[np.ndarray, "n p"]:
        """The mean with what is stored about it."""
        rest = self._storage.unpack(stored)
        return unit_rows(np.hstack([rest, np.zeros((len(rest), 1), np.float32)]) + self._mean)


class Unit:
    """Another storage, whose unpacked rows go back to unit length."""

    def __init__(self, storage: Storage):
        self._storage = storage
        self.width = storage.width

    def pack(self, reduced: Reduced) -> Shaped[np.ndarray, "n ..."]:
        """As the other packs."""
        return self._storage.pack(reduced)

    def unpack(self, stored: Shaped[np.ndarray, "n ..."]) -> Reduced:
        """What the other unpacks, row by row of unit length."""
        return unit_rows(self._storage.unpack(stored))
