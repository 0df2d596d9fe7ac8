"""Pursuit and values on few levels on a CPU, a block of rows a call; the loops are in `pursuit_kernels`.

Values on levels are stored without a scale of their row, so the row's length is folded into them. Where n = ‖z‖ is
that of the least-squares values (the cosine of x to its reconstruction), the folded z has ⟨x̂, z⟩ = n^1.5: between the
cosine's n, which overrates rows that are poorly reconstructed, and the inner product's n², which underrates them. It
ranks dense queries better than either (docs/research-log.md) where a dictionary is used on what it was learned from.
One that is carried to other texts has poorer and more different n, and ranks better by the cosine (`Weights.fold`).
"""

import numpy as np
from jaxtyping import Float, Int

from compressae_jax.base import arrays, products
from compressae_jax.base.products import Strips
from compressae_jax.codes import on_host
from compressae_jax.model import shortlists
from compressae_jax.model.shortlists import Coarse
from compressae_jax.notation import DecoderW, InputError

FOLD = 0.5  # power of 1/n in the folded values, unless a model has its own
SWEEPS = 3  # of coordinate descent over a row's atoms; few rows change after them
WEIGHT = 9.0  # of an error along x̂ beside one across it
LARGEST_H = 2**15  # its Gram matrix takes 4 GiB

Fitted = tuple[Float[np.ndarray, "b k"], Int[np.ndarray, "b k"]]  # values and columns


def gram(decoder_w: DecoderW) -> Float[np.ndarray, "h h"]:
    """W_d W_dᵀ, which the loops need in memory.

    Raises:
        InputError: too many latents for it.
    """
    if len(decoder_w) > LARGEST_H:
        raise InputError(
            f"on a CPU this encoder keeps the {len(decoder_w)}² products of all latents in memory; "
            f"h must be at most {LARGEST_H} for it, or encoder='topk'"
        )
    decoder_w = np.ascontiguousarray(decoder_w, np.float32)
    return products.by_all_cores(decoder_w, products.strips(decoder_w.T))


def correlations(x: Float[np.ndarray, "b d"], atoms: Strips) -> Float[np.ndarray, "b h"]:
    """⟨w_i, x̂⟩ of every row with every atom; `atoms` are the strips of W_dᵀ."""
    return products.product(on_host.unit_rows(x), atoms)


def pursue(of_rows: Float[np.ndarray, "b h"], gram: Float[np.ndarray, "h h"], k: int) -> Fitted:
    """k atoms a row by orthogonal matching pursuit, in the order of choice, from `correlations`."""
    from compressae_jax.model import pursuit_kernels

    values, columns = np.empty((len(of_rows), k), np.float32), np.empty((len(of_rows), k), np.int32)
    left = arrays.empty(of_rows.shape)
    left[:] = of_rows
    pursuit_kernels.pursue(left, gram, values, columns)
    return values, columns


def correlations_among(
    units: Float[np.ndarray, "b d"], decoder_w: DecoderW, among: Int[np.ndarray, "b c"]
) -> Float[np.ndarray, "b c"]:
    """⟨w_i, x̂⟩ of unit rows with the atoms of each row's own columns: a small part of the product with all."""
    from compressae_jax.model import pursuit_kernels

    found = np.empty(among.shape, np.float32)
    pursuit_kernels.correlate(units, np.ascontiguousarray(decoder_w, np.float32), among, found)
    return found


def shortlist(
    of_rows: Float[np.ndarray, "b h"], gram: Float[np.ndarray, "h h"], coarse: Coarse, k: int, more: int = 0
) -> tuple[Fitted, Int[np.ndarray, "b c"]]:
    """k atoms a row by matching pursuit on the coarse Gram matrix, with least-squares values, as `pursuit.shortlist`.

    And the columns of these, in the order of choice, with so many `more` behind them that go best with what is left.
    """
    from compressae_jax.model import coarse_kernels

    values, columns = np.empty((len(of_rows), k), np.float32), np.empty((len(of_rows), k + more), np.int32)
    coarse_kernels.shortlist(of_rows, gram, *coarse, shortlists.corrected(k), values, columns)
    return (values, np.ascontiguousarray(columns[:, :k])), columns


def refit(of_few: Float[np.ndarray, "b k"], gram: Float[np.ndarray, "h h"], columns: Int[np.ndarray, "b k"]) -> Fitted:
    """Least-squares values on these columns, from `correlations_among` of them."""
    from compressae_jax.model import pursuit_kernels

    values = np.empty(columns.shape, np.float32)
    pursuit_kernels.refit(of_few, gram, values, columns)
    return values, columns


def folded(
    of_rows: Float[np.ndarray, "b c"],
    fitted: Fitted,
    among: Int[np.ndarray, "b c"] | None = None,
    times: Float[np.ndarray, " b"] | None = None,
    fold: float = FOLD,
) -> tuple[np.ndarray, np.ndarray]:
    """Least-squares values with the row's length folded in, and ⟨x̂, z⟩ (b,) that they have.

    The correlations are those with all atoms, or with those `among` each row's own. `times`: the lengths ‖x‖ of rows
    that are compared by inner products, folded in as well.
    """
    from compressae_jax.model import pursuit_kernels

    values, columns = fitted
    if among is None:
        square = (values * np.take_along_axis(of_rows, columns, axis=1)).sum(axis=1)  # ‖z‖², since z projects x̂
    else:
        square = np.empty(len(values), np.float32)
        pursuit_kernels.along(of_rows, among, values, columns, square)
    n = np.sqrt(np.maximum(square, 1e-12))
    values, along = values * (n**-fold)[:, None], (n ** (2 - fold)).astype(np.float32)
    return (values, along) if times is None else (values * times[:, None], along * times)


def on_levels(
    of_rows: Float[np.ndarray, "b c"],
    fitted: Fitted,
    gram: Float[np.ndarray, "h h"],
    levels: Float[np.ndarray, " l"],
    swap: bool,
    among: Int[np.ndarray, "b c"] | None = None,
    times: Float[np.ndarray, " b"] | None = None,
    fold: float = FOLD,
) -> Fitted:
    """Folded values on signed levels, refitted to what the rounding left; with `swap` atoms may change, too.

    They change to any others, or to those `among` each row's own, whose correlations `of_rows` then are. A row whose
    values are all zero stays so.
    """
    from compressae_jax.model import pursuit_kernels

    values, lengths = folded(of_rows, fitted, among, times, fold)
    nearest = levels[np.searchsorted((levels[1:] + levels[:-1]) / 2, np.abs(values))]
    # A place that a row does not use gets the lowest level, which the descent makes the best of.
    values = np.where(values.any(axis=1, keepdims=True), np.copysign(nearest, values), 0).astype(np.float32)
    columns, how = fitted[1].copy(), (levels, SWEEPS, swap, np.float32(WEIGHT))
    if among is None:
        pursuit_kernels.descend(of_rows, lengths, gram, values, columns, *how)
    else:
        pursuit_kernels.descend_among(of_rows, lengths, gram, among, values, columns, *how)
    return values, columns


def pursue_on_levels(
    of_rows: Float[np.ndarray, "b h"],
    gram: Float[np.ndarray, "h h"],
    k: int,
    levels: Float[np.ndarray, " l"],
    times: Float[np.ndarray, " b"] | None = None,
    fold: float = FOLD,
) -> Fitted:
    """`on_levels` with swaps of what `pursue` gives, a row at a time, whose atoms are then read once."""
    from compressae_jax.model import pursuit_kernels

    values, columns = np.empty((len(of_rows), k), np.float32), np.empty((len(of_rows), k), np.int32)
    times = np.ones(len(of_rows), np.float32) if times is None else times
    how = np.float32(fold), levels, SWEEPS, True, np.float32(WEIGHT)
    pursuit_kernels.pursue_on_levels(of_rows, gram, values, columns, times, *how)
    return values, columns
