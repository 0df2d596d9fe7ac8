"""The dictionary made for pursuit: rounds of pursuit codes and the decoder that is best for them.

It starts from a trained model, or from rows of the data.

The method of optimal directions (Engan et al. 1999): with the codes S of a sample X fixed, the decoder solves
(SᵀS + λI) W = SᵀX + λ W_old; λ holds atoms of few rows to where they were. The encoder becomes the decoder's
transpose, so that one pass and pursuit begin from the same correlations.
"""

from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
import scipy.linalg
import scipy.sparse
from jaxtyping import Float

from compressae_jax.base import products
from compressae_jax.base.threads import cores
from compressae_jax.codes.on_device import unit_rows
from compressae_jax.data.sampling import START, Rest, drawn_rows, rows_of_step
from compressae_jax.data.sources import Source
from compressae_jax.model import pursuit_host

NONZEROS = 2**20  # of the codes of a round, at most, which bounds its time and memory
NONZEROS_A_LATENT = 256  # where that is more: with half as many, atoms move by chance
PIECE = 1024  # rows that a thread encodes at a time
HOLD = 0.02  # λ, in units of the mean diagonal of SᵀS
LEAST_ROWS = 5  # that an atom must serve in a round to be kept, or the mean of all atoms where that is less
SHORTEST = 1e-6  # a vector with a direction

Dictionary = Float[np.ndarray, "h d"]  # the decoder, rows of unit length


class Moments(NamedTuple):
    """What codes S of rows X tell of the decoder that is best for them."""

    of_codes: Float[np.ndarray, "h h"]  # SᵀS
    with_rows: Float[np.ndarray, "h d"]  # SᵀX
    served: Float[np.ndarray, " h"]  # rows that each atom is in


def start(h: int, source: Source, rows: Rest, seed: int = 0) -> Dictionary:
    """A dictionary of h unit rows of the data, drawn by seed: near enough to it for a first round."""
    drawn = rows[drawn_rows(len(rows), seed, min(h, len(rows)), START)]
    chosen = np.resize(drawn, h)  # again from the first, where rows are fewer: a round replaces twins
    return np.array(unit_rows(jnp.asarray(source.take(chosen))))


def size_of_round(h: int, k: int, n: int) -> int:
    """How many of n rows a round looks at: of 10^8 rows all rounds together see a sample."""
    return min(max(1, max(NONZEROS, NONZEROS_A_LATENT * h) // k), n)


def looked_at(source: Source, rows: Rest, h: int, k: int, seed: int, number: int) -> Float[np.ndarray, "m d"]:
    """The unit rows that a round is made from."""
    size = size_of_round(h, k, len(rows))
    return np.array(unit_rows(jnp.asarray(source.take(rows[rows_of_step(seed, number, size, len(rows))]))))


def improved(decoder_w: Dictionary, k: int, x: Float[np.ndarray, "m d"]) -> tuple[Dictionary, dict[str, float]]:
    """The dictionary after one round on unit rows; the mean cosine that these had before it, and atoms replaced."""
    return improved_after(None, 0.0, decoder_w, k, x)[:2]


def improved_after(
    past: Moments | None, share: float, decoder_w: Dictionary, k: int, x: Float[np.ndarray, "m d"]
) -> tuple[Dictionary, dict[str, float], Moments]:
    """`improved`, with a share of what earlier rounds told still counting, and what the next round may count.

    Atoms then follow more rows than a round looks at, though some of their codes are of an older dictionary (online
    dictionary learning, Mairal et al. 2010). Moments are of codes in units of the atoms as they are now.
    """
    codes = _pursued(x, decoder_w, k)
    rest = x - codes @ decoder_w
    error = (rest * rest).sum(axis=1)
    served = np.bincount(codes.indices[codes.data != 0], minlength=len(decoder_w)).astype(np.float64)
    told = Moments((codes.T @ codes).toarray(), np.asarray(codes.T @ x), served)
    if past is not None and share:
        told = Moments(*(now + np.float32(share) * before for now, before in zip(told, past, strict=True)))
    solved = _solved(told, decoder_w)
    length = np.linalg.norm(solved, axis=1)
    least = min(LEAST_ROWS, max(1, len(x) * k // len(decoder_w)))
    idle = np.flatnonzero((told.served < least) | (length < SHORTEST))
    solved[idle] = _badly_served(rest, error, len(idle))
    lost = np.linalg.norm(solved, axis=1) < SHORTEST  # few rows, which are served without error
    solved[lost] = decoder_w[lost]
    solved = np.array(unit_rows(jnp.asarray(solved)))
    cosine = float(np.sqrt(np.maximum(1 - error, 0)).mean())  # of what was left by a projection
    length[idle] = 0
    told.of_codes[...] *= length[:, None] * length
    told.with_rows[...] *= length[:, None]
    told.served[idle] = 0
    return solved, {"cosine": cosine, "replaced": len(idle)}, told


def params(decoder_w: Dictionary) -> dict[str, np.ndarray]:
    """The parameters of a model with this dictionary."""
    encoder_w = np.ascontiguousarray(decoder_w.T)
    return {"encoder_w": encoder_w, "encoder_b": np.zeros(len(decoder_w), np.float32), "decoder_w": decoder_w}


def _pursued(x: Float[np.ndarray, "m d"], decoder_w: Dictionary, k: int) -> scipy.sparse.csr_matrix:
    """S (m, h), by all cores."""
    gram, atoms = pursuit_host.gram(decoder_w), products.strips(decoder_w.T)

    def work(start: int) -> pursuit_host.Fitted:
        return pursuit_host.pursue(pursuit_host.correlations(x[start : start + PIECE], atoms), gram, k)

    pool = ThreadPoolExecutor(cores())
    try:
        fitted = list(pool.map(work, range(0, len(x), PIECE)))
    finally:
        pool.shutdown(cancel_futures=True)  # Ctrl-C does not wait for the pieces that have not begun
    values, columns = (np.concatenate(parts) for parts in zip(*fitted, strict=True))
    ends = np.arange(0, values.size + 1, k)
    return scipy.sparse.csr_matrix((values.reshape(-1), columns.reshape(-1), ends), (len(x), len(decoder_w)))


def _solved(told: Moments, decoder_w: Dictionary) -> Float[np.ndarray, "h d"]:
    """The least-squares decoder for codes, held near the one it was."""
    moment = told.of_codes.copy()
    hold = HOLD * float(np.trace(moment)) / len(moment) or 1.0  # zero rows alone have no codes
    np.fill_diagonal(moment, moment.diagonal() + hold)
    factor = scipy.linalg.cho_factor(moment, lower=True, overwrite_a=True, check_finite=False)
    return scipy.linalg.cho_solve(factor, told.with_rows + hold * decoder_w, check_finite=False).astype(np.float32)


def _badly_served(
    rest: Float[np.ndarray, "m d"], error: Float[np.ndarray, " m"], count: int
) -> Float[np.ndarray, "count d"]:
    """What is left of the rows with the largest errors: directions that are missing (as K-SVD replaces its atoms)."""
    worst = np.argsort(-error, kind="stable")[:count]
    return rest[np.resize(worst, count)] if len(worst) else rest[:0]
