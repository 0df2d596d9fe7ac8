"""The scan backend: codes scored on JAX devices, chunk by chunk with a running top r; a CPU's own loop is `host`."""

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Float, Int, Integer

from compressae_jax.codes.codes import Codes
from compressae_jax.codes.storage.packed import Packed
from compressae_jax.notation import Expanded, InputError, RowScales, check_range
from compressae_jax.retrieval import unpacking
from compressae_jax.retrieval.backends import running_top
from compressae_jax.retrieval.backends.running_top import Best

WORKING_BYTES = 2**28  # of a chunk's products (c, k, q), where the compiler does not fuse them away
LONGEST_CHUNK = 2**16
CHUNKS_A_TRANSFER = 4  # of codes that come from the host piece by piece
AXIS = "rows"


def search(
    codes: Codes | Packed,
    row_scales: RowScales | None,
    expanded_queries: Expanded,
    top: int,
    *,
    chunk: int | None = None,
    n: int | None = None,
) -> tuple[Float[np.ndarray, "q r"], Int[np.ndarray, "q r"]]:
    """The best rows of each query, best first; ties go to the lower row number.

    JAX arrays are scored where they are, on one device or split by rows over a mesh of them (see `place`); NumPy arrays
    and memory maps come to the default device piece by piece, and so do packed rows, which the host unpacks in each
    search (`row_scales` None: see `unpacking`). Memory beside the codes: a chunk's products, bounded by
    `WORKING_BYTES` unless `chunk`, its rows, is given. `n` is the number of real rows where padding follows them.
    """
    n = len(codes) if n is None else n
    check_range("top", top, 1, n)
    if n >= 2**31:
        raise InputError(f"the scan backend numbers rows in 32 bits, too few for {n}; use backend='host'")
    u = jnp.asarray(expanded_queries, jnp.float32)
    chunk = chunk or max(1, min(LONGEST_CHUNK, WORKING_BYTES // (4 * len(u) * codes.k)))
    best = running_top.nothing(len(u), top)
    if isinstance(codes, Packed) or not isinstance(codes.values, jax.Array):
        best = _stream(best, codes, row_scales, u, chunk)
    elif (mesh := _mesh_of(codes)) is None:
        best = _absorb_chunks(best, codes, jnp.asarray(row_scales), u, 0, n, chunk)
    else:
        best = _absorb_shards(best, codes, jnp.asarray(row_scales), u, n, chunk, mesh)
    return np.asarray(best.scores), np.asarray(best.rows).astype(np.int64)


def place(codes: Codes, row_scales: RowScales, devices: Sequence[jax.Device] | None = None) -> tuple[Codes, jax.Array]:
    """Codes and row scales split by rows over devices (all local ones by default), padded to an even split.

    `search` takes them with the number of real rows as its `n`.
    """
    mesh = Mesh(np.array(devices or jax.local_devices()), (AXIS,))
    padding = -len(codes) % mesh.size

    def put(array: jax.Array | np.ndarray) -> jax.Array:
        padded = np.pad(np.asarray(array), ((0, padding), (0, 0))[: array.ndim])
        return jax.device_put(padded, NamedSharding(mesh, PartitionSpec(AXIS)))

    return Codes(put(codes.values), put(codes.columns), codes.h), put(row_scales)


def fits(nbytes: int) -> bool:
    """Whether the local accelerators together hold that many bytes in half of their memory; a CPU is none."""
    limits = [(device.memory_stats() or {}).get("bytes_limit", 0) for device in jax.local_devices()]
    return jax.default_backend() != "cpu" and 2 * nbytes <= sum(limits)


def _mesh_of(codes: Codes) -> Mesh | None:
    """The devices that split the rows, None where one device holds them all."""
    sharding = codes.values.sharding
    if len(sharding.device_set) == 1:
        return None
    mesh = sharding.mesh if isinstance(sharding, NamedSharding) else None
    if not isinstance(mesh, Mesh) or sharding.spec[:1] != (mesh.axis_names[0],):
        raise InputError(f"codes must be split by rows over a mesh with one axis (see scan.place), not by {sharding}")
    return mesh


def _scores(
    values: Float[Array, "c k"], columns: Integer[Array, "c k"], row_scales: Float[Array, " c"], u: Float[Array, "q h"]
) -> Float[Array, "q c"]:
    """Every chunk row's score for every query, summed over the nonzeros with the query axis last, so loads coalesce."""
    gathered = u.T[columns.astype(jnp.int32)]
    return ((values.astype(jnp.float32)[..., None] * gathered).sum(axis=1) * row_scales[:, None]).T


@functools.partial(jax.jit, static_argnames="chunk")
def _absorb_chunks(best: Best, codes: Codes, row_scales: Array, u: Array, first_row, valid, chunk: int) -> Best:
    """Merge rows numbered from `first_row`, of which the first `valid` are real."""
    chunk = min(chunk, len(codes))

    def absorb(i, best: Best) -> Best:
        first = jnp.asarray(i * chunk)
        # The last chunk starts early to stay inside; what was already seen is rolled to its end and masked.
        start = jnp.minimum(first, len(codes) - chunk)
        parts = (jax.lax.dynamic_slice_in_dim(x, start, chunk) for x in (codes.values, codes.columns, row_scales))
        values, columns, scales = parts
        scores = jnp.roll(_scores(values, columns, scales, u), start - first, axis=1)
        return running_top.absorb(best, scores, first_row + first, valid - first)

    return jax.lax.fori_loop(0, (valid + chunk - 1) // chunk, absorb, best)


@functools.partial(jax.jit, static_argnames=("chunk", "mesh"))
def _absorb_shards(best: Best, codes: Codes, row_scales: Array, u: Array, n, chunk: int, mesh: Mesh) -> Best:
    """The same on every device for its share of the rows, then one merge, in the order of the shards."""
    rows, whole = PartitionSpec(mesh.axis_names[0]), PartitionSpec()
    share = len(codes) // mesh.size

    def of_shard(best: Best, codes: Codes, row_scales: Array, u: Array, n: Array) -> Best:
        first_row = jax.lax.axis_index(mesh.axis_names[0]) * share
        best = _absorb_chunks(best, codes, row_scales, u, first_row, jnp.clip(n - first_row, 0, share), chunk)
        return jax.tree.map(lambda x: x[None], best)

    each = jax.shard_map(
        of_shard, mesh=mesh, in_specs=(whole, rows, rows, whole, whole), out_specs=rows, check_vma=False
    )(best, codes, row_scales, u, n)
    for shard in range(mesh.size):
        best = running_top.merge(best, Best(each.scores[shard], each.rows[shard]))
    return best


def _stream(best: Best, codes: Codes | Packed, row_scales: RowScales | None, u: Array, chunk: int) -> Best:
    """Codes of the host, a few chunks a transfer; the next one is on its way while a device scores the last."""
    n = len(codes)
    length = min(chunk * CHUNKS_A_TRANSFER, 1 << (n - 1).bit_length())
    read = unpacking.reader(codes, row_scales, length, fresh=True)  # JAX may keep a NumPy array instead of a copy
    for start in range(0, n, length):
        part = [_padded(x, length) for x in read(slice(start, start + length))]
        ahead = _absorb_chunks(best, Codes(part[0], part[1], codes.h), part[2], u, start, min(length, n - start), chunk)
        best.rows.block_until_ready()  # two pieces are in memory at most
        best = ahead
    return best


def _padded(part: np.ndarray, length: int) -> jax.Array:
    """The last piece gets the length of the others, so that one compilation serves them all."""
    padding = ((0, length - len(part)), (0, 0))[: part.ndim]
    return jnp.asarray(part if len(part) == length else np.pad(part, padding))
