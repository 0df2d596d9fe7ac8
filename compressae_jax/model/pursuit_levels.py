"""Pursuit with values on few levels, jitted: what `pursuit_host.pursue_on_levels` does by compiled loops on a CPU.

The rows of a block take the same steps side by side. In a step of the descent a row looks at all atoms once, beside the
row of the Gram matrix of one of its own (h numbers); nothing is known of where the largest may be, as the loops know it
by peaks of groups: a device reads all faster than it decides what to read.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from compressae_jax.codes.on_device import unit_rows
from compressae_jax.model import pursuit
from compressae_jax.model.pursuit_host import SWEEPS, WEIGHT
from compressae_jax.notation import DecoderW, Dense

ROOM = 2**30  # bytes of a device that rows under way take at once
BASIS, PRODUCTS = 2, 4  # arrays (k, d) and (h,) that a row under way has

Fitted = tuple[Float[Array, "b k"], Int[Array, "b k"]]  # values and columns


class _Change(NamedTuple):
    """What one step changed in every row: nothing where both values are 0."""

    minus: Float[Array, " b"]  # value that left
    column: Int[Array, " b"]
    plus: Float[Array, " b"]  # value that came
    taken: Int[Array, " b"]


class _Descent(NamedTuple):
    """What a step changes."""

    of_z: Float[Array, "b h"]  # ⟨w_i, z⟩ without the last change
    last: _Change
    along: Float[Array, " b"]  # ⟨x̂, z⟩
    free: Bool[Array, "b h"]  # columns that a row has not
    values: Float[Array, "b k"]
    columns: Int[Array, "b k"]
    changed: Bool[Array, " b"]  # since the sweep began


@functools.partial(jax.jit, static_argnames="k")
def pursue_on_levels(
    x: Dense,
    decoder_w: DecoderW,
    gram: Float[Array, "h h"],
    k: int,
    levels: Float[Array, " l"],
    times: Float[Array, " b"],
    fold: Float[Array, ""],
) -> Fitted:
    """k atoms a row by `pursuit.pursue`, values folded and on signed levels, then `descend`; in the order of choice.

    `gram` is W_d W_dᵀ; `times` are multiplied with the values. A zero row gets zeros. Codes are those of
    `pursuit_kernels.pursue_on_levels` but where sums round differently.
    """
    x, decoder_w = unit_rows(jnp.asarray(x, jnp.float32)), jnp.asarray(decoder_w)
    (b, d), h = x.shape, len(decoder_w)
    pieces = -(-b * 4 * (BASIS * k * d + PRODUCTS * h) // ROOM)
    together = -(-b // max(1, pieces))

    def some(rows: tuple[Array, Array]) -> Fitted:
        x, times = rows
        of_x = x @ decoder_w.T
        values, columns = pursuit.pursue(x, decoder_w, k, twice=False)
        square = (values * jnp.take_along_axis(of_x, columns, axis=1)).sum(axis=1)  # ‖z‖², since z projects x̂
        n = jnp.sqrt(jnp.maximum(square, 1e-12))
        used = (values != 0).any(axis=1, keepdims=True)
        values = jnp.where(used, nearest(values * (times * n**-fold)[:, None], levels), 0)
        return descend(of_x, times * n ** (2 - fold), decoder_w, gram, values, columns, levels)

    with jax.default_matmul_precision("highest"):
        if together == b:
            return some((x, times))
        behind = -b % together
        rows = jnp.pad(x, ((0, behind), (0, 0))), jnp.pad(times, (0, behind))
        found = jax.lax.map(some, tuple(one.reshape(-1, together, *one.shape[1:]) for one in rows))
        values, columns = (one.reshape(-1, k)[:b] for one in found)
        return values, columns


def nearest(values: Float[Array, "*some"], levels: Float[Array, " l"]) -> Float[Array, "*some"]:
    """The signed levels next to values; there is no zero among them."""
    level = levels[(jnp.abs(values)[..., None] > jnp.float32(0.5) * (levels[1:] + levels[:-1])).sum(axis=-1)]
    return jnp.where(values >= 0, level, -level)


def descend(
    of_x: Float[Array, "b h"],
    lengths: Float[Array, " b"],
    decoder_w: DecoderW,
    gram: Float[Array, "h h"],
    values: Float[Array, "b k"],
    columns: Int[Array, "b k"],
    levels: Float[Array, " l"],
) -> Fitted:
    """Coordinate descent with swaps of atoms, as `pursuit_kernels.descend` says it; rows of zeros stay so.

    `of_x` are ⟨w_i, x̂⟩. Of the products m_ij = ⟨w_i, w_j⟩ + weight ⟨w_i, x̂⟩ ⟨w_j, x̂⟩ nothing is kept: what a row has
    left of them follows from ⟨w_i, x̂⟩, ⟨w_i, z⟩ and ⟨x̂, z⟩. Of what goes equally well the lower column is taken.
    """
    (b, k), weight = columns.shape, jnp.float32(WEIGHT)
    rows = jnp.arange(b)

    def ease(of_x: Array) -> Array:
        return 1 / jnp.sqrt(1 + weight * of_x * of_x)  # 1 / √m_ii

    def step(t: int | Array, given: tuple[Array, Array, _Descent]) -> tuple[Array, Array, _Descent]:
        order, active, now = given
        place = order[:, t]
        old, column = now.values[rows, place], now.columns[rows, place]
        own = of_x[rows, column]
        pull = lengths * (1 + weight) - weight * (now.along - old * own)
        # The step before is made up for here, where ⟨w_i, z⟩ is read in any case.
        minus, less, plus, more = (one[:, None] for one in now.last)
        of_z = now.of_z + (plus * gram[more[:, 0]] - minus * gram[less[:, 0]])

        def left(pull: Array, of_x: Array, of_z: Array, old: Array, products: Array) -> Array:
            """What the row has left of m without this atom, times ease."""
            return (pull * of_x - (of_z - old * products)) * ease(of_x)

        of_all = left(pull[:, None], of_x, of_z, old[:, None], gram[column])
        other = jnp.argmax(jnp.where(now.free, jnp.abs(of_all), 0), axis=1).astype(jnp.int32)

        def at(i: Array, of_i: Array) -> Array:
            """The same of one column of each row, read again: to keep all of them would cost more."""
            return left(pull, of_i, of_z[rows, i], old, gram[column, i])

        of_other = of_x[rows, other]
        here, there = at(column, own), at(other, of_other)
        swap = now.free[rows, other] & (jnp.abs(there) > jnp.abs(here))
        force, of_new = jnp.where(swap, there, here), jnp.where(swap, of_other, own)
        new = nearest(force * ease(of_new), levels)
        change = active & (swap | (new != old))
        minus, plus = jnp.where(change, old, 0), jnp.where(change, new, 0)
        taken = jnp.where(change & swap, other, column)
        # Rows without a change read the first atom, which is near, and no other.
        last = _Change(minus, jnp.where(change, column, 0), plus, jnp.where(change, taken, 0))
        return (
            order,
            active,
            _Descent(
                of_z,
                last,
                now.along + (plus * of_new - minus * own),
                now.free.at[rows, column].set(change & swap).at[rows, taken].set(False),
                now.values.at[rows, place].set(jnp.where(change, new, old)),
                now.columns.at[rows, place].set(taken),
                now.changed | change,
            ),
        )

    def sweep(_: int | Array, now: _Descent) -> _Descent:
        order = jnp.argsort(jnp.abs(now.values), axis=1, stable=True)
        begun = now._replace(changed=jnp.zeros(b, bool))
        return jax.lax.fori_loop(0, k, step, (order, now.changed, begun))[2]

    of_z = jnp.einsum("bk,bkd->bd", values, decoder_w[columns]) @ decoder_w.T
    nothing = _Change(*(jnp.zeros(b, dtype) for dtype in (jnp.float32, jnp.int32) * 2))
    along = (values * jnp.take_along_axis(of_x, columns, axis=1)).sum(axis=1)
    free = jnp.ones(of_x.shape, bool).at[rows[:, None], columns].set(False)
    begun = _Descent(of_z, nothing, along, free, values, columns, (values != 0).any(axis=1))
    ended = jax.lax.fori_loop(0, SWEEPS, sweep, begun)
    return ended.values, ended.columns
