"""Some rows of a source, drawn by seed: those that everything is fitted to, others that are searched, and queries."""

from typing import NamedTuple

import numpy as np
import scipy.sparse
from jaxtyping import Float

from compressae_jax.data import sampling
from compressae_jax.data.judged import Judged as Judgements
from compressae_jax.data.sources import BadRowsError, Source
from compressae_jax.evaluation import judging, placed, streams
from compressae_jax.evaluation.placed import Placed
from compressae_jax.notation import InputError

FITTED = 0.5  # of the rows drawn
QUERIES = 500  # rows that ask, at most a tenth of those drawn: half the interval of a mean recall is then .003 to .01
LEAST = 100  # rows drawn: of fewer, a recall says nothing
JUDGED_SHARE = 0.3  # of the rows drawn: relevant rows, which must be among those searched, take no more

Vectors = Float[np.ndarray, "n d"]


class Judged(NamedTuple):
    """Queries that people judged, and what they want of the rows searched."""

    queries: Vectors
    wanted: scipy.sparse.csr_matrix
    of: int  # judged queries there are, of which some were drawn


class Sample(NamedTuple):
    """Rows that nothing else is in: nothing is fitted to `searched` and `queries`."""

    fitted: Vectors
    searched: Vectors
    queries: Vectors
    judged: Judged | None
    zero: int  # rows of zeros that were drawn, and left out

    @property
    def rows(self) -> int:
        """How many there are."""
        return len(self.fitted) + len(self.searched) + len(self.queries)


def draw(source: Source, rows: int, seed: int = 0, judged: tuple[Source, Placed] | None = None) -> Sample:
    """At most so many rows of a source: half are fitted to, a tenth at most ask, the others are searched.

    `judged`: vectors of judged queries, and what these want of the source's rows. So many of the queries are drawn as
    the sample holds relevant rows of; these rows are searched, and nothing is fitted to them.

    Raises:
        InputError: fewer than `LEAST` rows, a value that is not finite, or zeros wherever rows are fitted to, ask or
            are searched.
    """
    total = min(rows, len(source))
    if total < LEAST:
        raise InputError(f"{source.name}: a sample needs at least {LEAST} rows, not {total}")
    asking = min(QUERIES, total // 10)
    chosen = np.zeros(0, np.int64) if judged is None else _drawn_queries(judged[1], len(source), total, seed)
    relevant = np.zeros(0, np.int64) if judged is None else np.unique(judged[1].wanted[chosen].indices)
    relevant = relevant[relevant < len(source)]
    drawn = sampling.drawn_rows(len(source), seed, min(len(source), total + len(relevant)), sampling.SAMPLE)
    others = drawn[~np.isin(drawn, relevant)][: total - len(relevant)]
    few = min(int(FITTED * total), len(others) - asking - 1)
    queries, fitted, searched = others[:asking], others[asking : asking + few], others[asking + few :]
    searched = np.sort(np.concatenate([relevant, searched]))
    # Those fitted to stay in the order they were drawn in, so that a part of them is a sample, too.
    to_fit, to_search, to_ask = (_finite(source, some) for some in (fitted, searched, queries))
    whole = to_search.any(axis=1)
    asked = None if judged is None else _judged(judged, chosen, searched[whole])
    there = Sample(to_fit[to_fit.any(axis=1)], to_search[whole], to_ask[to_ask.any(axis=1)], asked, 0)
    if not all(map(len, (there.fitted, there.searched, there.queries))):
        raise InputError(
            f"{source.name}: a sample needs more rows with a direction; of {total:,}, {there.rows:,} have one"
        )
    return there._replace(zero=total - there.rows)


def placed_on(source: Source, queries: Source, judged: Judgements, unknown: str) -> tuple[Source, Placed]:
    """Judgements of queries placed on the rows of a source.

    Raises:
        InputError: as `placed.place`, and queries of another width.
    """
    if queries.width != source.width:
        raise InputError(f"queries have width {queries.width}, the vectors {source.width}")
    items = placed.side("items", source.ids, len(source), "name them by --ids or --ids_column")
    asked = placed.side("queries", queries.ids, len(queries), "name them by --query_ids")
    return queries, placed.place(judged, asked, items, unknown)


def _drawn_queries(there: Placed, n: int, total: int, seed: int) -> np.ndarray:
    """Of the judged queries, in an order of chance, as many as want so few rows, and at least one."""
    count = there.wanted.shape[0]
    order = sampling.drawn_rows(count, seed, count)[:QUERIES]
    inside = there.wanted[order][:, :n]
    sizes = np.cumsum(np.asarray((inside > 0).sum(axis=1)).reshape(-1))  # shared ones count twice: an upper bound
    return np.sort(order[: max(1, int(np.searchsorted(sizes, JUDGED_SHARE * total, side="right")))])


def _judged(judged: tuple[Source, Placed], chosen: np.ndarray, searched: np.ndarray) -> Judged:
    """What the chosen queries want, in columns of the rows searched; behind these what no row of them is."""
    source, there = judged
    wanted = there.wanted[chosen].tocoo()
    place = np.minimum(np.searchsorted(searched, wanted.col), len(searched) - 1)
    lost, other = np.unique(wanted.col, return_inverse=True)
    columns = np.where(searched[place] == wanted.col, place, len(searched) + other)
    shape = (len(chosen), len(searched) + len(lost))
    matrix = scipy.sparse.csr_matrix((wanted.data, (wanted.row, columns)), shape=shape)
    vectors = judging.vectors(source, there._replace(queries=there.queries[chosen]))
    return Judged(vectors, matrix, there.wanted.shape[0])


def _finite(source: Source, rows: np.ndarray) -> Vectors:
    some = streams.take(source, rows)
    wrong = ~np.isfinite(some).all(axis=1)
    if wrong.any():
        raise BadRowsError(f"{source.where(int(rows[wrong.argmax()]))} has a value that is not finite")
    return some
