"""Which rows, by number alone: those held out, those of a step; sources say what is in them.

Orders of n rows are keyed bijections of 0..n-1, computed where they are asked for: memory and time are those of the
rows asked for, whatever n is. The bijection is a Feistel network over the ceil(log2 n) bits of a row number, with
cycle walking (Black and Rogaway 2002): its two halves, of as equal a width as can be, take turns in being xored with a
hash of the other, of the round and of the key; a result of n or more goes through again, at most once on average, since
the domain is less than 2n. The hash is the finaliser of SplitMix64 (Steele, Lea and Flood 2014), the key one of (seed,
use, epoch), so that any row of any epoch is a function of these numbers and its place alone. Shuffles for learning, not
secrets.
"""

import sys
from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Int64, Integer, UInt64

from compressae_jax.notation import InputError, check_range

VERSION = 2  # of the orders: a run that was begun with another goes on with that, or not at all
SPLIT, STEPS, START, IDENTITY, VALIDATION, SAMPLE = range(1, 7)  # uses of a seed, so that no two share an order
ROUNDS = 12  # with eight, the 120 orders of five rows are not equally frequent
MANY = 2**13  # places from which the compiled loop is worth loading
GOLDEN = np.uint64(0x9E3779B97F4A7C15)

RowNumbers = Int64[np.ndarray, " rows"]
Order = Callable[[int, int, int], RowNumbers]  # (n, seed, count): the first rows of an order


class Rest:
    """All rows of 0..n-1 but some, ascending, without an array of them: indexed, it gives row numbers."""

    def __init__(self, n: int, left_out: Integer[np.ndarray, " some"]):
        self.n = n
        self.left_out = np.unique(np.asarray(left_out, np.int64))
        if len(self.left_out) and not 0 <= self.left_out[0] <= self.left_out[-1] < n:
            raise InputError(f"rows left out must lie in 0..{n - 1}, not {self.left_out[0]}..{self.left_out[-1]}")
        self._before = self.left_out - np.arange(len(self.left_out))  # rows that remain below each one left out

    def __len__(self) -> int:
        return self.n - len(self.left_out)

    def __getitem__(self, places: Any) -> Any:
        """The row, or rows, at places 0..len-1, which may be an integer, a slice or an array."""
        if isinstance(places, slice):
            places = np.arange(*places.indices(len(self)))
        places = np.asarray(places)
        if places.size and not 0 <= places.min() <= places.max() < len(self):
            raise IndexError(f"places must lie in 0..{len(self) - 1}, not {places.min()}..{places.max()}")
        rows = places.astype(np.int64) + np.searchsorted(self._before, places, side="right")
        return rows if rows.ndim else int(rows)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self[:], dtype)

    def __repr__(self) -> str:
        return f"Rest({len(self)} of {self.n} rows)"

    def without(self, rows: Integer[np.ndarray, " more"]) -> "Rest":
        """The same less more rows."""
        return Rest(self.n, np.concatenate([self.left_out, rows]))


class Split:
    """Of n rows, drawn by seed: held out of training and of the index, held out of training, and all others.

    At most a tenth is held out for each use, but half as `unseen`, which are there to be searched alone. `queries`,
    `validation` and `unseen` are ascending row numbers, `train` a `Rest`; the first do not depend on how many follow.
    `order` is how rows are drawn.
    """

    def __init__(
        self, n: int, queries: int, validation: int, seed: int = 0, order: Order | None = None, unseen: int = 0
    ):
        check_range("n", n, 1, sys.maxsize)
        check_range("queries", queries, 0, sys.maxsize)
        check_range("validation", validation, 0, sys.maxsize)
        check_range("unseen", unseen, 0, sys.maxsize)
        first = min(queries, n // 10)
        second = first + min(validation, n // 10)
        drawn = (order or drawn_rows)(n, seed, second + min(unseen, n // 2))
        self.queries: RowNumbers = np.sort(drawn[:first])
        self.validation: RowNumbers = np.sort(drawn[first:second])
        self.unseen: RowNumbers = np.sort(drawn[second:])
        self.train: Any = Rest(n, drawn)


def split_rows(n: int, queries: int, validation: int, seed: int = 0, unseen: int = 0) -> Split:
    """The split of today's runs."""
    return Split(n, queries, validation, seed, unseen=unseen)


def split_of_0_1(n: int, queries: int, validation: int, seed: int = 0, unseen: int = 0) -> Split:
    """The split of runs whose config.json names no `sampling`: those of version 0.1, by a permutation of all rows."""
    return Split(n, queries, validation, seed, _order_of_0_1, unseen)


def rows_of_step(seed: int, step: int, batch: int, n: int) -> Int64[np.ndarray, " batch"]:
    """The rows of step 0, 1, … of training on n rows, ascending within the batch; a function of its arguments alone.

    All rows in an order drawn for (seed, epoch), epoch after epoch: a batch may span epochs, or exceed n.
    """
    check_range("step", step, 0, sys.maxsize)
    check_range("batch", batch, 1, sys.maxsize)
    check_range("n", n, 1, sys.maxsize)
    epochs, places = np.divmod(np.arange(step * batch, (step + 1) * batch, dtype=np.int64), n)
    return np.sort(shuffled(places, n, key(seed, STEPS, epochs if epochs[0] != epochs[-1] else epochs[:1])))


def drawn_rows(n: int, seed: int, count: int, use: int = SPLIT) -> Int64[np.ndarray, " count"]:
    """`count` different rows of n, in the order that they are drawn in: fewer are the first of more."""
    check_range("count", count, 0, n)
    return shuffled(np.arange(count, dtype=np.int64), n, key(seed, use))


def sample(rows: Rest, count: int, seed: int) -> RowNumbers:
    """At most `count` of the rows, ascending."""
    return np.sort(rows[drawn_rows(len(rows), seed, min(count, len(rows)), SAMPLE)])


def key(seed: int, use: int, epochs: Integer[np.ndarray, " b"] | int = 0) -> UInt64[np.ndarray, " b"]:
    """The key of the order of (seed, use, epoch), for one epoch or several."""
    check_range("seed", seed, 0, 2**64 - 1)
    keyed = _mixed(_mixed(np.full(1, seed, np.uint64) + GOLDEN) ^ np.uint64(use))
    return _mixed(keyed + GOLDEN * np.atleast_1d(np.asarray(epochs)).astype(np.uint64))


def shuffled(places: Int64[np.ndarray, " b"], n: int, keys: UInt64[np.ndarray, " b_or_1"]) -> Int64[np.ndarray, " b"]:
    """The rows at some places of an order of 0..n-1; each place of its own order where there are as many keys."""
    if len(places) >= MANY:
        from compressae_jax.data import sampling_kernels  # for few rows numba is not loaded

        found = np.empty(len(places), np.int64)
        sampling_kernels.shuffled(places, n, (n - 1).bit_length(), ROUNDS, keys, found)
        return found
    rows, left = places.astype(np.uint64), np.arange(len(places))
    while len(left):
        there = _permuted(rows[left], (n - 1).bit_length(), keys if len(keys) == 1 else keys[left])
        rows[left] = there
        left = left[there >= n]
    return rows.astype(np.int64)


def _permuted(x: UInt64[np.ndarray, " b"], bits: int, keys: UInt64[np.ndarray, " b_or_1"]) -> UInt64[np.ndarray, " b"]:
    """A Feistel network over numbers of so many bits; the upper half has the odd one."""
    low_bits = np.uint64(bits // 2)
    low_mask = (np.uint64(1) << low_bits) - np.uint64(1)
    high_mask = (np.uint64(1) << np.uint64(bits - bits // 2)) - np.uint64(1)
    high, low = x >> low_bits, x & low_mask
    for number in range(ROUNDS):
        turn = keys + GOLDEN * np.arange(number + 1, number + 2, dtype=np.uint64)
        if number % 2:
            high ^= _mixed(low + turn) & high_mask
        else:
            low ^= _mixed(high + turn) & low_mask
    return (high << low_bits) | low


def _mixed(x: UInt64[np.ndarray, " b"]) -> UInt64[np.ndarray, " b"]:
    """The finaliser of SplitMix64: every bit of x turns each bit of the result in about half of all cases."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def _order_of_0_1(n: int, seed: int, count: int) -> RowNumbers:
    return np.random.default_rng(seed).permutation(n)[:count].astype(np.int64)
