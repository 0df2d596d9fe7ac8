"""Which rows, by number alone: those held out, those of a step; sources say what is in them."""

import functools
import sys

import numpy as np
from jaxtyping import Int64, Integer

from compressae_jax.data.sampling import Split, split_of_0_1
from compressae_jax.notation import check_range


def split_rows(n: int, queries: int, validation: int, seed: int = 0) -> Split:
    """The split of version 0.1, with its training rows as an array."""
    split = split_of_0_1(n, queries, validation, seed)
    split.train = np.asarray(split.train)
    return split


def rows_of_step(seed: int, step: int, batch: int, n: int) -> Int64[np.ndarray, " batch"]:
    """The rows of step 0, 1, … of training on n rows, ascending within the batch; a function of its arguments alone.

    All rows in an order drawn for (seed, epoch), epoch after epoch: a batch may span epochs, or exceed n. From one
    step to the next an epoch's order (4 bytes a row) is remembered.
    """
    check_range("step", step, 0, sys.maxsize)
    check_range("batch", batch, 1, sys.maxsize)
    check_range("n", n, 1, sys.maxsize)
    start, stop = step * batch, (step + 1) * batch
    some = []
    while start < stop:
        epoch, low = divmod(start, n)
        high = min(n, low + stop - start)
        some.append(_order(seed, epoch, n)[low:high])
        start += high - low
    return np.sort(np.concatenate(some)).astype(np.int64)


@functools.lru_cache(maxsize=2)  # a batch may stand in two epochs
def _order(seed: int, epoch: int, n: int) -> Integer[np.ndarray, " n"]:
    """The rows in the order of an epoch."""
    generator = np.random.Generator(np.random.Philox(key=np.array([seed, epoch], np.uint64)))
    order = np.arange(n, dtype=np.int32 if n < 2**31 else np.int64)
    generator.shuffle(order)
    order.flags.writeable = False
    return order
