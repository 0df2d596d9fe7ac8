"""The three spaces of a code: how queries are expanded and rows are scaled, so that one kernel scores them all.

score(q, y) = ρ_y Σ_j values[y, j] u_q[columns[y, j]] is the cosine of

    sparse          s_q, s_y    u = s_q / ‖s_q‖              ρ = 1 / ‖s_y‖
    reconstructed   z_q, z_y    u = W_d (s_q W_d)ᵀ / ‖z_q‖   ρ = 1 / ‖z_y‖
    dense_query     x_q, z_y    u = W_d x̂_q                  ρ = 1 / ‖z_y‖

with z = s W_d (CompresSAE, arXiv 2505.11388, section 3; the paper's kernel K = W_d W_dᵀ is never built).
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from compressae_jax.codes.codes import Codes
from compressae_jax.notation import AnyArray, DecoderW, Dense, Expanded, check_choice

SPACES = ("sparse", "reconstructed", "dense_query")


def unit_rows(x: Float[Array, "b d"]) -> Float[Array, "b d"]:
    """Each row divided by its length; a zero row stays zero, with zero gradient. Safe for any normal magnitude."""
    largest = jnp.abs(x).max(axis=-1, keepdims=True)
    # Exact, and no division: XLA turns one by a row's number into a product with 1/number, which may be subnormal (0).
    x = x * jnp.where(largest > 2.0**40, 2.0**-80, jnp.where(largest < 2.0**-40, 2.0**80, 1))
    square = (x * x).sum(axis=-1, keepdims=True)
    return x * jnp.where(square > 0, jax.lax.rsqrt(jnp.where(square > 0, square, 1)), 0)


@jax.jit
def reconstruct(codes: Codes, decoder_w: DecoderW) -> Float[Array, "b d"]:
    """z = s W_d from the nonzeros alone: k gathered decoder rows a row, never an h-wide array."""
    values = jnp.asarray(codes.values).astype(decoder_w.dtype)
    columns = jnp.asarray(codes.columns).astype(jnp.int32)

    def add(j: int | Array, z: Array) -> Array:
        return z + values[:, j, None] * decoder_w[columns[:, j]]

    return jax.lax.fori_loop(0, codes.k, add, jnp.zeros((len(values), decoder_w.shape[1]), decoder_w.dtype))


@jax.jit
def norms(codes: Codes, decoder_w: DecoderW) -> Float[Array, "b 2"]:
    """(‖s‖, ‖z‖) of every row, float32; with them a row scores in all three spaces."""
    s = jnp.linalg.norm(jnp.asarray(codes.values).astype(jnp.float32), axis=1)
    return jnp.stack([s, jnp.linalg.norm(reconstruct(codes, decoder_w), axis=1)], axis=1)


def row_scales(row_norms: Float[AnyArray, "n 2"], space: str) -> Float[np.ndarray, " n"]:
    """ρ of every row in a space, float32; 0 for a zero row, which so scores 0."""
    check_choice("space", space, SPACES)
    norm = np.asarray(row_norms[:, 0 if space == "sparse" else 1], np.float32)
    return np.divide(1, norm, out=np.zeros_like(norm), where=norm > 0)


def expand_codes(codes: Codes, decoder_w: DecoderW, space: str) -> Expanded:
    """u (q, h) of queries that are codes; in `dense_query` their reconstruction stands in for the dense vector."""
    check_choice("space", space, SPACES)
    if space == "sparse":
        return _densify(codes)
    return expand_vectors(reconstruct(codes, decoder_w), decoder_w)


@jax.jit
def expand_vectors(vectors: Dense, decoder_w: DecoderW) -> Expanded:
    """u (q, h) = W_d x̂ of dense queries (or of reconstructions)."""
    with jax.default_matmul_precision("highest"):  # a GPU's default product keeps 10 bits, too few to rank by
        return unit_rows(jnp.asarray(vectors).astype(jnp.float32)) @ decoder_w.T


@jax.jit
def _densify(codes: Codes) -> Expanded:
    q = codes.values.shape[0]
    values = unit_rows(jnp.asarray(codes.values).astype(jnp.float32))
    rows = jnp.arange(q)[:, None]
    return jnp.zeros((q, codes.h), jnp.float32).at[rows, jnp.asarray(codes.columns).astype(jnp.int32)].add(values)
