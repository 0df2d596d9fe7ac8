"""From bytes a vector to the h, k and storage that pursuit codes should have; results/frontier shows what they give."""

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple

from compressae_jax.codes.storage.additive import GROUP
from compressae_jax.codes.storage.kinds import ADDITIVE, FASTER, record_width
from compressae_jax.model import additive, residual
from compressae_jax.model.weights import Weights
from compressae_jax.notation import InputError, check_range

LARGEST_H = 8192  # 16,384 found a little more still, for four times the time and the memory of learning
ROWS_A_LATENT = (
    4  # that a dictionary is learned from, at least; h=1,024 of 2,080 rows found more still, but is half of them
)
STORAGES = ("packed4", "packed5", "packed6", "packed8")  # finer values where more atoms would gain less
# The faster form is taken where it holds this share of the nonzeros: it then finds less than a point fewer of the 100
# nearest (results/storages).
FAST_SHARE = 0.9
STAGES = ({"kind": "rounds", "rounds": 15},)  # from rows of the data; at equal time they find more than gradients do
# From so many bits a number of the vector on, a short code and coordinates of what it leaves find more than nonzeros.
RESIDUAL_BITS = 2
FIRST_SHARE = 1 / 24  # bytes of the short code for a number of the vector: 16 at d=384
LEAST_FIRST = 6  # bytes of it
LEAST_WIDTH = 128  # of vectors: in 16 bytes of glove (d=50) it found .627 where nonzeros alone find .743
# Of vectors below that width, and of so many rows, sums of one atom of each codebook find more than nonzeros: it takes
# some hundred rows an atom.
ADDITIVE_ROWS = 2**16
FEWEST, MOST = 8, 32  # codebooks, a byte each: more are slow to learn and to encode by, and not measured
ADDITIVE_BITS = 6  # a number of the vector, at most: int8 is near
ADDITIVE_STAGES = ({"kind": "rounds", "rounds": 6},)
FILLED = 0.5  # of d: more atoms than this share of the width are no longer sparse in it


class Budget(NamedTuple):
    """What to train and how to store it."""

    h: int
    k: int
    storage: str
    encoder: str = "pursuit"
    stages: tuple[Mapping[str, Any], ...] = STAGES  # of training, as `training.plan` has them
    residual_bytes: int = 0  # of a row that says in the rest of them what the k nonzeros leave, 0 of one that does not


def choose(budget_bytes: int, d: int, n: int, cosines: bool = True) -> Budget:
    """The largest k whose record takes at most `budget_bytes`, for n vectors of width d.

    Records are those of `fast4`, or of ranks where these hold over a tenth more nonzeros or values are finer; of many
    narrow vectors sums of atoms, a byte each, unless `cosines` is false: they serve no inner products of lengths.

    Raises:
        InputError: a budget that holds no nonzero, or that holds the vectors as they are.
    """
    check_range("budget_bytes", budget_bytes, 2, 4 * d)
    h = max(16, min(LARGEST_H, 1 << max(n // ROWS_A_LATENT, 1).bit_length() - 1))
    narrow = d < LEAST_WIDTH and n >= ADDITIVE_ROWS
    if cosines and narrow and FEWEST <= budget_bytes <= min(MOST, ADDITIVE_BITS * d // 8):
        return Budget(GROUP * budget_bytes, budget_bytes, ADDITIVE, stages=ADDITIVE_STAGES)
    first = max(LEAST_FIRST, round(FIRST_SHARE * d))
    if 8 * budget_bytes >= RESIDUAL_BITS * d and n >= d >= LEAST_WIDTH and budget_bytes > 2 * first:
        k = min(largest_k(first, h, residual.FIRST), h, d)
        return Budget(h, k, residual.FIRST, residual_bytes=budget_bytes)
    return Budget(h, *of_dictionary(budget_bytes, h, d))


def of_dictionary(budget_bytes: int, h: int, d: int) -> tuple[int, str]:
    """k and storage of codes of at most so many bytes, by a dictionary of h that is there.

    Raises:
        InputError: a budget that holds no nonzero, or that holds the vectors as they are.
    """
    check_range("budget_bytes", budget_bytes, 2, 4 * d)
    for storage in STORAGES:
        k = largest_k(budget_bytes, h, storage)
        if k <= FILLED * d:
            break
    if (fast := FASTER.get(storage)) and (fewer := largest_k(budget_bytes, h, fast)) >= FAST_SHARE * k:
        k, storage = fewer, fast
    k = min(k, h, d)
    if k < 1:
        raise InputError(f"budget_bytes={budget_bytes} holds no nonzero of h={h} columns; give at least 3")
    return k, storage


def with_budget(weights: Weights, budget_bytes: int) -> Weights:
    """The same dictionary, to make codes of at most so many bytes by pursuit; their levels are learned when it does.

    One that has a basis beside it makes rows of `residual4` where the budget has `RESIDUAL_BITS` for a number.

    Raises:
        InputError: as `of_dictionary`; or a model of codebooks, which are all in each row.
    """
    if additive.has_codebooks(weights):
        if budget_bytes != weights.k:
            raise InputError(
                f"a model of {weights.k} codebooks makes rows of {weights.k} bytes, not of {budget_bytes}: "
                f"learn another, with budget_bytes={budget_bytes}"
            )
        return weights
    if residual.has_basis(weights):
        return residual.with_budget(weights, budget_bytes)
    if weights.rest is not None and 8 * budget_bytes >= RESIDUAL_BITS * weights.d:
        return residual.with_rest(weights, budget_bytes)
    k, storage = of_dictionary(budget_bytes, weights.h, weights.d)
    return dataclasses.replace(weights.with_k(k), encoder="pursuit", storage=storage)


def largest_k(budget_bytes: int, h: int, storage: str) -> int:
    """The most nonzeros of h columns whose record fits, 0 of none.

    By halving: the width rises with k up to h / 2, which is beyond any k of use.
    """
    low, high = 0, max(1, h // 2)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if record_width(storage, h, middle) <= budget_bytes else (low, middle - 1)
    return low
