"""The scan backend: codes scored on JAX devices, chunk by chunk with a running top r; a CPU's own loop is `host`."""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Bool, Float, Int, Integer

from compressae_jax.base import devices
from compressae_jax.base.arrays import padded
from compressae_jax.codes import spaces
from compressae_jax.codes.rows import Rows, Some
from compressae_jax.codes.storage import fast_on_device
from compressae_jax.codes.storage.convert import stored
from compressae_jax.codes.storage.kinds import FASTER, PACKINGS
from compressae_jax.notation import Expanded, InputError, check_range
from compressae_jax.retrieval import filters
from compressae_jax.retrieval.backends import running_top
from compressae_jax.retrieval.backends.host import MOST, checked_chunk
from compressae_jax.retrieval.backends.running_top import Best, Pairs
from compressae_jax.retrieval.filters import Without

WORKING_BYTES = 2**28  # of a chunk's products (c, k, q), where the compiler does not fuse them away
LONGEST_CHUNK = 2**16
CHUNKS_A_TRANSFER = 4  # of codes that come from the host piece by piece
AXIS = "rows"


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
    asked = jnp.asarray(padded(np.asarray(u, np.float32), 1 << max(0, q - 1).bit_length()))
    best, pairs = running_top.nothing(len(asked), top), running_top.pairs(without)
    k = (rows.held if isinstance(rows, Placed) else rows).k
    chunk = checked_chunk(chunk) or max(1, min(LONGEST_CHUNK, WORKING_BYTES // (4 * len(asked) * k)))
    if not isinstance(rows, Placed):
        best = _stream(best, rows, space, asked, chunk, picked, allowed, pairs)
    else:
        mask = None if allowed is None else rows.mask(allowed)
        if rows.mesh.size == 1:
            best = _absorb_chunks(best, rows.held, rows.scales(space), asked, 0, n, mask, pairs, chunk)
        else:
            best = _absorb_shards(best, rows.held, rows.scales(space), asked, n, mask, pairs, chunk, rows.mesh)
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


def _scores(
    values: Float[Array, "c k"], columns: Integer[Array, "c k"], row_scales: Float[Array, " c"], u: Float[Array, "q h"]
) -> Float[Array, "q c"]:
    """Every chunk row's score for every query, summed over the nonzeros with the query axis last, so loads coalesce."""
    gathered = u.T[columns.astype(jnp.int32)]
    return ((values.astype(jnp.float32)[..., None] * gathered).sum(axis=1) * row_scales[:, None]).T


@functools.partial(jax.jit, static_argnames="chunk")
def _absorb_chunks(
    best: Best,
    held: Held,
    row_scales: Array,
    u: Array,
    first_row: Array | int,
    valid: Array | int,
    allowed: Array | None,
    without: Pairs | None,
    chunk: int,
) -> Best:
    """Merge rows numbered from `first_row`, of which the first `valid` are real."""
    chunk = min(chunk, len(held))

    def absorb(i, best: Best) -> Best:
        first = jnp.asarray(i * chunk)
        # The last chunk starts early to stay inside; what was already seen is rolled to its end and masked.
        start = jnp.minimum(first, len(held) - chunk)

        def part(x: Array) -> Array:
            return jax.lax.dynamic_slice_in_dim(x, start, chunk)

        scores = jnp.roll(_scores(*held.cut(start, chunk), part(row_scales), u), start - first, axis=1)
        mask = None if allowed is None else jnp.roll(part(allowed), start - first)
        return running_top.absorb(best, scores, first_row + first, valid - first, mask, without)

    return jax.lax.fori_loop(0, (valid + chunk - 1) // chunk, absorb, best)


@functools.partial(jax.jit, static_argnames=("chunk", "mesh"))
def _absorb_shards(
    best: Best,
    held: Held,
    row_scales: Array,
    u: Array,
    n: Array | int,
    allowed: Array | None,
    without: Pairs | None,
    chunk: int,
    mesh: Mesh,
) -> Best:
    """The same on every device for its share of the rows, then one merge, in the order of the shards."""
    rows, whole = PartitionSpec(mesh.axis_names[0]), PartitionSpec()
    share = len(held) // mesh.size
    held_in = Held((rows,) * len(held.arrays), None if held.signed is None else whole, held.h, held.k)

    def of_shard(best, held, row_scales, u, n, allowed, without) -> Best:
        first_row = jax.lax.axis_index(mesh.axis_names[0]) * share
        valid = jnp.clip(n - first_row, 0, share)
        best = _absorb_chunks(best, held, row_scales, u, first_row, valid, allowed, without, chunk)
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
    chunk: int,
    picked: Int[np.ndarray, " m"] | None,
    allowed: Bool[np.ndarray, " n"] | None,
    without: Pairs | None,
) -> Best:
    """Rows of the host, a few chunks a transfer; the next one is on its way while a device scores the last.

    Where some are `picked`, these alone, numbered by their places.
    """
    n = len(rows) if picked is None else len(picked)
    length = min(chunk * CHUNKS_A_TRANSFER, 1 << max(0, n - 1).bit_length())
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
        ahead = _absorb_chunks(best, held, scales, u, start, min(length, n - start), mask, without, chunk)
        best.rows.block_until_ready()  # two pieces are in memory at most
        best = ahead
    return best
