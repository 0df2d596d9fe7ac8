"""The reference backend: JAX's own sparse product, chunk by chunk; `host` and `scan` are the ones to serve from."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import sparse
from jaxtyping import Array, Float, Int

from compressae_jax.codes.codes import Codes
from compressae_jax.codes.storage.packed import Packed
from compressae_jax.notation import Expanded, InputError, RowScales, check_range
from compressae_jax.retrieval import unpacking
from compressae_jax.retrieval.backends import running_top

WORKING_BYTES = 2**28  # of a chunk's products, (c, k, q) in this backend's lowering
LONGEST_CHUNK = 2**16


def search(
    codes: Codes | Packed,
    row_scales: RowScales | None,
    expanded_queries: Expanded,
    top: int,
    *,
    chunk: int | None = None,
) -> tuple[Float[np.ndarray, "q r"], Int[np.ndarray, "q r"]]:
    """The best rows of each query, best first; ties go to the lower row number. `chunk` is the rows of one product.

    Packed rows are unpacked on the host, a chunk at a time (`row_scales` None: see `unpacking`).
    """
    n = len(codes)
    check_range("top", top, 1, n)
    if n >= 2**31:
        raise InputError(f"the bcoo backend numbers rows in 32 bits, too few for {n}; use backend='host'")
    u = jnp.asarray(expanded_queries, jnp.float32)
    chunk = chunk or max(1, min(LONGEST_CHUNK, WORKING_BYTES // (4 * len(u) * codes.k), 1 << (n - 1).bit_length()))
    read = unpacking.reader(codes, row_scales, chunk)
    best = running_top.nothing(len(u), top)
    for start in range(0, n, chunk):
        values, columns, scales = read(slice(start, start + chunk))
        padding = ((0, max(0, start + chunk - n)), (0, 0))
        part = Codes(np.pad(values, padding), np.pad(columns, padding), codes.h)
        scores = _scores(part, jnp.asarray(np.pad(scales, padding[0])), u)
        best = running_top.absorb(best, scores, jnp.asarray(start), jnp.asarray(min(chunk, n - start)))
        best.rows.block_until_ready()  # one chunk is in memory at a time
    return np.asarray(best.scores), np.asarray(best.rows).astype(np.int64)


@jax.jit
def _scores(codes: Codes, row_scales: Float[Array, " c"], u: Float[Array, "q h"]) -> Float[Array, "q c"]:
    matrix = Codes(codes.values.astype(jnp.float32), codes.columns, codes.h).to_bcoo()
    with jax.default_matmul_precision("highest"):  # a GPU's default product keeps 10 bits, too few to rank by
        product = sparse.bcoo_dot_general(matrix, u.T, dimension_numbers=(((1,), (0,)), ((), ())))
    return (product * row_scales[:, None]).T
