"""Better codes for a given dictionary, jitted: least squares on a support, and orthogonal matching pursuit.

Both treat the rows of `decoder_w` as unit atoms w_j and lessen ‖x̂ − s W_d‖, which for the best length of z is the same
as raising cos(x, z). The compiled loops that a CPU runs instead are in `pursuit_kernels`; `encoders` picks.
"""

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from compressae_jax.codes.on_device import unit_rows
from compressae_jax.model import shortlists
from compressae_jax.model.shortlists import Coarse
from compressae_jax.notation import Columns, DecoderW, Dense

NEW_DIRECTION = 1e-4  # squared part of an atom outside the span of those chosen, below which it adds nothing
ROWS_AT_ONCE = 256  # of gathered atoms (rows, k, d)


@jax.jit
def refit(
    x: Dense, columns: Columns, decoder_w: DecoderW, used: Bool[Array, "b k"] | None = None
) -> Float[Array, "b k"]:
    """The values on a support that bring s W_d closest to x̂: least squares, by the normal equations.

    Places that are not `used` have no part in it, and the value 0.
    """

    decoder_w = jnp.asarray(decoder_w)

    def of_row(row: tuple[Array, Array, Array]) -> Array:
        x, columns, used = row
        atoms = jnp.where(used[:, None], decoder_w[columns], 0)
        # Twins in one support share a value; the ridge is below float32's error for any others.
        gram = atoms @ atoms.T + 1e-6 * jnp.eye(len(columns), dtype=jnp.float32)
        return jax.scipy.linalg.solve(gram, atoms @ x, assume_a="pos")

    with jax.default_matmul_precision("highest"):
        used = jnp.ones(columns.shape, bool) if used is None else used
        rows = unit_rows(jnp.asarray(x, jnp.float32)), jnp.asarray(columns).astype(jnp.int32), used
        return jax.lax.map(of_row, rows, batch_size=ROWS_AT_ONCE)


@functools.partial(jax.jit, static_argnames=("k", "twice"))
def pursue(x: Dense, decoder_w: DecoderW, k: int, twice: bool = True) -> tuple[Float[Array, "b k"], Int[Array, "b k"]]:
    """Orthogonal matching pursuit (Pati et al. 1993): k atoms, each the best for what is left, values refit to all.

    In the order of choice. A row that is reached exactly gets zeros for the rest, at the lowest columns that it has
    not. Every round is one product (b, d) × (d, h); atoms are made orthogonal to the chosen ones twice, which float32
    needs: once, as the compiled loops do, gives values of a digit less and reads half as much.
    """
    x, decoder_w = unit_rows(jnp.asarray(x, jnp.float32)), jnp.asarray(decoder_w)
    b, d = x.shape

    def choose(t: int | Array, state: tuple[Array, ...]) -> tuple[Array, ...]:
        rest, basis, triangle, columns, chosen = state
        column = jnp.argmax(jnp.abs(rest @ decoder_w.T), axis=1)
        atom = decoder_w[column]
        shares = jnp.einsum("bkd,bd->bk", basis, atom)
        direction = atom - jnp.einsum("bkd,bk->bd", basis, shares)
        if twice:
            second = jnp.einsum("bkd,bd->bk", basis, direction)
            direction, shares = direction - jnp.einsum("bkd,bk->bd", basis, second), shares + second
        square = (direction * direction).sum(axis=1)
        new = (square > NEW_DIRECTION) & ((rest * rest).sum(axis=1) > NEW_DIRECTION**2)
        length = jnp.where(new, jnp.sqrt(jnp.where(new, square, 1)), 1).astype(jnp.float32)
        direction = jnp.where(new[:, None], direction / length[:, None], 0)
        shares = jnp.where(new[:, None], shares, 0).at[:, t].set(length)
        rest = rest - (rest * direction).sum(axis=1, keepdims=True) * direction
        columns = columns.at[:, t].set(column.astype(jnp.int32))
        return rest, basis.at[:, t].set(direction), triangle.at[:, :, t].set(shares), columns, chosen + new

    with jax.default_matmul_precision("highest"):
        nothing = (
            jnp.zeros((b, k, d), jnp.float32),
            jnp.zeros((b, k, k), jnp.float32),
            jnp.zeros((b, k), jnp.int32),
            jnp.zeros(b, jnp.int32),
        )
        _, basis, triangle, columns, chosen = jax.lax.fori_loop(0, k, choose, (x, *nothing))
        along = jnp.einsum("bkd,bd->bk", basis, x)
        values = jax.scipy.linalg.solve_triangular(triangle, along[..., None])[..., 0]
        return values, _filled(columns, chosen, len(decoder_w))


def _filled(columns: Int[Array, "b k"], chosen: Int[Array, " b"], h: int) -> Int[Array, "b k"]:
    """The lowest columns that are not among the first `chosen` in the places behind them."""
    k = columns.shape[1]
    used = jnp.arange(k) < chosen[:, None]
    lowest = jnp.arange(min(2 * k, h), dtype=jnp.int32)  # k of them are free at least, or all that there are
    taken = ((lowest[:, None] == columns[:, None, :]) & used[:, None, :]).any(axis=2)
    free = jnp.argsort(taken, axis=1, stable=True).astype(jnp.int32)
    place = jnp.clip(jnp.arange(k) - chosen[:, None], 0)
    return jnp.where(used, columns, jnp.take_along_axis(free, place, axis=1))


@functools.partial(jax.jit, static_argnames="k")
def shortlist(x: Dense, decoder_w: DecoderW, coarse: Coarse, k: int) -> tuple[Float[Array, "b k"], Int[Array, "b k"]]:
    """Matching pursuit on the coarse Gram matrix of W_d (see `shortlists`): k atoms in the order of choice, `refit`.

    One product (b, d) × (d, h), then a row of the Gram matrix for each atom, in whole numbers. Of what goes equally
    well the lower column is taken. Where nothing is left the lowest columns are that a row has not.
    """
    x, decoder_w = unit_rows(jnp.asarray(x, jnp.float32)), jnp.asarray(decoder_w)
    h, rows, corrected = len(decoder_w), jnp.arange(len(x)), shortlists.corrected(k)
    numbers, scales = (jnp.asarray(one) for one in coarse)

    def less(left: Array, column: Array, part: Array) -> Array:
        factor = part * scales[column] * (shortlists.ONE << shortlists.SHIFT)
        factor = jnp.rint(jnp.clip(factor, -shortlists.FACTOR, shortlists.FACTOR)).astype(jnp.int32)
        product = numbers[column, :h].astype(jnp.int32) * factor[:, None]
        return left - (product + 2 ** (shortlists.SHIFT - 1) >> shortlists.SHIFT).astype(jnp.int16)

    def choose(t: int | Array, state: tuple[Array, ...]) -> tuple[Array, ...]:
        left, columns, parts, chosen = state
        column = jnp.argmax(jnp.abs(left), axis=1).astype(jnp.int32)
        there = left[rows, column]
        new = (jnp.abs(there) > shortlists.LEAST) & (chosen == t)
        part = jnp.where(new, there.astype(jnp.float32) / shortlists.ONE, 0)
        columns, parts = columns.at[:, t].set(column), parts.at[:, t].set(part)
        return none_at(less(left, column, part), columns, t + 1), columns, parts, chosen + new

    def none_at(left: Array, columns: Array, chosen: int | Array) -> Array:
        places = jnp.where(jnp.arange(k) < chosen, columns, h)  # those of no column are dropped
        return left.at[rows[:, None], places].set(0, mode="drop")

    with jax.default_matmul_precision("highest"):
        left = jnp.rint(x @ decoder_w.T * shortlists.ONE).astype(jnp.int16)
        nothing = jnp.zeros((len(x), k), jnp.int32), jnp.zeros((len(x), k), jnp.float32), jnp.zeros(len(x), jnp.int32)
        left, columns, parts, chosen = jax.lax.fori_loop(0, corrected, choose, (left, *nothing))
        if corrected:
            fitted = refit(x, columns[:, :corrected], decoder_w)

            def correct(t: int | Array, left: Array) -> Array:
                return less(left, columns[:, t], jnp.where(chosen == corrected, fitted[:, t] - parts[:, t], 0))

            left = none_at(jax.lax.fori_loop(0, corrected, correct, left), columns, corrected)
        left, columns, parts, chosen = jax.lax.fori_loop(corrected, k, choose, (left, columns, parts, chosen))
        columns = _filled(columns, chosen, h)
        return refit(x, columns, decoder_w, jnp.arange(k) < chosen[:, None]), columns
