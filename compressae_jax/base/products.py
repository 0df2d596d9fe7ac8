"""Products of rows with a matrix that serves again and again, on a CPU, without a BLAS.

A BLAS is no faster for these shapes, and its threads spin: on the cores that the loop after a product needs, and for
time slices of the scheduler where another program uses a core. Here a row's product is the same bits in any company,
and whoever calls decides about threads. The loop is in `product_kernels`.
"""

import collections
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from compressae_jax.base import arrays, threads

SHARE = 2**25  # multiplications, from which on all cores gain more than dealing costs


class Strips(NamedTuple):
    """A matrix (d, h) and what is added to its products, copies by 64 columns; the last strip is filled with zeros."""

    numbers: Float[np.ndarray, "s d 64"]
    starts: Float[np.ndarray, "s 64"]
    h: int

    @property
    def nbytes(self) -> int:
        """Bytes in memory."""
        return self.numbers.nbytes + self.starts.nbytes


def strips(w: Float[np.ndarray, "d h"], b: Float[np.ndarray, " h"] | None = None) -> Strips:
    """W, and b if any, as products take them."""
    from compressae_jax.base.product_kernels import STRIP

    d, h = w.shape
    numbers = arrays.empty((-(-h // STRIP), d, STRIP))
    numbers[:] = 0
    for s, strip in enumerate(numbers):
        some = w[:, s * STRIP : (s + 1) * STRIP]
        strip[:, : some.shape[1]] = some
    starts = np.zeros((len(numbers), STRIP), np.float32)
    if b is not None:
        starts.reshape(-1)[:h] = b
    return Strips(numbers, starts, h)


def product(
    x: Float[np.ndarray, "b d"], w: Strips, out: Float[np.ndarray, "b h"] | None = None
) -> Float[np.ndarray, "b h"]:
    """x W + b of contiguous float32 rows, by the calling thread."""
    from compressae_jax.base import product_kernels

    out = arrays.empty((len(x), w.h)) if out is None else out
    product_kernels.product(x, w.numbers, w.starts, 0, len(w.starts), out)
    return out


def by_all_cores(x: Float[np.ndarray, "b d"], w: Strips) -> Float[np.ndarray, "b h"]:
    """`product`, the columns dealt to all cores where that gains more than it costs."""
    from compressae_jax.base import product_kernels

    count = len(w.starts)
    parts = min(threads.cores(), count) if x.size * w.h >= SHARE else 1
    if parts == 1:
        return product(x, w)
    out = np.empty((len(x), w.h), np.float32)
    ends = [count * part // parts for part in range(parts + 1)]

    def work(first: int, last: int) -> None:
        product_kernels.product(x, w.numbers, w.starts, first, last, out)

    collections.deque(threads.kept(parts).map(work, ends[:-1], ends[1:]), maxlen=0)
    return out
