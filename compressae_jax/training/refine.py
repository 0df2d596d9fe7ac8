"""The dictionary made for pursuit: rounds of pursuit codes and the decoder that is best for them.

It starts from a trained model, or from rows of the data.

The method of optimal directions (Engan et al. 1999): with the codes S of a sample X fixed, the decoder solves
(SᵀS + λI) W = SᵀX + λ W_old; λ holds atoms of few rows to where they were. The encoder becomes the decoder's
transpose, so that one pass and pursuit begin from the same correlations.
"""

import dataclasses
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import scipy.linalg
import scipy.sparse
from jaxtyping import Float, Int
from tqdm import tqdm

from compressae_jax.base.threads import cores
from compressae_jax.codes.spaces import unit_rows
from compressae_jax.data.batches import rows_of_step
from compressae_jax.data.sources import Source
from compressae_jax.model import pursuit_host
from compressae_jax.model import weights as model_weights
from compressae_jax.model.weights import Weights
from compressae_jax.notation import Stopped

NONZEROS = 2**20  # of the codes of a round, at most, which bounds its time and memory
NONZEROS_A_LATENT = 256  # where that is more: with half as many, atoms move by chance
PIECE = 1024  # rows that a thread encodes at a time
HOLD = 0.02  # λ, in units of the mean diagonal of SᵀS
LEAST_ROWS = 5  # that an atom must serve in a round to be kept


def refine(
    weights: Weights,
    source: Source,
    rows: Int[np.ndarray, " n"],
    rounds: int,
    seed: int = 0,
    folder: str | os.PathLike | None = None,
    progress: bool = True,
    stop: Callable[[int], bool] = lambda done: False,
) -> Weights:
    """Weights whose decoder serves k-atom pursuit codes of these rows; `encoder` becomes 'pursuit'.

    Their summary tells how the last round went ("refine"), and every round's mean cosine of the rows that it looked at.

    With a `folder` the newest round is kept there as a model folder, and the same call continues from it; of several
    processes, which all make the same rounds, the first one writes it. `stop`, asked after each round with the number
    done, may end the work early.

    Raises:
        Stopped: `stop` said so before the last round.
    """
    done = 0
    if folder is not None and Path(folder).is_dir():
        weights = model_weights.load(folder)
        done = weights.summary["refine"]["rounds"]
    told: dict[str, float] = {}
    with tqdm(total=rounds, initial=done, unit=" rounds", desc="refine", disable=not progress) as bar:
        for number in range(done, rounds):
            sample = rows[rows_of_step(seed, number, _sample_size(weights, len(rows)), len(rows))]
            weights, told = _round(weights, source, sample)
            before = weights.summary.get("refine", {}).get("cosines", [])
            refined = {"rounds": number + 1, **told, "cosines": [*before, round(told["cosine"], 5)]}
            summary = {**weights.summary, "refine": refined}
            weights = dataclasses.replace(weights, summary=summary, encoder="pursuit")
            if folder is not None and jax.process_index() == 0:
                model_weights.save(weights, folder)
            bar.set_postfix_str(", ".join(f"{name} {value:.4g}" for name, value in told.items()))
            bar.update()
            if number + 1 < rounds and stop(number + 1):
                raise Stopped(f"stopped after round {number + 1} of {rounds}; the same command continues")
    return weights


def start(weights: Weights, source: Source, rows: Int[np.ndarray, " n"], seed: int = 0) -> Weights:
    """Weights whose decoder is h unit rows of the data, drawn by seed: near enough to it for a first round."""
    drawn = np.random.default_rng(seed).permutation(rows)
    chosen = np.resize(drawn, weights.h)  # again from the first, where rows are fewer: `refine` replaces twins
    return dataclasses.replace(weights, params=_params(np.array(unit_rows(jnp.asarray(source.take(chosen))))))


def _sample_size(weights: Weights, rows: int) -> int:
    """How many of the rows a round looks at."""
    return min(max(1, max(NONZEROS, NONZEROS_A_LATENT * weights.h) // weights.k), rows)


def _round(weights: Weights, source: Source, sample: Int[np.ndarray, " m"]) -> tuple[Weights, dict[str, float]]:
    """The weights after one round on some rows, and how it went."""
    decoder_w = weights.params["decoder_w"]
    x = np.array(unit_rows(jnp.asarray(source.take(sample))))
    codes = _pursued(x, decoder_w, weights.k)
    rest = x - codes @ decoder_w
    error = (rest * rest).sum(axis=1)
    solved = _solved(codes, x, decoder_w)
    length = np.linalg.norm(solved, axis=1)
    served = np.bincount(codes.indices[codes.data != 0], minlength=weights.h)
    idle = np.flatnonzero((served < LEAST_ROWS) | (length < 1e-6))
    solved[idle], length[idle] = _badly_served(rest, error, len(idle)), 1
    solved = np.array(unit_rows(jnp.asarray(solved)))
    cosine = float(np.sqrt(np.maximum(1 - error, 0)).mean())  # of what was left by a projection
    return dataclasses.replace(weights, params=_params(solved)), {"cosine": cosine, "replaced": len(idle)}


def _params(decoder_w: Float[np.ndarray, "h d"]) -> dict[str, np.ndarray]:
    encoder_w = np.ascontiguousarray(decoder_w.T)
    return {"encoder_w": encoder_w, "encoder_b": np.zeros(len(decoder_w), np.float32), "decoder_w": decoder_w}


def _pursued(x: Float[np.ndarray, "m d"], decoder_w: Float[np.ndarray, "h d"], k: int) -> scipy.sparse.csr_matrix:
    """S (m, h), by all cores."""
    gram = pursuit_host.gram(decoder_w)

    def work(start: int) -> pursuit_host.Fitted:
        return pursuit_host.pursue(pursuit_host.correlations(x[start : start + PIECE], decoder_w), gram, k)

    with ThreadPoolExecutor(cores()) as pool:
        fitted = list(pool.map(work, range(0, len(x), PIECE)))
    values, columns = (np.concatenate(parts) for parts in zip(*fitted, strict=True))
    ends = np.arange(0, values.size + 1, k)
    return scipy.sparse.csr_matrix((values.reshape(-1), columns.reshape(-1), ends), (len(x), len(decoder_w)))


def _solved(
    codes: scipy.sparse.csr_matrix, x: Float[np.ndarray, "m d"], decoder_w: Float[np.ndarray, "h d"]
) -> Float[np.ndarray, "h d"]:
    """The least-squares decoder for codes, held near the one it was."""
    moment = (codes.T @ codes).toarray()
    hold = HOLD * float(np.trace(moment)) / len(moment)
    np.fill_diagonal(moment, moment.diagonal() + hold)
    factor = scipy.linalg.cho_factor(moment, lower=True, overwrite_a=True, check_finite=False)
    return scipy.linalg.cho_solve(factor, codes.T @ x + hold * decoder_w, check_finite=False).astype(np.float32)


def _badly_served(
    rest: Float[np.ndarray, "m d"], error: Float[np.ndarray, " m"], count: int
) -> Float[np.ndarray, "count d"]:
    """What is left of the rows with the largest errors: directions that are missing (as K-SVD replaces its atoms)."""
    worst = np.argsort(-error, kind="stable")[:count]
    return rest[np.resize(worst, count)] if len(worst) else rest[:0]
