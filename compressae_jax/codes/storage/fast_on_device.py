"""Records of `fast` taken apart in JAX: the places and shifts of `fast_kernels`, and no table but the levels."""

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, UInt8, UInt32

WORD = 32  # bits of a word of the bitmap


@functools.partial(jax.jit, static_argnames=("h", "k"))
def unpack(
    records: UInt8[Array, "c w"], signed: Float[Array, " levels"], h: int, k: int
) -> tuple[Float[Array, "c k"], Int[Array, "c k"]]:
    """What `fast_kernels.unpack` gives: values, and columns below h, of any bytes."""
    i = jnp.arange(k)
    words = _bitmap(records, h, k)
    columns = ((_places(words, k) - i) & 255) << 8 | records[:, :k].astype(jnp.int32)
    numbers = records[:, k + i // 2] >> (4 * (i & 1)).astype(jnp.uint8) & 15
    used = (words != 0).any(axis=1)[:, None]
    values = jnp.where(used, signed[numbers.astype(jnp.int32)], 0)
    return values, jnp.where(used, jnp.minimum(columns, h - 1), i)


def _bitmap(records: UInt8[Array, "c w"], h: int, k: int) -> UInt32[Array, "c words"]:
    """The bitmaps in words, zeros behind them."""
    bits, first = k + -(-h // 256) - 1, 12 * k
    words = -(-bits // WORD)
    some = jnp.pad(records[:, first // 8 :], ((0, 0), (0, 4 * (words + 1))))[:, : 4 * (words + 1)]
    each = some.reshape(len(records), words + 1, 4).astype(jnp.uint32)
    each = each[..., 0] | each[..., 1] << 8 | each[..., 2] << 16 | each[..., 3] << 24
    if first % 8:  # the half byte of an odd k
        each = each[:, :-1] >> 4 | each[:, 1:] << 28
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
