"""Landmarks moved so that codes rank neighbours as vectors do: a loss on who is near to whom, by loops over nonzeros.

For a row x let y be the rows that share a latent with it, c_y = cos(s_x, s_y), and l_y = 1 for the `NEAR` of them that
are nearest to x, else 0. The loss is the binary cross-entropy of sigmoid((c_y - t_x) / WIDTH) with l_y, where t_x is
such that as many are expected to be near as there are: what a code gains by its neighbours it loses by others. The
gradient goes to the values of x's own code, so to the atoms that it has, by Adam, all rows at a time; with a dense
product in each step, or by the pairs of a batch, it would be many times as slow (docs/research-log.md).

The atoms see rows less the mean, as those of `landmarks` do.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import scipy.sparse
from jaxtyping import Float, Int32, Int64

from compressae_jax.base import products
from compressae_jax.base.threads import deal
from compressae_jax.model import topk_host

NEAR, SHARE = 100, 10  # neighbours of a row: so many, but at most one of ten rows
WIDTH = 0.03  # of the sigmoid, in cosines of codes
RATE, B1, B2, TINY = 2e-3, 0.9, 0.999, 1e-12  # of Adam, whose rate falls to 0 in a line
CANDIDATES = 2  # times k latents of a row, the largest at the start, of which it has the k largest in any step
LEAST = 1e-6  # of a pre-activation: squares have a slope
ROWS = 512  # of a thread's turn
PIECE = 2**23  # numbers of a product at a time

Check = Callable[[], None]


def nothing() -> None:
    """Nobody asks to stop."""


class Lists(NamedTuple):
    """Nonzeros by latent: those of latent i are ends[i]:ends[i + 1], rows rising."""

    ends: Int64[np.ndarray, " h_and_1"]
    rows: Int32[np.ndarray, " nonzeros"]
    values: Float[np.ndarray, " nonzeros"]


def moved(
    w: Float[np.ndarray, "h d"],
    k: int,
    x: Float[np.ndarray, "n d"],
    mean: Float[np.ndarray, " d"],
    steps: int,
    check: Check = nothing,
) -> Iterator[Float[np.ndarray, "h d"]]:
    """The atoms of an encoder of squares (`relu2_topk`) after each of so many steps, the same array each time.

    x: unit rows. In any step their codes are of the `candidates` that they have at the start, and the neighbours are
    those at the start. `check` is called many times a step, by any thread, and may raise.
    """
    w, x = np.array(w, np.float32), x - mean
    columns = candidates(x, w, min(CANDIDATES * k, len(w)), check)
    near = nearest(x, x @ mean, columns[:, :k], len(w), check)
    first, second = np.zeros_like(w), np.zeros_like(w)
    for step in range(steps):
        slope = gradient(w, k, x, columns, near, check)
        first += (1 - B1) * (slope - first)
        second += (1 - B2) * (slope * slope - second)
        rate = RATE * (1 - step / steps) / (1 - B1 ** (step + 1))
        w -= rate * first / (np.sqrt(second / (1 - B2 ** (step + 1))) + TINY)
        yield w


def candidates(
    x: Float[np.ndarray, "n d"], w: Float[np.ndarray, "h d"], m: int, check: Check = nothing
) -> Int32[np.ndarray, "n m"]:
    """The m atoms with the largest inner products with each row, the largest first; any, where fewer are positive."""
    columns, strips, rows = np.empty((len(x), m), np.int32), products.strips(w.T), max(1, PIECE // len(w))

    def work(start: int) -> None:
        check()
        a = products.product(x[start : start + rows], strips)
        columns[start : start + rows] = topk_host.largest(np.maximum(a, 0, out=a), m)[1]

    deal(work, range(0, len(x), rows))
    return columns


def nearest(
    x: Float[np.ndarray, "n d"],
    common: Float[np.ndarray, " n"],
    columns: Int32[np.ndarray, "n k"],
    h: int,
    check: Check = nothing,
) -> Int32[np.ndarray, "n m"]:
    """Of the rows that share a latent with a row the `NEAR` nearest, or a tenth of all; itself where these are few.

    Its time, and that of `gradient`, grows with the square of how many rows share a latent.
    """
    from compressae_jax.training import neighbour_kernels as kernels

    near = np.empty((len(x), max(1, min(NEAR, len(x) // SHARE))), np.int32)
    columns = np.ascontiguousarray(columns)
    lists = by_latent(columns, np.ones(columns.shape, np.float32), h)

    def work(start: int) -> None:
        check()
        kernels.nearest(start, x, common, columns, lists.ends, lists.rows, near[start : start + ROWS])

    deal(work, range(0, len(x), ROWS))
    return near


def gradient(
    w: Float[np.ndarray, "h d"],
    k: int,
    x: Float[np.ndarray, "n d"],
    columns: Int32[np.ndarray, "n m"],
    near: Int32[np.ndarray, "n p"],
    check: Check = nothing,
) -> Float[np.ndarray, "h d"]:
    """`WIDTH` times that of the loss, summed over rows, by the atoms; the codes of others stand still."""
    from compressae_jax.training import neighbour_kernels as kernels

    a = np.empty(columns.shape, np.float32)

    def activations(start: int) -> None:
        check()
        here = slice(start, start + ROWS)
        kernels.activations(x[here], w, columns[here], a[here])

    deal(activations, range(0, len(x), ROWS))
    kept = np.argsort(-a, axis=1, kind="stable")[:, :k]
    a = np.maximum(np.take_along_axis(a, kept, axis=1), LEAST)
    columns = np.take_along_axis(columns, kept, axis=1)
    values = a * a
    lengths = np.linalg.norm(values, axis=1, keepdims=True)
    values /= lengths
    lists = by_latent(columns, values, len(w))
    slopes = np.empty_like(values)

    def pulls(start: int) -> None:
        check()
        here = slice(start, start + ROWS)
        kernels.pulls(start, near[here], columns, values, *lists, np.float32(WIDTH), slopes[here])

    deal(pulls, range(0, len(x), ROWS))
    slopes -= values * (slopes * values).sum(axis=1, keepdims=True)  # unit codes turn, and have no other length
    slopes *= 2 * a / lengths
    ends = np.arange(0, slopes.size + 1, k)
    by_row = scipy.sparse.csr_matrix((slopes.ravel(), columns.ravel(), ends), shape=(len(x), len(w)))
    return by_row.T @ x


def by_latent(columns: Int32[np.ndarray, "n k"], values: Float[np.ndarray, "n k"], h: int) -> Lists:
    """The nonzeros of rows as lists of latents."""
    n, k = columns.shape
    by_row = scipy.sparse.csr_matrix((values.ravel(), columns.ravel(), np.arange(0, n * k + 1, k)), shape=(n, h))
    lists = by_row.tocsc()
    return Lists(lists.indptr.astype(np.int64), lists.indices.astype(np.int32, copy=False), lists.data)
