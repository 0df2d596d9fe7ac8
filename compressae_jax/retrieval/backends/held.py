"""Rows on devices, and their scores: by `scan.cu` on NVIDIA GPUs, by JAX alone elsewhere."""

import dataclasses
import functools
import math
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Integer

from compressae_jax.base import cuda
from compressae_jax.codes.storage import fast_on_device
from compressae_jax.codes.storage.fast import low_bits

SOURCE = Path(__file__).with_name("scan.cu")
TOGETHER = 8  # queries that a thread adds up at once
PIECE_BYTES = 2**30  # of products, or of numbers unpacked, that the twin may hold of rows which a kernel was to score
RESERVED = 2**10  # bytes of shared memory that each block needs beside its own
RESIDENT, LEAST = 1024, 512  # threads of a multiprocessor, of 64 registers each; those that u must leave room for


@dataclasses.dataclass(frozen=True)
class Held:
    """Rows on devices: `arrays`, values and columns, or records alone, which are taken apart where they are scored.

    `signed` are then their levels, else None.
    """

    arrays: tuple[Any, ...]  # JAX arrays; in a mesh's specification, how each is split
    signed: Any
    h: int
    k: int

    def __len__(self) -> int:
        return self.arrays[0].shape[0]

    @property
    def nbytes(self) -> int:
        """Bytes of all rows, without their scales."""
        return sum(array.nbytes for array in self.arrays)

    def cut(self, start: Array, rows: int) -> tuple[Array, Array]:
        """Values and columns of some rows."""
        first, *others = (jax.lax.dynamic_slice_in_dim(array, start, rows) for array in self.arrays)
        return (first, others[0]) if others else fast_on_device.unpack(first, self.signed, self.h, self.k)


jax.tree_util.register_dataclass(Held, data_fields=["arrays", "signed"], meta_fields=["h", "k"])


class Part(NamedTuple):
    """Which rows are scored: some from `first` on; those before `fresh`, or from `end` on, are left out."""

    first: Int[Array, ""]
    fresh: Int[Array, ""]
    end: Int[Array, ""]


def scores(
    held: Held,
    row_scales: Float[Array, " n"],
    u: Float[Array, "q h"],
    part: Part,
    allowed: Bool[Array, " n"] | None,
    rows: int,
) -> Float[Array, "q rows"]:
    """Scores of so many rows, minus infinity for those left out or not allowed; no -0.

    There may be more than are held, all of them from the first one on, else every one is held.
    """
    given = (*held.arrays, *([] if held.signed is None else [held.signed]), row_scales, u, *part)
    given += () if allowed is None else (allowed,)
    by_jax = functools.partial(_by_jax, held.h, held.k, len(held.arrays), rows)
    called = kernel(held, len(u), rows, allowed is not None)
    if called is None:
        return by_jax(*given)
    return cuda.dispatched(functools.partial(_by_kernel, called, rows), by_jax, *given)


def _by_jax(h: int, k: int, arrays: int, rows: int, *given: Array) -> Float[Array, "q rows"]:
    held = Held(given[:arrays], given[arrays] if arrays == 1 else None, h, k)
    row_scales, u, first, fresh, end, *allowed = given[2:]
    count = min(rows, len(held))
    piece = min(count, max(1, PIECE_BYTES // (4 * k * max(2, len(u)))))

    def scored(i: Array | int, found: Array) -> Array:
        # The last piece starts early to stay inside, and scores some rows again.
        at = jnp.minimum(i * piece, count - piece)
        values, columns = held.cut(first + at, piece)
        some = _sums(values, columns, jax.lax.dynamic_slice_in_dim(row_scales, first + at, piece), u)
        return jax.lax.dynamic_update_slice_in_dim(found, some, at, axis=1)

    if piece == count:
        values, columns = held.cut(first, count)
        found = _sums(values, columns, jax.lax.dynamic_slice_in_dim(row_scales, first, count), u)
    else:
        found = jax.lax.fori_loop(0, -(-count // piece), scored, jnp.zeros((len(u), count), jnp.float32))
    row = first + jnp.arange(count)
    real = (row >= fresh) & (row < end)
    for mask in allowed:
        real &= jax.lax.dynamic_slice_in_dim(mask, first, count)
    found = jnp.where(real, jnp.where(found == 0, 0, found), -jnp.inf)
    return jnp.pad(found, ((0, 0), (0, rows - count)), constant_values=-jnp.inf)


def _sums(
    values: Float[Array, "c k"], columns: Integer[Array, "c k"], row_scales: Float[Array, " c"], u: Float[Array, "q h"]
) -> Float[Array, "q c"]:
    """Every row's score for every query, summed over the nonzeros with the query axis last, so loads coalesce."""
    gathered = u.T[columns.astype(jnp.int32)]
    return ((values.astype(jnp.float32)[..., None] * gathered).sum(axis=1) * row_scales[:, None]).T


def _by_kernel(called: cuda.Kernel, rows: int, *given: Array) -> Float[Array, "q rows"]:
    *arrays, row_scales, u, first, fresh, end = given[: 4 + 3]
    (allowed,) = given[7:] or (jnp.zeros(1, bool),)
    together = int(called.constants["Q"])
    groups = len(u) // together
    interleaved = u.reshape(groups, together, -1).transpose(0, 2, 1)  # a nonzero reads its column of all queries
    part = jnp.stack([jnp.asarray(x, jnp.int32) for x in (first, fresh, end, rows, groups)])
    out = jax.ShapeDtypeStruct((len(u), rows), jnp.float32)
    return cuda.called(called, [out], *arrays, row_scales, interleaved, part, allowed)[0]


def kernel(held: Held, q: int, rows: int, allowed: bool) -> cuda.Kernel | None:
    """How `scan.cu` scores so many rows, of so many held, for q queries, a power of two or a few; None if it cannot."""
    constants: dict[str, int | str] = {"H": held.h, "K": held.k, "ALLOWED": int(allowed)}
    if held.signed is None:
        values, columns = held.arrays
        sizes = values.dtype.itemsize, columns.dtype.itemsize
        if values.dtype not in (jnp.float16, jnp.float32) or sizes[1] not in (2, 4):
            return None
        constants |= {"VALUE_BYTES": sizes[0], "COLUMN_BYTES": sizes[1]}
    else:
        width = held.arrays[0].shape[1]
        constants |= {"WIDTH": width, "LOW": low_bits(held.h, held.k)}
    widest = math.gcd(q, TOGETHER)
    fits = _launch(held, widest)
    while widest > 1 and (fits is None or not fits.shared_u):
        widest //= 2
        fits = _launch(held, widest)
    if fits is None:
        return None
    groups = q // widest
    slots = max(1, min(-(-rows // _rows(fits.threads, widest)), limits().processors * fits.blocks // groups))
    constants |= {"Q": widest, "U_SHARED": int(fits.shared_u), "BLOCKS": fits.blocks}
    return cuda.Kernel(SOURCE, "scores", slots * groups, fits.threads, constants, fits.bytes)


class _Launch(NamedTuple):
    threads: int
    blocks: int  # of a multiprocessor
    bytes: int  # of a block's shared memory
    shared_u: bool


def _launch(held: Held, together: int) -> _Launch | None:
    """The blocks of which most threads share a multiprocessor; of those, 256 threads, or the next number."""
    best = None
    for shared_u in (True, False):
        for threads in (256, 512, 1024, 128, 64):
            needed = -(-4 * held.h * together // 16) * 16 * shared_u + _tile(held, _rows(threads, together))
            blocks = min((limits().shared + RESERVED) // (needed + RESERVED), RESIDENT // threads)
            if blocks and (best is None or blocks * threads > best.blocks * best.threads):
                best = _Launch(threads, blocks, needed, shared_u)
        if best is not None and best.threads * best.blocks >= LEAST:
            return best
    return best


def _rows(threads: int, together: int) -> int:
    """Rows that a block has at a time: of eight queries and more two threads share one."""
    return threads // 2 if together >= 8 else threads


def _tile(held: Held, rows: int) -> int:
    """Bytes of shared memory in which a block takes records apart, and of their levels."""
    if held.signed is None:
        return 0
    width = held.arrays[0].shape[1]
    words = rows * (width // 4 | 1) if width % 4 == 0 else (rows * width + 3) // 4 + 2
    return 4 * (words + 16)


class Limits(NamedTuple):
    """Of a GPU: its multiprocessors, and the bytes of shared memory that a block may have; an H100's."""

    processors: int = 132
    shared: int = 227 * 2**10


@functools.cache
def limits() -> Limits:
    """Those of the first local device, or of an H100 where it is no GPU."""
    device, most = jax.local_devices()[0], Limits()
    asked = {"core_count": most.processors, "shared_memory_per_block_optin": most.shared}
    return Limits(*(int(getattr(device, name, None) or number) for name, number in asked.items()))
