"""Better codes for a given dictionary, jitted: least squares on a support, and orthogonal matching pursuit.

Both treat the rows of `decoder_w` as unit atoms w_j and lessen ‖x̂ − s W_d‖, which for the best length of z is the same
as raising cos(x, z). The compiled loops that a CPU runs instead are in `pursuit_kernels`; `encoders` picks.
"""

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from compressae_jax.codes.on_device import unit_rows
from compressae_jax.model import shortlists
from compressae_jax.notation import Columns, DecoderW, Dense

NEW_DIRECTION = 1e-4  # squared part of an atom outside the span of those chosen, below which it adds nothing
ROWS_AT_ONCE = 256  # of gathered atoms (rows, k, d)


@jax.jit
def refit(x: Dense, columns: Columns, decoder_w: DecoderW) -> Float[Array, "b k"]:
    """The values on a support that bring s W_d closest to x̂: least squares, by the normal equations."""

    decoder_w = jnp.asarray(decoder_w)

    def of_row(row: tuple[Array, Array]) -> Array:
        x, columns = row
        atoms = decoder_w[columns]
        # Twins in one support share a value; the ridge is below float32's error for any others.
        gram = atoms @ atoms.T + 1e-6 * jnp.eye(len(columns), dtype=jnp.float32)
        return jax.scipy.linalg.solve(gram, atoms @ x, assume_a="pos")

    with jax.default_matmul_precision("highest"):
        rows = unit_rows(jnp.asarray(x, jnp.float32)), jnp.asarray(columns).astype(jnp.int32)
        return jax.lax.map(of_row, rows, batch_size=ROWS_AT_ONCE)


@functools.partial(jax.jit, static_argnames="k")
def pursue(x: Dense, decoder_w: DecoderW, k: int) -> tuple[Float[Array, "b k"], Int[Array, "b k"]]:
    """Orthogonal matching pursuit (Pati et al. 1993): k atoms, each the best for what is left, values refit to all.

    In the order of choice. A row that is reached exactly gets zeros for the rest, at the lowest columns that it has
    not. Every round is one product (b, d) × (d, h); atoms are made orthogonal to the chosen ones twice, which float32
    needs.
    """
    x, decoder_w = unit_rows(jnp.asarray(x, jnp.float32)), jnp.asarray(decoder_w)
    b, d = x.shape

    def choose(t: int | Array, state: tuple[Array, ...]) -> tuple[Array, ...]:
        rest, basis, triangle, columns, chosen = state
        column = jnp.argmax(jnp.abs(rest @ decoder_w.T), axis=1)
        atom = decoder_w[column]
        first = jnp.einsum("bkd,bd->bk", basis, atom)
        direction = atom - jnp.einsum("bkd,bk->bd", basis, first)
        second = jnp.einsum("bkd,bd->bk", basis, direction)
        direction = direction - jnp.einsum("bkd,bk->bd", basis, second)
        square = (direction * direction).sum(axis=1)
        new = (square > NEW_DIRECTION) & ((rest * rest).sum(axis=1) > NEW_DIRECTION**2)
        length = jnp.where(new, jnp.sqrt(jnp.where(new, square, 1)), 1).astype(jnp.float32)
        direction = jnp.where(new[:, None], direction / length[:, None], 0)
        shares = jnp.where(new[:, None], first + second, 0).at[:, t].set(length)
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
def pursue_among(
    x: Dense, among: Int[Array, "b c"], decoder_w: DecoderW, k: int
) -> tuple[Float[Array, "b k"], Int[Array, "b k"]]:
    """`pursue` of every row on c distinct columns of its own: no product of all atoms a round."""

    decoder_w = jnp.asarray(decoder_w)

    def of_row(row: tuple[Array, Array]) -> tuple[Array, Array]:
        x, among = row
        values, places = pursue(x[None], decoder_w[among], k)
        return values[0], among[places[0]]

    rows = jnp.asarray(x, jnp.float32), jnp.asarray(among).astype(jnp.int32)
    return jax.lax.map(of_row, rows, batch_size=ROWS_AT_ONCE)


@functools.partial(jax.jit, static_argnames="k")
def shortlist(
    x: Dense, decoder_w: DecoderW, k: int
) -> tuple[Float[Array, "b k"], Int[Array, "b k"], Int[Array, "b c"]]:
    """`pursue_among` of every row on the columns of a few looks (see `shortlists`), and these, in the order of choice.

    A look picks the columns whose atoms go best with what is left, ties to the lower one, and none twice; it is one
    product (b, d) × (d, h).
    """
    x, decoder_w = unit_rows(jnp.asarray(x, jnp.float32)), jnp.asarray(decoder_w)
    rows, rest, among = jnp.arange(len(x))[:, None], x, jnp.zeros((len(x), 0), jnp.int32)
    with jax.default_matmul_precision("highest"):
        for look in shortlists.looks(k, len(decoder_w)):
            size = jnp.abs(rest @ decoder_w.T).at[rows, among].set(-1)
            among = jnp.concatenate([among, jax.lax.top_k(size, look.columns - among.shape[1])[1]], axis=1)
            values, columns = pursue_among(x, among, decoder_w, look.atoms)
            rest = x - _decoded(values, columns, decoder_w)
    return values, columns, among


def _decoded(values: Float[Array, "b k"], columns: Int[Array, "b k"], decoder_w: DecoderW) -> Float[Array, "b d"]:
    """s W_d, without the atoms of all rows in memory at once."""

    def add(j: int | Array, z: Array) -> Array:
        return z + values[:, j, None] * decoder_w[columns[:, j]]

    return jax.lax.fori_loop(0, values.shape[1], add, jnp.zeros((len(values), decoder_w.shape[1]), jnp.float32))
