"""Codebooks for sums of one atom of each: first by k-means of what is left, then rounds as `refine` has them.

A round finds the codes of a sample by beam search and then all atoms that are best for these together, by least squares
(as local search quantisation does, Martinez et al. 2018), held near to where they were.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import jax.numpy as jnp
import numpy as np
import scipy.linalg
import scipy.sparse
from jaxtyping import Float, Int, UInt8

from compressae_jax.base import products
from compressae_jax.base.threads import cores
from compressae_jax.codes.on_device import unit_rows
from compressae_jax.codes.storage.additive import GROUP
from compressae_jax.data.sampling import START, Rest, drawn_rows, rows_of_step
from compressae_jax.data.sources import Source
from compressae_jax.model import additive

START_ROWS, START_BEAMS, SWEEPS = 2**15, 4, 10  # of the first codebooks, and of their k-means
ROWS, BEAMS = 2**17, 8  # of a round, at most: with a quarter of them, rows not seen get no better by it
HOLD = 0.02  # as in `refine`, in units of the mean number of rows of an atom
LOT = 64  # rows that a thread takes through the codebooks at a time

Codebooks = Float[np.ndarray, "h d"]  # atoms of any length, 256 of each
Units = Float[np.ndarray, "m d"]


def start(h: int, source: Source, rows: Rest, seed: int = 0) -> Codebooks:
    """Codebooks one after the other, each by k-means of what the ones before it leave of a sample."""
    drawn = rows[drawn_rows(len(rows), seed, min(START_ROWS, len(rows)), START)]
    x = np.array(unit_rows(jnp.asarray(source.take(drawn))))
    found, left, random = np.empty((0, x.shape[1]), np.float32), x, np.random.default_rng(seed)
    for _ in range(h // GROUP):
        found = np.concatenate([found, _means(left, random)])
        left = x - decoded(codes_of(x, found, START_BEAMS), found)
    return found


def looked_at(source: Source, rows: Rest, seed: int, number: int) -> Units:
    """The unit rows that a round is made from."""
    size = size_of_round(len(rows))
    return np.array(unit_rows(jnp.asarray(source.take(rows[rows_of_step(seed, number, size, len(rows))]))))


def size_of_round(n: int) -> int:
    """How many of n rows a round looks at."""
    return min(ROWS, n)


def improved(codebooks: Codebooks, x: Units) -> tuple[Codebooks, dict[str, float]]:
    """The codebooks after one round on unit rows; the mean cosine that these had before it, and atoms without a row."""
    codes = codes_of(x, codebooks, BEAMS)
    z = decoded(codes, codebooks)
    cosine = (z * x).sum(axis=1) / np.maximum(np.linalg.norm(z, axis=1), additive.SHORTEST)
    counts = np.zeros((len(codebooks), len(codebooks)), np.float32)
    _together(codes, counts)
    hold = HOLD * len(x) / GROUP
    idle = int((counts.diagonal() == 0).sum())
    with_rows = _chosen(codes, len(codebooks)).T @ x + hold * codebooks
    np.fill_diagonal(counts, counts.diagonal() + hold)
    factor = scipy.linalg.cho_factor(counts, lower=True, overwrite_a=True, check_finite=False)
    solved = scipy.linalg.cho_solve(factor, with_rows, check_finite=False).astype(np.float32)
    return solved, {"cosine": float(cosine.mean()), "idle": idle}


def codes_of(x: Units, codebooks: Codebooks, beams: int) -> UInt8[np.ndarray, "m k"]:
    """The nearest sums, by all cores, without an aim for their product with the row."""
    atoms, lengths = additive.split(codebooks)
    books, strips = additive.books(atoms, lengths, 1.0), products.strips(atoms.T)

    def work(at: int) -> np.ndarray:
        return additive.nearest(products.product(x[at : at + LOT], strips), books, beams, 0.0)

    return np.concatenate(_dealt(work, range(0, len(x), LOT)))


def decoded(codes: UInt8[np.ndarray, "m k"], codebooks: Codebooks) -> Units:
    """The sums."""
    z = np.zeros((len(codes), codebooks.shape[1]), np.float32)
    for j, numbers in enumerate(codes.T):
        z += codebooks[GROUP * j + numbers.astype(np.int64)]
    return z


def aim(codebooks: Codebooks, x: Units) -> float:
    """The mean product of unit rows with their sums, which codes then aim at."""
    return float(np.clip((decoded(codes_of(x, codebooks, BEAMS), codebooks) * x).sum(axis=1).mean(), 0.01, 1))


def _means(x: Units, random: np.random.Generator) -> Float[np.ndarray, "256 d"]:
    """k-means from rows; a mean of no rows becomes a row."""
    means = x[random.choice(len(x), GROUP, replace=len(x) < GROUP)].copy()
    for _ in range(SWEEPS):
        nearest = _nearest(x, means)
        count = np.bincount(nearest, minlength=GROUP)
        sums = _chosen(nearest[:, None], GROUP).T @ x
        means = sums / np.maximum(count, 1)[:, None].astype(np.float32)
        means[count == 0] = x[random.choice(len(x), int((count == 0).sum()))]
    return means.astype(np.float32)


def _nearest(x: Units, means: Float[np.ndarray, "256 d"]) -> Int[np.ndarray, " m"]:
    half = products.strips(means.T, -0.5 * (means * means).sum(axis=1))
    piece = 1024
    parts = _dealt(lambda at: products.product(x[at : at + piece], half).argmax(axis=1), range(0, len(x), piece))
    return np.concatenate(parts)


def _together(codes: UInt8[np.ndarray, "m k"], counts: Float[np.ndarray, "h h"]) -> None:
    from compressae_jax.model import additive_kernels

    additive_kernels.together(codes, counts)


def _chosen(codes: np.ndarray, h: int) -> scipy.sparse.csr_matrix:
    """Codes as rows of ones, (m, h)."""
    m, k = codes.shape
    columns = (codes.astype(np.int64) + GROUP * np.arange(k)).reshape(-1)
    return scipy.sparse.csr_matrix((np.ones(m * k, np.float32), columns, np.arange(0, m * k + 1, k)), (m, h))


def _dealt(work: Callable[[int], np.ndarray], starts: range) -> list[np.ndarray]:
    pool = ThreadPoolExecutor(cores())
    try:
        return list(pool.map(work, starts))
    finally:
        pool.shutdown(cancel_futures=True)  # as in `refine`
