"""The reference backend: JAX's own sparse product, chunk by chunk; `host` and `scan` are the ones to serve from."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import sparse
from jaxtyping import Array, Bool, Float, Int

from compressae_jax.base.arrays import padded
from compressae_jax.codes.codes import Codes
from compressae_jax.codes.rows import Rows
from compressae_jax.notation import Expanded, InputError, check_range
from compressae_jax.retrieval.backends import running_top
from compressae_jax.retrieval.backends.host import MOST, checked_chunk
from compressae_jax.retrieval.filters import Without

WORKING_BYTES = 2**28  # of a chunk's products, (c, k, q) in this backend's lowering
LONGEST_CHUNK = 2**16


def search(
    rows: Rows,
    space: str,
    u: Expanded,
    top: int,
    *,
    allowed: Bool[np.ndarray, " n"] | None = None,
    without: Without | None = None,
    chunk: int | None = None,
) -> tuple[Float[np.ndarray, "q r"], Int[np.ndarray, "q r"]]:
    """The best rows of each query, best first; ties go to the lower row number. `chunk` is the rows of one product.

    Raises:
        InputError: `top` or `chunk` below 1, rows that 32 bits do not number.
    """
    n, q = len(rows), len(u)
    check_range("top", top, 1, MOST)
    if n >= 2**31:
        raise InputError(f"the bcoo backend numbers rows in 32 bits, too few for {n}; use backend='host'")
    asked = jnp.asarray(padded(np.asarray(u, np.float32), 1 << max(0, q - 1).bit_length()))
    most = min(LONGEST_CHUNK, WORKING_BYTES // (4 * len(asked) * rows.k), 1 << max(0, n - 1).bit_length())
    chunk = checked_chunk(chunk) or max(1, most)
    read = rows.reader(space, chunk)
    best, pairs = running_top.nothing(len(asked), top), running_top.pairs(without)
    for start in range(0, n, chunk):
        here = slice(start, start + chunk)
        part = [padded(one, chunk) for one in read(here)]
        mask = None if allowed is None else jnp.asarray(padded(allowed[here], chunk))
        scores = _scores(Codes(part[0], part[1], rows.h), jnp.asarray(part[2]), asked)
        valid = jnp.asarray(min(chunk, n - start))
        best = running_top.absorb(best, scores, jnp.asarray(start), valid, mask, pairs)
        best.rows.block_until_ready()  # one chunk is in memory at a time
    return np.asarray(best.scores)[:q], np.asarray(best.rows)[:q].astype(np.int64)


@jax.jit
def _scores(codes: Codes, row_scales: Float[Array, " c"], u: Float[Array, "q h"]) -> Float[Array, "q c"]:
    matrix = Codes(codes.values.astype(jnp.float32), codes.columns, codes.h).to_bcoo()
    with jax.default_matmul_precision("highest"):  # a GPU's default product keeps 10 bits, too few to rank by
        product = sparse.bcoo_dot_general(matrix, u.T, dimension_numbers=(((1,), (0,)), ((), ())))
    return (product * row_scales[:, None]).T
