"""What a short code leaves of a vector: the model's part of storage 'residual4' (rows: `codes.storage.residual`).

Such a model is a dictionary for a few nonzeros and, behind its atoms, an orthonormal basis of what these leave (the
principal directions of it). Both are rows of one decoder, so that an expanded query u = W_d x̂ scores both parts of a
row by one inner product. Where a budget has two bits and more for a number of the vector, that finds more than nonzeros
alone (docs/research-log.md).
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int

from compressae_jax.base import products
from compressae_jax.codes import levels as learned
from compressae_jax.codes import on_host
from compressae_jax.codes.codes import Codes
from compressae_jax.codes.storage import kinds
from compressae_jax.codes.storage.kinds import RESIDUAL
from compressae_jax.codes.storage.residual import (
    GROUP,
    HEAD,
    MAGNITUDES,
    MOST_BITS,
    SCALES,
    SHARED,
    Residual,
    dealt,
    groups,
)
from compressae_jax.codes.storage.residual import numbers as numbers_of
from compressae_jax.model import kept
from compressae_jax.model.weights import Rest, Weights
from compressae_jax.notation import Dense, InputError, check_range

FIRST = "fast4"  # storage of the nonzeros
SWEEPS = 4  # of coordinate descent over a row's coordinates
WEIGHT = 3.0  # of an error along x̂ beside one across it
SMALLEST = 1e-6  # deviation of a coordinate that has bits, beside that of all
MARGIN = 1.1  # of the scales beyond those seen
POOLED = 2048  # rows whose coordinates the shared levels are learned from
RARE = 0.001  # share of rows whose smaller scale is not looked at


def has_basis(weights: Weights) -> bool:
    """Whether a model makes rows of storage 'residual4', and no others."""
    return any(name.split(":")[1:2] == [RESIDUAL] for name in weights.levels)


def packing(weights: Weights, levels: tuple[float, ...], similarity: str = "cosine") -> Residual:
    """How the rows of such a model are packed."""
    how = kinds.packing(RESIDUAL, weights.h, weights.k, levels, similarity)
    assert isinstance(how, Residual)
    if how.d != weights.d:
        raise InputError(f"levels of {RESIDUAL!r} are of {how.d} coordinates, the vectors have {weights.d}")
    return how


def short(weights: Weights, how: Residual) -> Weights:
    """The dictionary of the nonzeros alone, which its rows are encoded by first."""
    h, k = how.first.h, how.first.k
    decoder_w = np.ascontiguousarray(weights.params["decoder_w"][:h])
    encoder_w, encoder_b = weights.params["encoder_w"][:, :h], weights.params["encoder_b"][:h]
    params = {"encoder_w": np.ascontiguousarray(encoder_w), "encoder_b": encoder_b.copy(), "decoder_w": decoder_w}
    levels = {kinds.levels_name("pursuit", FIRST, how.similarity): how.first.levels}
    return Weights(params, h, k, weights.activation, {}, "pursuit", FIRST, levels, fold=weights.fold)


def coded(
    units: Float[np.ndarray, "b d"],
    times: Float[np.ndarray, " b"] | None,
    short_codes: Codes,
    weights: Weights,
    how: Residual,
) -> tuple[Float[np.ndarray, "b k"], Int[np.ndarray, "b k"]]:
    """Values and columns of whole rows, given the codes of their first part; zero rows stay zeros.

    `times`: the lengths of rows that are compared by inner products, which the values have in them.
    """
    from compressae_jax.model import residual_kernels

    some, values = how.first.k, np.asarray(short_codes.values, np.float32)
    basis = strips_of_basis(weights, how)
    given = on_host.reconstruct(short_codes, weights.params["decoder_w"])
    found = np.zeros((len(units), how.k), np.float32)
    found[:, :some] = values
    lowest, ratio = how.levels[MAGNITUDES : MAGNITUDES + 2]
    residual_kernels.code(
        products.product(units, basis),
        products.product(given, basis),
        np.ones(len(units), np.float32) if times is None else times,
        values.any(axis=1),
        how.deviations,
        how.scales_of_rows,
        np.float64(lowest),
        np.float64(np.log(ratio)),
        how.widths,
        how.tables,
        SWEEPS,
        np.float32(WEIGHT),
        np.float32(2 - weights.fold),  # power of the cosine, that ⟨x̂, z⟩ is to have: see `pursuit_host`
        found[:, some:],
    )
    rest = np.broadcast_to(how.first.h + np.arange(how.coordinates), (len(units), how.coordinates))
    return found, np.concatenate([np.asarray(short_codes.columns, np.int64), rest], axis=1)


def strips_of_basis(weights: Weights, how: Residual) -> products.Strips:
    """What `products` take for the coordinates of rows, made once."""

    def made() -> products.Strips:
        return products.strips(np.ascontiguousarray(weights.params["decoder_w"][how.first.h :].T))

    return kept.of(weights, "strips of the basis", made, lambda strips: strips.nbytes)


def extended(weights: Weights, budget_bytes: int, x: Dense, codes: Codes) -> Weights:
    """A dictionary with a basis for what its `codes` of rows x (n, d) leave, for rows of at most so many bytes.

    `weights` have levels for the codes, which are packed ones of `FIRST` by pursuit.

    Raises:
        InputError: a budget that leaves no byte for coordinates.
    """
    units = on_host.unit_rows(np.asarray(x, np.float32))
    rest = units - on_host.reconstruct(codes, weights.params["decoder_w"])
    basis, deviations, shared = _directions(rest)
    bytes_left = budget_bytes - kinds.record_width(FIRST, weights.h, weights.k) - 1
    check_range(f"bytes that budget_bytes={budget_bytes} leaves for coordinates", bytes_left, 1, 4 * weights.d)
    counts = dealt(deviations, min(bytes_left, MOST_BITS * groups(weights.d)))
    magnitudes = weights.levels[kinds.levels_name("pursuit", FIRST)]
    levels = numbers_of(magnitudes, scales(rest), counts, shared, deviations)
    k = weights.k + min(GROUP * int(counts.sum()), weights.d)
    return _joined(weights, Rest(basis, k, levels))


def rest_of(weights: Weights) -> Rest:
    """What `with_rest` needs to make a model with a basis of its dictionary again; the basis as float16 holds it."""
    name = kinds.levels_name("pursuit", RESIDUAL)
    basis = weights.params["decoder_w"][-weights.d :].astype(np.float16).astype(np.float32)
    return Rest(basis, weights.k, weights.levels[name])


def with_rest(weights: Weights, budget_bytes: int) -> Weights:
    """A dictionary and the basis that it has beside it, for rows of at most so many bytes.

    Raises:
        InputError: as `with_budget`.
    """
    assert weights.rest is not None
    return with_budget(_joined(weights, weights.rest), budget_bytes)


def _joined(weights: Weights, rest: Rest) -> Weights:
    decoder_w = np.concatenate([weights.params["decoder_w"], rest.basis])
    params = {
        "encoder_w": np.ascontiguousarray(decoder_w.T),
        "encoder_b": np.concatenate([weights.params["encoder_b"], np.zeros(weights.d, np.float32)]),
        "decoder_w": decoder_w,
    }
    own = {kinds.levels_name("pursuit", RESIDUAL): rest.levels}
    return dataclasses.replace(
        weights, params=params, h=len(decoder_w), k=rest.k, encoder="pursuit", storage=RESIDUAL, levels=own, rest=None
    )


def with_budget(weights: Weights, budget_bytes: int) -> Weights:
    """The same model for rows of another number of bytes: the nonzeros stay, coordinates get other bits.

    Raises:
        InputError: a budget that leaves no byte for coordinates.
    """
    how = packing(weights, weights.levels[kinds.levels_name("pursuit", RESIDUAL)])
    least = how.first.width + 2
    check_range(f"budget_bytes of a model of storage {RESIDUAL!r}", budget_bytes, least, 4 * weights.d)
    deviations = np.array(how.levels[HEAD:])
    counts = dealt(deviations, min(budget_bytes - least + 1, MOST_BITS * groups(how.d)))
    lowest, ratio = how.levels[MAGNITUDES : MAGNITUDES + 2]
    levels = numbers_of(how.first.levels, (lowest, ratio), counts, _shared(how), deviations)
    k = how.first.k + min(GROUP * int(counts.sum()), how.d)
    return dataclasses.replace(weights, k=k, levels={kinds.levels_name("pursuit", RESIDUAL): levels})


def with_scales(how: Residual, magnitudes: Sequence[float], rest: Float[np.ndarray, "n d"]) -> tuple[float, ...]:
    """The levels of the same coordinates with other magnitudes, and scales for what is left of rows."""
    counts = np.array(how.levels[MAGNITUDES + 2 : HEAD - SHARED], np.int64)
    return numbers_of(magnitudes, scales(rest), counts, _shared(how), how.levels[HEAD:])


def _shared(how: Residual) -> tuple[float, ...]:
    """The levels that coordinates share."""
    return how.levels[HEAD - SHARED : HEAD]


def scales(rest: Float[np.ndarray, "n d"]) -> tuple[float, float]:
    """The lowest scale of a row and the ratio of one to the next, for what is left of rows: scales are its lengths."""
    lengths = np.linalg.norm(rest.astype(np.float64), axis=1)
    lengths = lengths[lengths > 0] if lengths.any() else np.ones(1)
    low, high = float(np.quantile(lengths, RARE)) / MARGIN, float(lengths.max()) * MARGIN
    low = max(low, high * SMALLEST)
    return low, (high / low) ** (1 / (SCALES - 1))


def _directions(rest: Float[np.ndarray, "n d"]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Principal directions (d, d) of what is left, rows of falling variance; its deviations (d,) along them in rows of
    length 1; the levels that coordinates share, in units of these, of 1 to 8 bits.
    """
    moment = np.zeros((rest.shape[1], rest.shape[1]))
    for start in range(0, len(rest), 4096):
        some = rest[start : start + 4096].astype(np.float64)
        moment += some.T @ some
    basis = np.linalg.eigh(moment)[1].T[::-1]
    largest = np.abs(basis).argmax(axis=1)
    basis = basis * np.sign(basis[np.arange(len(basis)), largest])[:, None]  # whose signs eigh leaves open
    shares = on_host.unit_rows(rest) @ basis.T.astype(np.float32)
    deviations = np.sqrt(np.square(shares.astype(np.float64)).mean(axis=0))
    # Groups are dealt bits by falling deviation.
    order = np.argsort(-deviations, kind="stable")
    deviations = np.maximum(deviations[order], SMALLEST)
    pooled = np.abs(shares[:: max(1, len(shares) // POOLED)][:, order] / deviations.astype(np.float32)).reshape(-1)
    shared = np.concatenate([learned.learn(pooled, 2 ** (bits - 1)) for bits in range(1, MOST_BITS + 1)])
    return on_host.unit_rows(np.ascontiguousarray(basis[order], np.float32)), deviations, shared
