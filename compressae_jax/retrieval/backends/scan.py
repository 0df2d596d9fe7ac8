"""The scan backend: codes scored on JAX devices, chunk by chunk with a running top r; a CPU's own loop is `host`."""

import functools
import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float, Int

from compressae_jax.base import cuda, devices
from compressae_jax.base.arrays import padded
from compressae_jax.codes import spaces
from compressae_jax.codes.rows import Rows, Some
from compressae_jax.codes.storage.convert import stored
from compressae_jax.codes.storage.kinds import FASTER, PACKINGS
from compressae_jax.notation import Expanded, InputError, check_range
from compressae_jax.retrieval import filters
from compressae_jax.retrieval.backends import held as on_device
from compressae_jax.retrieval.backends import running_top
from compressae_jax.retrieval.backends.held import Held
from compressae_jax.retrieval.backends.host import MOST, checked_chunk
from compressae_jax.retrieval.backends.running_top import Best, Pairs
from compressae_jax.retrieval.filters import Without

WORKING_BYTES = 2**28  # of a chunk's scores by our kernel, else of its products (c, k, q), which may not be fused away
LONGEST_CHUNK = 2**16  # of products, and of what comes from the host
SELECTED = 40 * 2**10, 2**11  # from how many numbers how many are selected at once by blocks: what fits a kernel
CHUNKS_A_TRANSFER = 4  # of codes that come from the host piece by piece
AXIS = "rows"


class Placed:
    """Rows on devices (all local ones by default), split evenly; one copy, which all three spaces share.

    Records of `fast` rows are held as they are, of ranks in that form, or decoded where it does not hold them, and
    scales, 4 bytes a row, for each space that was asked for.
    """

    def __init__(self, rows: Rows, on: Sequence[jax.Device] | None = None) -> None:
        self.mesh = Mesh(np.array(on or jax.local_devices()), (AXIS,))
        self._rows, self._length = rows, -(-len(rows) // self.mesh.size) * self.mesh.size
        self._scales: dict[str, jax.Array] = {}
        read, signed = _arrays(_faster(rows), None, LONGEST_CHUNK)
        arrays = [np.zeros((self._length, *one.shape[1:]), one.dtype) for one in read(slice(0, 1))[0]]
        for start in range(0, len(rows), LONGEST_CHUNK):
            here = slice(start, min(start + LONGEST_CHUNK, len(rows)))
            for array, some in zip(arrays, read(here)[0], strict=True):
                array[here] = some
        self.held = Held(tuple(map(self._put, arrays)), signed, rows.h, rows.k)

    def __len__(self) -> int:
        return len(self._rows)

    def scales(self, space: str) -> jax.Array:
        """ρ of every row, and of the padding behind them."""
        if space not in self._scales:
            scales = np.zeros(self._length, np.float32)
            for start in range(0, len(self), LONGEST_CHUNK):
                here = slice(start, min(start + LONGEST_CHUNK, len(self)))
                scales[here] = self._rows.reader(space, LONGEST_CHUNK)(here).row_scales
            self._scales[space] = self._put(scales)
        return self._scales[space]

    def mask(self, allowed: Bool[np.ndarray, " n"]) -> jax.Array:
        """Which rows are allowed, and none of the padding behind them, where the rows are."""
        return self._put(padded(allowed, self._length))

    def _put(self, array: np.ndarray) -> jax.Array:
        return jax.device_put(array, NamedSharding(self.mesh, PartitionSpec(AXIS)))


def search(
    rows: Rows | Placed,
    space: str,
    u: Expanded,
    top: int,
    *,
    allowed: Bool[np.ndarray, " n"] | None = None,
    without: Without | None = None,
    chunk: int | None = None,
) -> tuple[Float[np.ndarray, "q r"], Int[np.ndarray, "q r"]]:
    """The best rows of each query, best first; ties go to the lower row number.

    `Placed` rows are scored where they are; others come to the default device piece by piece, ranks decoded on
    the host in each search. Memory beside the codes: a chunk's products, bounded by `WORKING_BYTES` unless `chunk`, its
    rows, is given. Queries are padded to a power of two, so that any number of them costs few compilations.

    Raises:
        InputError: `top` or `chunk` below 1, rows that 32 bits do not number.
    """
    n, q = len(rows), len(u)
    check_range("top", top, 1, MOST)
    if n >= 2**31:
        raise InputError(f"the scan backend numbers rows in 32 bits, too few for {n}; use backend='host'")
    picked = None if isinstance(rows, Placed) else filters.few(allowed)
    if picked is not None:
        allowed, without = None, filters.among(without, picked)
    asked = padded(np.asarray(u, np.float32), 1 << max(0, q - 1).bit_length())  # goes to the device with the call
    pairs = running_top.pairs(without)
    if isinstance(rows, Placed):
        k, most = rows.held.k, -(-n // rows.mesh.size)
    else:
        k, most = rows.k, min(LONGEST_CHUNK, 1 << max(0, n - 1).bit_length())
    cut = cut_of(len(asked), top, k, most, checked_chunk(chunk))
    if not isinstance(rows, Placed):
        best = running_top.nothing(len(asked), top)
        best = _stream(best, rows, space, jnp.asarray(asked), cut, picked, allowed, pairs)
    else:
        mask = None if allowed is None else rows.mask(allowed)
        if rows.mesh.size == 1:
            best = _best(rows.held, rows.scales(space), asked, mask, pairs, top, cut)
        else:
            best = running_top.nothing(len(asked), top)
            best = _absorb_shards(
                best, rows.held, rows.scales(space), jnp.asarray(asked), n, mask, pairs, cut, rows.mesh
            )
    scores, found = np.asarray(best.scores)[:q], np.asarray(best.rows)[:q].astype(np.int64)
    return scores, found if picked is None else filters.numbered(found, picked)


def _arrays(rows: Rows, space: str | None, most: int) -> tuple[Callable[[Some], tuple], jax.Array | None]:
    """What reads at most so many rows at once for `Held`: its arrays, and scales; and the levels of records.

    Scales are those of the space; without one, the rows are to be held for all of them.
    """
    encoded = rows.encoded(space or "reconstructed")
    if encoded is not None:

        def records(here: Some) -> tuple[tuple[np.ndarray, ...], np.ndarray]:
            some, scales = encoded.read(here)
            return (some,), scales

        return records, jnp.asarray(encoded.signed)
    read = rows.reader(space or "sparse", most, fresh=True)  # JAX may keep a NumPy array instead of a copy

    def part(here: Some) -> tuple[tuple[np.ndarray, ...], np.ndarray]:
        values, columns, scales = read(here)
        return (values, columns), scales

    return part, None


def _faster(rows: Rows) -> Rows:
    """Ranks in the form that devices take apart, others as they are, and so unchecked ones, which may be bad."""
    storage = FASTER.get(rows.storage)
    if storage is None or rows.h > PACKINGS[storage][0].MOST_COLUMNS or not rows.verified:
        return rows
    return stored(rows, storage, rows.levels, rows.similarity)


def fits(rows: Rows) -> bool:
    """Whether the local accelerators together hold the rows, as `Placed` has them, in half of their memory.

    A CPU is no accelerator.
    """
    if devices.on_cpu():
        return False
    first, _ = _arrays(_faster(rows[:1]), None, 1)[0](slice(0, 1))
    width = sum(one.nbytes for one in first) + len(spaces.SPACES) * 4
    return 2 * len(rows) * width <= devices.memory()


class Cut(NamedTuple):
    """Rows of a chunk, and of the blocks by which it is selected from, which divide it; 0 where all are sorted."""

    chunk: int
    block: int = 0


def cut_of(q: int, top: int, k: int, n: int, chunk: int | None) -> Cut:
    """How n rows are gone through for the best `top`, a chunk of our kernels' scores being as large as they may be."""
    most, greatest = SELECTED
    kernels = cuda.usable() and top <= greatest
    longest = WORKING_BYTES // (4 * q) if kernels else min(LONGEST_CHUNK, WORKING_BYTES // (4 * q * k))
    rows = max(1, min(chunk or longest, n))
    # Numbers selected from, c/block and r·block, are fewest where they are equal.
    wanted = min(max(16, math.isqrt(rows // top)), 1024, max(1, (most - top) // top))
    block = 1 << wanted.bit_length() - 1
    if not kernels and 4 * top * block > rows:  # too few for that
        return Cut(rows)
    return Cut(-(-min(rows, most * block) // block) * block, block)


@functools.partial(jax.jit, static_argnames=("top", "cut"))
def _best(
    held: Held, row_scales: Array, u: ArrayLike, allowed: Array | None, without: Pairs | None, top: int, cut: Cut
) -> Best:
    """The best of all rows, by one program."""
    u = jnp.asarray(u)
    nothing = running_top.nothing(len(u), top)
    return _absorb_chunks(nothing, held, row_scales, u, 0, len(held), allowed, without, cut)


@functools.partial(jax.jit, static_argnames="cut")
def _absorb_chunks(
    best: Best,
    held: Held,
    row_scales: Array,
    u: Array,
    first_row: Array | int,
    valid: Array | int,
    allowed: Array | None,
    without: Pairs | None,
    cut: Cut,
) -> Best:
    """Merge rows numbered from `first_row`, of which the first `valid` are real."""
    chunk = min(cut.chunk, -(-len(held) // max(1, cut.block)) * max(1, cut.block))

    def absorb(i: Array | int, best: Best) -> Best:
        # The last chunk starts early to stay inside, and leaves out what was already seen.
        fresh = jnp.asarray(i * chunk)
        first = jnp.maximum(jnp.minimum(fresh, len(held) - chunk), 0)
        part = on_device.Part(first, fresh, jnp.asarray(valid))
        scores = on_device.scores(held, row_scales, u, part, allowed, chunk)
        return running_top.add(best, scores, first_row + first, without, cut.block)

    if chunk >= len(held):
        return absorb(0, best)
    return jax.lax.fori_loop(0, -(-valid // chunk), absorb, best)  # a sum would pass 32 bits for most rows they number


@functools.partial(jax.jit, static_argnames=("cut", "mesh"))
def _absorb_shards(
    best: Best,
    held: Held,
    row_scales: Array,
    u: Array,
    n: Array | int,
    allowed: Array | None,
    without: Pairs | None,
    cut: Cut,
    mesh: Mesh,
) -> Best:
    """The same on every device for its share of the rows, then one merge, in the order of the shards."""
    rows, whole = PartitionSpec(mesh.axis_names[0]), PartitionSpec()
    share = len(held) // mesh.size
    held_in = Held((rows,) * len(held.arrays), None if held.signed is None else whole, held.h, held.k)

    def of_shard(best, held, row_scales, u, n, allowed, without) -> Best:
        first_row = jax.lax.axis_index(mesh.axis_names[0]) * share
        valid = jnp.clip(n - first_row, 0, share)
        best = _absorb_chunks(best, held, row_scales, u, first_row, valid, allowed, without, cut)
        return jax.tree.map(lambda x: x[None], best)

    specs = whole, held_in, rows, whole, whole, rows, whole
    each = jax.shard_map(of_shard, mesh=mesh, in_specs=specs, out_specs=rows, check_vma=False)(
        best, held, row_scales, u, n, allowed, without
    )
    for shard in range(mesh.size):
        best = running_top.merge(best, Best(each.scores[shard], each.rows[shard]))
    return best


def _stream(
    best: Best,
    rows: Rows,
    space: str,
    u: Array,
    cut: Cut,
    picked: Int[np.ndarray, " m"] | None,
    allowed: Bool[np.ndarray, " n"] | None,
    without: Pairs | None,
) -> Best:
    """Rows of the host, a few chunks a transfer; the next one is on its way while a device scores the last.

    Where some are `picked`, these alone, numbered by their places.
    """
    n = len(rows) if picked is None else len(picked)
    length = min(cut.chunk * CHUNKS_A_TRANSFER, 1 << max(0, n - 1).bit_length())
    read, signed = _arrays(rows, space, length)
    for start in range(0, n, length):
        here, mask = slice(start, start + length), None
        if allowed is not None:
            if not allowed[here].any():
                continue
            mask = jnp.asarray(padded(allowed[here], length))
        given, scales = read(here if picked is None else picked[here])
        arrays = tuple(jnp.asarray(padded(one, length)) for one in given)
        held, scales = Held(arrays, signed, rows.h, rows.k), jnp.asarray(padded(scales, length))
        ahead = _absorb_chunks(best, held, scales, u, start, min(length, n - start), mask, without, cut)
        best.rows.block_until_ready()  # two pieces are in memory at most
        best = ahead
    return best
