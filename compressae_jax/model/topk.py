"""Straight-through TopK by magnitude with sign: which k of h pre-activations a row keeps.

Two forms of one selection, ties to the lower column: `largest` lists the winners (for codes), `keep` zeroes the losers
in place (for training, where the h-wide masked array feeds a matrix product). The gradient goes through the kept
entries only, as in the published class, or, as an ablation, through all.
"""

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental.custom_partitioning import custom_partitioning
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Float, Int

from compressae_jax.model.topk_host import ACTIVATIONS, POSITIVE
from compressae_jax.notation import PreActivations, check_choice, check_range

GRADIENTS = ("kept", "all")


def largest(a: PreActivations, k: int) -> tuple[Float[Array, "b k"], Int[Array, "b k"]]:
    """The k entries of largest magnitude of each row, with their sign, by falling magnitude, and their columns."""
    _, columns = jax.lax.top_k(jnp.abs(a), k)
    return jnp.take_along_axis(a, columns, axis=1), columns


def keep(a: Float[Array, "b h"], ks: Sequence[int], gradient: str = "kept") -> tuple[Float[Array, "b h"], ...]:
    """For each k, the array with all but the k entries of largest magnitude of each row set to zero.

    `gradient` goes through the 'kept' entries, or as if 'all' had been.
    """
    check_choice("gradient", gradient, GRADIENTS)
    for k in ks:
        check_range("k", k, 1, a.shape[1])
    masks = _masks(jax.lax.stop_gradient(a), tuple(ks))
    kept = tuple(jnp.where(mask, a, 0) for mask in masks)
    return kept if gradient == "kept" else tuple(a + jax.lax.stop_gradient(one - a) for one in kept)


def activate(
    a: Float[Array, "b h"], ks: Sequence[int], activation: str, gradient: str = "kept"
) -> tuple[Float[Array, "b h"], ...]:
    """φ(a, k) for each k: 'topk' keeps signs, 'relu_topk' selects among positive entries, 'relu2_topk' squares these.

    'identity' keeps all.
    """
    check_choice("activation", activation, ACTIVATIONS)
    if activation == "identity":
        return tuple(a for _ in ks)
    return keep(rectified(a, activation), ks, gradient)


def rectified(a: Float[Array, "b h"], activation: str) -> Float[Array, "b h"]:
    """What is selected from: cut at 0 by 'relu_topk', squared after that by 'relu2_topk' (as in arXiv 2109.08668)."""
    a = jax.nn.relu(a) if activation in POSITIVE else a
    return jnp.square(a) if activation == "relu2_topk" else a


def _masks(a: Array, ks: tuple[int, ...]) -> tuple[Array, ...]:
    """Where the k largest magnitudes stand, for each k, from one sorted selection.

    `top_k` takes ties from the left, so the winners at the threshold are the tied columns up to the last one it took.
    """
    magnitude = jnp.abs(a)
    # Without the barrier XLA folds the slices below into the selection and sorts all h entries: 16 times slower (CPU).
    # One for each output: around the pair, it makes XLA abort where h is sharded.
    thresholds, columns = map(jax.lax.optimization_barrier, _best(magnitude, max(ks)))
    column = jnp.arange(a.shape[1])

    def mask(k: int) -> Array:
        threshold, last = thresholds[:, k - 1, None], columns[:, k - 1, None]
        return (magnitude > threshold) | ((magnitude == threshold) & (column <= last))

    return tuple(mask(k) for k in ks)


@functools.partial(custom_partitioning, static_argnums=(1,))
def _best(magnitude: Array, k: int) -> tuple[Array, Array]:
    """`top_k` that keeps the rows of a sharded batch where they are; by itself XLA gathers them all on every device."""
    values, columns = jax.lax.top_k(magnitude, k)
    return values, columns


def _rows_stay(k: int, mesh: Mesh, arguments: Any, results: Any) -> Any:
    spec = arguments[0].sharding.spec
    rows = NamedSharding(mesh, PartitionSpec(spec[0] if len(spec) else None, None))
    return mesh, lambda magnitude: tuple(jax.lax.top_k(magnitude, k)), (rows, rows), (rows,)


_best.def_partition(partition=_rows_stay, sharding_rule="b h -> b k, b k", need_replication_factors=("h", "k"))
