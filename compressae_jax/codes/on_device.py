"""Unit rows, reconstructions, norms and expanded queries as JAX computes them, jitted; `on_host` has no JAX.

Whoever imports this may pass codes to jitted functions: `codes` lets JAX know what they are.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from compressae_jax.codes import codes as of_codes
from compressae_jax.codes.codes import Codes
from compressae_jax.codes.spaces import SPACES
from compressae_jax.notation import DecoderW, Dense, Expanded, check_choice

of_codes.as_pytrees()


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
