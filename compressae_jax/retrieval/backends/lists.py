"""Inverted lists of codes: for few sparse queries, faster than `host`, which scores every row, and as exact.

In the space `sparse` a query has k nonzeros, and only rows with a latent of theirs score other than 0. Sums are taken
term by term over the lists of these latents: 1.3 % of the nonzeros of wordnet, 2 to 3 times as fast for up to four
queries (`benchmarks.lists`). Lists lie in blocks of rows, so that a block's sums stay in cache and 16 bits name a row
in it.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int, Int32, Shaped, UInt16

from compressae_jax.base.threads import cores, deal
from compressae_jax.codes.rows import Rows
from compressae_jax.notation import Expanded, check_choice, check_range
from compressae_jax.retrieval.backends.host import (
    MOST,
    Results,
    best_of_threads,
    checked_chunk,
    fixed,
    in_groups,
    mask_of,
    stored,
)
from compressae_jax.retrieval.filters import Without

LONGEST_BLOCK, SHORTEST_BLOCK = 2**15, 2**12  # rows; shorter ones are slower, a block for every core is faster
SHARE = 2**19  # of rows × queries, from which on another thread gains more than starting it costs
QUERIES, TOUCHED = 8, 1 / 32  # at once, and of the nonzeros: up to both, 1.5 times as fast as `host` or more


class Lists(NamedTuple):
    """The nonzeros of rows by block and latent, rows rising in each list; m is n k, padding included.

    List c of a block lies from `starts[block, c]` on, counted from the block's first nonzero. Rows are numbered within
    their block; values are as stored, float16 as its bits.
    """

    starts: Int32[np.ndarray, "blocks h_and_1"]
    rows: UInt16[np.ndarray, " m"]
    values: Shaped[np.ndarray, " m"]
    row_scales: Float[np.ndarray, " n"]  # of the space 'sparse'
    block: int  # rows of every block but the last

    @property
    def nbytes(self) -> int:
        """Bytes in memory: those of a value and 2 a nonzero, 4 a row, and 4 (h + 1) a block."""
        return self.starts.nbytes + self.rows.nbytes + self.values.nbytes + self.row_scales.nbytes


def build(rows: Rows, block: int | None = None) -> Lists:
    """Lists of rows, by a counting sort of every block of them, on all cores; memory maps are read once.

    Of packed rows the lists hold decoded values, 4 bytes each.
    """
    from compressae_jax.retrieval.backends import kernels

    n, k = len(rows), rows.k
    block = block or min(LONGEST_BLOCK, max(SHORTEST_BLOCK, -(-n // cores())))
    check_range("block", block, 1, min(2**16, (2**31 - 1) // k))  # for uint16 rows and int32 starts
    starts = np.empty((-(-n // block), rows.h + 1), np.int32)
    kind = stored(rows.reader("sparse", 1)(slice(0, 1)).values).dtype
    lists = Lists(starts, np.empty(n * k, np.uint16), np.empty(n * k, kind), np.empty(n, np.float32), block)

    def fill(number: int) -> None:
        some = slice(number * block, (number + 1) * block)
        here = slice(some.start * k, some.stop * k)
        values, columns, scales = rows.reader("sparse", block)(some)
        kernels.fill_lists(stored(values), stored(columns), starts[number], lists.values[here], lists.rows[here])
        lists.row_scales[some] = scales

    deal(fill, range(len(starts)))
    return lists


def touched(lists: Lists, expanded_queries: Expanded) -> float:
    """The share of the nonzeros, padding included, that a query's lists hold; the mean over queries."""
    asked = np.count_nonzero(expanded_queries, axis=0)
    latents = np.flatnonzero(asked)
    lengths = (lists.starts[:, latents + 1] - lists.starts[:, latents]).sum(axis=0, dtype=np.int64)
    return float(lengths @ asked[latents]) / (len(expanded_queries) * len(lists.rows))


def search(
    lists: Lists,
    space: str,
    u: Expanded,
    top: int,
    *,
    allowed: Bool[np.ndarray, " n"] | None = None,
    without: Without | None = None,
    chunk: int | None = None,
) -> tuple[Float[np.ndarray, "q r"], Int[np.ndarray, "q r"]]:
    """The best rows of each query in the space 'sparse', best first; ties go to the lower row number.

    Exact for any u, and fast where it has few nonzeros. Terms are added in the order of the latents, so near ties may
    come in another order than from `host`. Beside lists and results a thread needs `top` results a query and a number
    for each row of a block. `chunk` changes nothing: lists have their blocks.

    Raises:
        InputError: another space, `top` or `chunk` below 1.
    """
    from compressae_jax.retrieval.backends import kernels

    check_choice("space", space, ("sparse",))
    check_range("top", top, 1, MOST)
    checked_chunk(chunk)
    n, block = len(lists.row_scales), lists.block
    scales, k = stored(lists.row_scales), len(lists.rows) // max(1, n)

    def find(u: np.ndarray, without: Without, threads: int) -> Results:
        terms = [(latents := np.flatnonzero(one), one[latents]) for one in u]
        ends = [fixed(without.indptr[i : i + 2]) for i in range(len(u))]
        numbers = iter(range(len(lists.starts)))

        def work(scores: np.ndarray, rows: np.ndarray) -> None:
            sums = np.empty(min(block, n), np.float32)
            for number in numbers:  # shared by the threads, so each sees rising rows and a slow core takes fewer
                first = number * block
                some, here = scales[first : first + block], slice(first * k, (first + block) * k)
                if (mask := mask_of(allowed, slice(first, first + block))) is None:
                    continue
                part = lists.starts[number], lists.values[here], lists.rows[here], some, first, mask
                for i, (latents, weights) in enumerate(terms):
                    asked = latents, weights, ends[i], without.rows, sums[: len(some)]
                    kernels.scan_lists(*part, *asked, scores[i], rows[i])

        return best_of_threads(work, threads, len(u), top)

    u = np.asarray(u, np.float32)
    return in_groups(find, u, without, top, min(cores(), len(lists.starts), -(-len(u) * n // SHARE)))
