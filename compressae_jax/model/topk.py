"""Straight-through TopK by magnitude with sign: which k of h pre-activations a row keeps.

Two forms of one selection, ties to the lower column: `largest` lists the winners (for codes), `keep` zeroes the losers
in place (for training, where the h-wide masked array feeds a matrix product). The gradient goes through the kept
entries only, as in the published class, or, as an ablation, through all.

On NVIDIA GPUs `topk.cu` selects: `lax.top_k` sorts all h entries of every row there, which takes many times as long as
the products around it.
"""

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental.custom_partitioning import custom_partitioning
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Float, Int

from compressae_jax.base import cuda
from compressae_jax.model.topk_host import ACTIVATIONS, POSITIVE
from compressae_jax.notation import PreActivations, check_choice, check_range

GRADIENTS = ("kept", "all")
SOURCE = Path(__file__).with_name("topk.cu")
ENTRIES = 8  # of a row that a thread of the kernel keeps in registers, while a block has threads enough
WIDEST, MOST = 2**16, 2**11  # h and k, beyond which the kernel would run out of registers or of shared memory


def largest(a: PreActivations, k: int) -> tuple[Float[Array, "b k"], Int[Array, "b k"]]:
    """The k entries of largest magnitude of each row, with their sign, by falling magnitude, and their columns."""
    a = jnp.asarray(a)
    b, h = a.shape
    if not b or h > WIDEST or k > MOST or a.dtype != jnp.float32:
        return _by_sorting(a, k)
    return cuda.dispatched(functools.partial(_by_kernel, k=k), functools.partial(_by_sorting, k=k), a)


def _by_sorting(a: Array, k: int) -> tuple[Array, Array]:
    _, columns = jax.lax.top_k(jnp.abs(a), k)
    return jnp.take_along_axis(a, columns, axis=1), columns


def _by_kernel(a: Array, k: int) -> tuple[Array, Array]:
    out = [jax.ShapeDtypeStruct((len(a), k), dtype) for dtype in (jnp.float32, jnp.int32)]
    values, columns = cuda.called(kernel(len(a), a.shape[1], k), out, a)
    return values, columns


def kernel(b: int, h: int, k: int) -> cuda.Kernel:
    """How `topk.cu` runs for b rows of h entries, of which it writes k signed values and their columns."""
    threads = min(1024, max(64, 1 << (-(-h // ENTRIES) - 1).bit_length()))
    return cuda.Kernel(SOURCE, "largest", b, threads, {"H": h, "K": k})


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
    # Without the barrier XLA folds the slices below into the selection and sorts all h entries: 16 times slower (CPU).
    # One for each output: around the pair, it makes XLA abort where h is sharded.
    best, columns = map(jax.lax.optimization_barrier, _best(a, max(ks)))
    magnitude, thresholds, column = jnp.abs(a), jnp.abs(best), jnp.arange(a.shape[1])

    def mask(k: int) -> Array:
        threshold, last = thresholds[:, k - 1, None], columns[:, k - 1, None]
        return (magnitude > threshold) | ((magnitude == threshold) & (column <= last))

    return tuple(mask(k) for k in ks)


@functools.partial(custom_partitioning, static_argnums=(1,))
def _best(a: Array, k: int) -> tuple[Array, Array]:
    """`largest` that keeps the rows of a sharded batch where they are; by itself XLA gathers all on every device."""
    return largest(a, k)


def _rows_stay(k: int, mesh: Mesh, arguments: Any, results: Any) -> Any:
    spec = arguments[0].sharding.spec
    rows = NamedSharding(mesh, PartitionSpec(spec[0] if len(spec) else None, None))
    return mesh, lambda a: largest(a, k), (rows, rows), (rows,)


_best.def_partition(partition=_rows_stay, sharding_rule="b h -> b k, b k", need_replication_factors=("h", "k"))
