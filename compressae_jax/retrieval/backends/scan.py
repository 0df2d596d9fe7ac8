"""The scan backend: codes scored on JAX devices, chunk by chunk with a running top r; a CPU's own loop is `host`."""

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Bool, Float, Int, Integer

from compressae_jax.base import devices
from compressae_jax.base.arrays import padded
from compressae_jax.codes import spaces
from compressae_jax.codes.codes import Codes
from compressae_jax.codes.rows import Rows
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


class Placed:
    """Rows on devices (all local ones by default), split evenly; one copy, which all three spaces share.

    Packed rows are held there decoded, and scales, 4 bytes a row, for each space that was asked for.
    """

    def __init__(self, rows: Rows, on: Sequence[jax.Device] | None = None) -> None:
        self.mesh = Mesh(np.array(on or jax.local_devices()), (AXIS,))
        self._rows, self._length = rows, -(-len(rows) // self.mesh.size) * self.mesh.size
        self._scales: dict[str, jax.Array] = {}
        first = rows.reader("sparse", 1)(slice(0, 1))
        values, columns = (np.zeros((self._length, rows.k), one.dtype) for one in first[:2])
        for start in range(0, len(rows), LONGEST_CHUNK):
            here = slice(start, min(start + LONGEST_CHUNK, len(rows)))
            part = rows.reader("sparse", LONGEST_CHUNK)(here)
            values[here], columns[here] = part.values, part.columns
        self.codes = Codes(self._put(values), self._put(columns), rows.h)

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

    `Placed` rows are scored where they are; others come to the default device piece by piece, packed ones decoded on
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
    k = (rows.codes if isinstance(rows, Placed) else rows).k
    chunk = checked_chunk(chunk) or max(1, min(LONGEST_CHUNK, WORKING_BYTES // (4 * len(asked) * k)))
    if not isinstance(rows, Placed):
        best = _stream(best, rows, space, asked, chunk, picked, allowed, pairs)
    else:
        mask = None if allowed is None else rows.mask(allowed)
        if rows.mesh.size == 1:
            best = _absorb_chunks(best, rows.codes, rows.scales(space), asked, 0, n, mask, pairs, chunk)
        else:
            best = _absorb_shards(best, rows.codes, rows.scales(space), asked, n, mask, pairs, chunk, rows.mesh)
    scores, found = np.asarray(best.scores)[:q], np.asarray(best.rows)[:q].astype(np.int64)
    return scores, found if picked is None else filters.numbered(found, picked)


def fits(rows: Rows) -> bool:
    """Whether the local accelerators together hold the rows, as `Placed` has them, in half of their memory.

    A CPU is no accelerator.
    """
    if devices.on_cpu():
        return False
    first = rows.reader("sparse", 1)(slice(0, 1))
    width = first.values.nbytes + first.columns.nbytes + len(spaces.SPACES) * first.row_scales.nbytes
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
    codes: Codes,
    row_scales: Array,
    u: Array,
    first_row: Array | int,
    valid: Array | int,
    allowed: Array | None,
    without: Pairs | None,
    chunk: int,
) -> Best:
    """Merge rows numbered from `first_row`, of which the first `valid` are real."""
    chunk = min(chunk, len(codes))

    def absorb(i, best: Best) -> Best:
        first = jnp.asarray(i * chunk)
        # The last chunk starts early to stay inside; what was already seen is rolled to its end and masked.
        start = jnp.minimum(first, len(codes) - chunk)

        def part(x: Array) -> Array:
            return jax.lax.dynamic_slice_in_dim(x, start, chunk)

        scores = jnp.roll(_scores(part(codes.values), part(codes.columns), part(row_scales), u), start - first, axis=1)
        mask = None if allowed is None else jnp.roll(part(allowed), start - first)
        return running_top.absorb(best, scores, first_row + first, valid - first, mask, without)

    return jax.lax.fori_loop(0, (valid + chunk - 1) // chunk, absorb, best)


@functools.partial(jax.jit, static_argnames=("chunk", "mesh"))
def _absorb_shards(
    best: Best,
    codes: Codes,
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
    share = len(codes) // mesh.size

    def of_shard(best, codes, row_scales, u, n, allowed, without) -> Best:
        first_row = jax.lax.axis_index(mesh.axis_names[0]) * share
        valid = jnp.clip(n - first_row, 0, share)
        best = _absorb_chunks(best, codes, row_scales, u, first_row, valid, allowed, without, chunk)
        return jax.tree.map(lambda x: x[None], best)

    specs = whole, rows, rows, whole, whole, rows, whole
    each = jax.shard_map(of_shard, mesh=mesh, in_specs=specs, out_specs=rows, check_vma=False)(
        best, codes, row_scales, u, n, allowed, without
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
    read = rows.reader(space, length, fresh=True)  # JAX may keep a NumPy array instead of a copy
    for start in range(0, n, length):
        here, mask = slice(start, start + length), None
        if allowed is not None:
            if not allowed[here].any():
                continue
            mask = jnp.asarray(padded(allowed[here], length))
        values, columns, scales = (
            jnp.asarray(padded(one, length)) for one in read(here if picked is None else picked[here])
        )
        codes, valid = Codes(values, columns, rows.h), min(length, n - start)
        ahead = _absorb_chunks(best, codes, scales, u, start, valid, mask, without, chunk)
        best.rows.block_until_ready()  # two pieces are in memory at most
        best = ahead
    return best
