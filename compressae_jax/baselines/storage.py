"""How the floats of a row are kept, byte for byte; searching what is kept lives in `flat`."""

from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Int8, Shaped

Reduced = Float[np.ndarray, "n m"]


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
