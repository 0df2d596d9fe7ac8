"""Straight-through TopK by magnitude with sign: which k of h pre-activations a row keeps.

Two forms of one selection, ties to the lower column: `largest` lists the winners (for codes), `keep` zeroes the losers
in place (for training, where the h-wide masked array feeds a matrix product). The gradient goes through the kept
entries only, as in the published class, or, as an ablation, through all.

On NVIDIA GPUs `topk.cu` does both: `lax.top_k` sorts all h entries of every row there, which takes many times as long
as the products around it.
"""

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental.custom_partitioning import custom_partitioning
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Float, Int

from compressae_jax.base import cuda
from compressae_jax.model.topk_host import ACTIVATIONS, POSITIVE
from compressae_jax.notation import PreActivations, check_choice, check_range

GRADIENTS = ("kept", "all")
SOURCE = Path(__file__).with_name("topk.cu")
ENTRIES = 8  # of a row that a thread of the kernel keeps in registers, while a block has threads enough
WIDEST, MOST = 2**16, 2**11  # h and k, beyond which the kernels would run out of registers or of shared memory
BUDGETS = 4  # that rows are kept for in one launch


def largest(a: PreActivations, k: int) -> tuple[Float[Array, "b k"], Int[Array, "b k"]]:
    """The k entries of largest magnitude of each row, with their sign, by falling magnitude, and their columns."""
    a = jnp.asarray(a)
    if not _suits(a, k):
        return by_sorting(a, k)
    kernel = functools.partial(lister, k=k)
    return cuda.dispatched(lambda a: _by_kernel(a, kernel), functools.partial(by_sorting, k=k), a)


def by_sorting(a: Float[Array, "b h"], k: int) -> tuple[Float[Array, "b k"], Int[Array, "b k"]]:
    """`largest` without a kernel, by `lax.top_k`, which on a GPU sorts all entries where k is above 16."""
    _, columns = jax.lax.top_k(jnp.abs(a), k)
    return jnp.take_along_axis(a, columns, axis=1), columns


@functools.partial(jax.custom_jvp, nondiff_argnums=(1,))
def _by_kernel(a: Array, kernel: Callable[[int, int], cuda.Kernel]) -> tuple[Array, Array]:
    """What a kernel lists of each row, with the gradient of its twin: that of the entries listed."""
    called = kernel(*a.shape)
    out = [jax.ShapeDtypeStruct((len(a), int(called.constants["K"])), dtype) for dtype in (jnp.float32, jnp.int32)]
    values, columns = cuda.called(called, out, a)
    return values, columns


@_by_kernel.defjvp
def _listed(
    kernel: Callable[[int, int], cuda.Kernel], primals: tuple[Array], tangents: tuple[Array]
) -> tuple[tuple[Array, Array], tuple[Array, Any]]:
    values, columns = _by_kernel(*primals, kernel)
    none = np.zeros(columns.shape, jax.dtypes.float0)
    return (values, columns), (jnp.take_along_axis(*tangents, columns, axis=1), none)


def greatest(a: Float[Array, "b h"], k: int, rising: bool = False) -> tuple[Float[Array, "b k"], Int[Array, "b k"]]:
    """The k greatest entries of each row and their columns, by falling entry, or by `rising` column."""

    def by_top_k(a: Array) -> tuple[Array, Array]:
        values, columns = jax.lax.top_k(a, k)
        if not rising:
            return values, columns
        columns = jnp.sort(columns, axis=1)
        return jnp.take_along_axis(a, columns, axis=1), columns

    kernel = functools.partial(selector, k=k, rising=rising)
    return cuda.dispatched(lambda a: _by_kernel(a, kernel), by_top_k, a) if _suits(a, k) else by_top_k(a)


def _suits(a: Array, k: int) -> bool:
    """Whether the kernels take an array."""
    return bool(len(a)) and a.shape[1] <= WIDEST and k <= MOST and a.dtype == jnp.float32


def lister(b: int, h: int, k: int) -> cuda.Kernel:
    """How `topk.cu` lists, for b rows of h entries, k signed values and their columns."""
    return cuda.Kernel(SOURCE, "largest", b, _threads(h), {"H": h, "K": k})


def selector(b: int, h: int, k: int, rising: bool) -> cuda.Kernel:
    """How `topk.cu` lists the k greatest of h entries, for b rows."""
    return cuda.Kernel(SOURCE, "largest", b, _threads(h), {"H": h, "K": k, "GREATEST": 1 + rising})


def keeper(b: int, h: int, ks: Sequence[int], dtype: Any) -> cuda.Kernel:
    """How `topk.cu` writes b rows of h entries for each k, in float32 or bfloat16, all but k of them zero."""
    names = [f"s{i}" for i in range(len(ks))]
    constants: dict[str, int | str] = {
        "H": h,
        "K": max(ks),
        "BUDGETS": ",".join(map(str, ks)),
        "PARAMETERS": ",".join(f"Out*{name}" for name in names),
        "ARGUMENTS": ",".join(names),
        "BFLOAT16": int(jnp.dtype(dtype) == jnp.bfloat16),
    }
    return cuda.Kernel(SOURCE, "kept", b, _threads(h), constants)


def _threads(h: int) -> int:
    return min(1024, max(64, 1 << (-(-h // ENTRIES) - 1).bit_length()))


def keep(
    a: Float[Array, "b h"], ks: Sequence[int], gradient: str = "kept", dtype: Any = jnp.float32
) -> tuple[Float[Array, "b h"], ...]:
    """For each k, the array with all but the k entries of largest magnitude of each row set to zero, in a dtype.

    `gradient` goes through the 'kept' entries, or as if 'all' had been. A kept entry that is 0 has none.
    """
    check_choice("gradient", gradient, GRADIENTS)
    for k in ks:
        check_range("k", k, 1, a.shape[1])
    kept = _kept(a, tuple(ks), jnp.dtype(dtype))
    if gradient == "kept":
        return kept
    whole = a.astype(dtype)
    return tuple(whole + jax.lax.stop_gradient(one - whole) for one in kept)


@functools.partial(jax.custom_vjp, nondiff_argnums=(1, 2))
def _kept(a: Array, ks: tuple[int, ...], dtype: Any) -> tuple[Array, ...]:
    def by_masks(a: Array) -> tuple[Array, ...]:
        return tuple(jnp.where(mask, a, 0).astype(dtype) for mask in _masks(a, ks))

    if not _suits(a, max(ks)) or len(ks) > BUDGETS or dtype not in (jnp.float32, jnp.bfloat16):
        return by_masks(a)
    return cuda.dispatched(lambda a: _rows_kept(len(ks))(a, ks, dtype), by_masks, a)


def _kept_forward(a: Array, ks: tuple[int, ...], dtype: Any) -> tuple[tuple[Array, ...], tuple[Array, ...]]:
    kept = _kept(a, ks, dtype)
    # Where they are not 0 says what was kept, without masks of h entries a row; the last one has the dtype alone.
    return kept, (*kept, jnp.zeros(0, a.dtype))


def _kept_backward(
    ks: tuple[int, ...], dtype: Any, seen: tuple[Array, ...], cotangents: tuple[Array, ...]
) -> tuple[Array]:
    *kept, like = seen
    parts = [jnp.where(one != 0, of.astype(jnp.float32), 0) for one, of in zip(kept, cotangents, strict=True)]
    return (functools.reduce(jnp.add, parts).astype(like.dtype),)


_kept.defvjp(_kept_forward, _kept_backward)


def activate(
    a: Float[Array, "b h"], ks: Sequence[int], activation: str, gradient: str = "kept", dtype: Any = jnp.float32
) -> tuple[Float[Array, "b h"], ...]:
    """φ(a, k) for each k: 'topk' keeps signs, 'relu_topk' selects among positive entries, 'relu2_topk' squares these.

    'identity' keeps all.
    """
    check_choice("activation", activation, ACTIVATIONS)
    if activation == "identity":
        return tuple(a.astype(dtype) for _ in ks)
    return keep(rectified(a, activation), ks, gradient, dtype)


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


def _of_rows(mesh: Mesh, arguments: Any) -> NamedSharding:
    """How the rows of the first argument are laid out, and nothing else."""
    spec = arguments[0].sharding.spec
    return NamedSharding(mesh, PartitionSpec(spec[0] if len(spec) else None, None))


def _rows_stay(k: int, mesh: Mesh, arguments: Any, results: Any) -> Any:
    rows = _of_rows(mesh, arguments)
    return mesh, lambda a: largest(a, k), (rows, rows), (rows,)


_best.def_partition(partition=_rows_stay, sharding_rule="b h -> b k, b k", need_replication_factors=("h", "k"))


@functools.cache
def _rows_kept(budgets: int) -> Any:
    """The kernel `kept` for so many budgets, which leaves the rows of a sharded batch where they are."""

    @functools.partial(custom_partitioning, static_argnums=(1, 2))
    def kept(a: Array, ks: tuple[int, ...], dtype: Any) -> tuple[Array, ...]:
        out = [jax.ShapeDtypeStruct(a.shape, dtype)] * budgets
        return tuple(cuda.called(keeper(len(a), a.shape[1], ks, dtype), out, a))

    def rows_stay(ks: tuple[int, ...], dtype: Any, mesh: Mesh, arguments: Any, results: Any) -> Any:
        rows = _of_rows(mesh, arguments)
        return mesh, lambda a: kept.fun(a, ks, dtype), (rows,) * budgets, (rows,)

    rule = "b h -> " + ", ".join(["b h"] * budgets)
    kept.def_partition(partition=rows_stay, sharding_rule=rule, need_replication_factors=("h",))
    return kept
