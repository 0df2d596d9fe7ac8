"""Records of `fast` taken apart in JAX: the places and shifts of `fast_kernels`, and no table but the levels."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, UInt8, UInt32

from compressae_jax.codes.storage.fast import low_bits

WORD = 32  # bits of a word of the bitmap
HALF = 4  # bits of a value


@functools.partial(jax.jit, static_argnames=("h", "k"))
def unpack(
    records: UInt8[Array, "c w"], signed: Float[Array, " levels"], h: int, k: int
) -> tuple[Float[Array, "c k"], Int[Array, "c k"]]:
    """What `fast_kernels.unpack` gives: values, and columns below h, of any bytes."""
    i, low = jnp.arange(k), low_bits(h, k)
    words = _bitmap(records, (low + HALF) * k, k + -(-h >> low) - 1)
    columns = ((_places(words, k) - i) & 255) << low | _fields(records, 0, k, low)
    used = (words != 0).any(axis=1)[:, None]
    values = jnp.where(used, signed[_fields(records, low * k, k, HALF)], 0)
    return values, jnp.where(used, jnp.minimum(columns, h - 1), i)


def _fields(records: UInt8[Array, "c w"], first: int, k: int, bits: int) -> Int[Array, "c k"]:
    """k fields of up to 8 bits from a bit on."""
    at = first + bits * np.arange(k)
    both = (records[:, np.minimum(at // 8 + more, records.shape[1] - 1)].astype(jnp.int32) for more in (0, 1))
    return next(both) >> at % 8 & 2**bits - 1 | next(both) << 8 - at % 8 & 2**bits - 1


def _bitmap(records: UInt8[Array, "c w"], first: int, bits: int) -> UInt32[Array, "c words"]:
    """The bitmaps, which begin at a bit, in words, zeros behind them."""
    words = -(-bits // WORD)
    some = jnp.pad(records[:, first // 8 :], ((0, 0), (0, 4 * (words + 1))))[:, : 4 * (words + 1)]
    each = some.reshape(len(records), words + 1, 4).astype(jnp.uint32)
    each = each[..., 0] | each[..., 1] << 8 | each[..., 2] << 16 | each[..., 3] << 24
    if first % 8:
        each = each[:, :-1] >> first % 8 | each[:, 1:] << WORD - first % 8
    masks = [2 ** min(WORD, bits - WORD * w) - 1 for w in range(words)]
    return each[:, :words] & jnp.array(masks, jnp.uint32)


def _places(words: UInt32[Array, "c words"], k: int) -> Int[Array, "c k"]:
    """Where the first k set bits of each row stand, 0 where there is none: halved down to one bit by counting."""
    ends = jnp.cumsum(jax.lax.population_count(words).astype(jnp.int32), axis=1)
    i = jnp.arange(k)
    word = (ends[:, None, :] <= i[None, :, None]).sum(axis=2)
    there = jnp.minimum(word, words.shape[1] - 1)
    before = jnp.where(there > 0, jnp.take_along_axis(ends, jnp.maximum(there - 1, 0), axis=1), 0)
    bits, left, place = jnp.take_along_axis(words, there, axis=1), i - before, WORD * there
    for half in (16, 8, 4, 2, 1):
        low = bits & jnp.uint32(2**half - 1)
        count = jax.lax.population_count(low).astype(jnp.int32)
        above = left >= count
        bits, left = jnp.where(above, bits >> half, low), jnp.where(above, left - count, left)
        place = jnp.where(above, place + half, place)
    return jnp.where(word < words.shape[1], place, 0)
