"""Scalar quantisers by Lloyd (1957) and Max (1960): levels that leave the least squared error, of a dimension each."""

from statistics import NormalDist

import numpy as np
from jaxtyping import Float, Int, UInt8

from compressae_jax.baselines.quantisers import in_blocks
from compressae_jax.baselines.storage import Reduced
from compressae_jax.notation import InputError

MOST_BITS = 8  # of a dimension
ROUNDS = 30  # levels have settled to less than their noise
ROWS = 16_384  # that levels are learned from, at most
# What is left of a Gaussian's variance by 0 to 8 bits (Max 1960, table I, and its limit, 2.72 / 4^b).
LEFT = np.array([1, 0.3634, 0.1175, 0.03454, 0.009497, 0.002499, 0.0006442, 0.000164, 0.0000413])


class LloydMax:
    """m values in so many bits each, as a string of bits; a dimension of no bits stands for its mean."""

    def __init__(self, training: Reduced, bits: Int[np.ndarray, " m"]):
        if bits.min() < 0 or bits.max() > MOST_BITS:
            raise InputError(f"bits must lie in 0..{MOST_BITS}, not {bits.min()}..{bits.max()}")
        step = -(-len(training) // ROWS)
        training = training[::step]
        self._m, self._mean = len(bits), training.mean(axis=0)
        self._groups = [(int(b), np.flatnonzero(bits == b)) for b in np.unique(bits[bits > 0])]
        self._levels = {b: np.stack([levels(training[:, j], b) for j in dimensions]) for b, dimensions in self._groups}
        self.width = -(-int(bits.sum()) // 8)

    def pack(self, reduced: Reduced) -> UInt8[np.ndarray, "n w"]:
        """The numbers of the nearest levels, the dimensions of few bits first."""
        return in_blocks(self._packed, reduced, self.width)

    def unpack(self, stored: UInt8[np.ndarray, "n w"]) -> Reduced:
        """The levels."""
        bits = np.unpackbits(stored, axis=1, bitorder="little")
        values, first = np.tile(self._mean, (len(stored), 1)), 0
        for b, dimensions in self._groups:
            own = bits[:, first : first + b * len(dimensions)].reshape(len(stored), len(dimensions), b)
            numbers = own @ (1 << np.arange(b))
            values[:, dimensions] = self._levels[b][np.arange(len(dimensions)), numbers]
            first += b * len(dimensions)
        return values

    def _packed(self, rows: Reduced) -> UInt8[np.ndarray, "n w"]:
        parts = [np.zeros((len(rows), 0), np.uint8)]
        for b, dimensions in self._groups:
            numbers = np.stack(
                [np.searchsorted(_edges(own), rows[:, j]) for own, j in zip(self._levels[b], dimensions, strict=True)],
                axis=1,
            )
            parts.append((numbers[:, :, None] >> np.arange(b) & 1).astype(np.uint8).reshape(len(rows), -1))
        return np.packbits(np.hstack(parts), axis=1, bitorder="little")


def levels(values: Float[np.ndarray, " n"], bits: int) -> Float[np.ndarray, " levels"]:
    """2^bits rising levels for some values, each the mean of those that are nearest to it.

    They begin at those of the values' quantiles where a Gaussian has its levels, as dense as its density's cube root.
    """
    values = np.sort(values).astype(np.float64)
    sums = np.concatenate([[0], np.cumsum(values)])
    one = NormalDist()
    shares = [one.cdf(np.sqrt(3) * one.inv_cdf((i + 0.5) / 2**bits)) for i in range(2**bits)]
    found = np.quantile(values, shares)
    for _ in range(ROUNDS):
        bounds = np.concatenate([[0], np.searchsorted(values, _edges(found)), [len(values)]])
        counts = np.diff(bounds)
        found = np.where(counts > 0, np.diff(sums[bounds]) / np.maximum(counts, 1), found)
    return found.astype(np.float32)


def deal(variances: Float[np.ndarray, " m"], bits: int) -> Int[np.ndarray, " m"]:
    """Bits of each dimension, `bits` in all, one by one to where a Gaussian of its variance loses most error by it.

    Reverse water-filling in whole bits.
    """
    dealt = np.zeros(len(variances), np.int64)
    gains = np.append(-np.diff(LEFT), 0)  # of one bit more, none beyond the most
    for _ in range(min(bits, MOST_BITS * len(variances))):
        place = np.argmax(np.where(dealt < MOST_BITS, variances * gains[dealt], -1))
        dealt[place] += 1
    return dealt


def _edges(found: Float[np.ndarray, " levels"]) -> Float[np.ndarray, " edges"]:
    return (found[1:] + found[:-1]) / 2
