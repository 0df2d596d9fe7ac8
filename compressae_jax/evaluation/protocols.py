"""The questions made ready for one dataset: rows to search, queries, and how an answer is scored."""

import dataclasses
from collections.abc import Callable, Iterable

import numpy as np
import scipy.sparse
from jaxtyping import Float, Int

from compressae_jax.data.named import Dataset
from compressae_jax.data.sources import Source
from compressae_jax.evaluation import judgements, metrics, neighbours, purchases, streams
from compressae_jax.evaluation.corpus import Corpus
from compressae_jax.evaluation.exclusion import Search
from compressae_jax.evaluation.rankings import PerQuery
from compressae_jax.notation import InputError

PRECISION = "precision@10"
NAMES = ("neighbours", "unseen", "judgements", "purchases")


@dataclasses.dataclass(frozen=True)
class Protocol:
    """A question: `ask` scores a search of `corpus`, one number a query and metric; tables show the `headline`."""

    name: str
    corpus: Corpus
    headline: str
    scored: int  # queries or users
    unit: str  # what they are
    ask: Callable[[Search], dict[str, PerQuery]]
    cut: tuple[str, ...] = ()  # metrics that find every row, since as deep as all rows: 1 whatever is compared


@dataclasses.dataclass(frozen=True, kw_only=True)
class Neighbours(Protocol):
    """The neighbour protocol, with what examples need of it: the queries' rows in the source, vectors, and truth."""

    query_rows: Int[np.ndarray, " q"]
    queries: Float[np.ndarray, "q d"]
    truth: Int[np.ndarray, "q t"]


def of_neighbours(
    source: Source, corpus: Corpus, rows: Int[np.ndarray, " q"] | None = None, name: str = "neighbours"
) -> Neighbours:
    """Rows left out of a corpus look for their nearest dense neighbours; zero rows, which have none, do not count.

    `rows`: those of them that ask, by default all.

    Raises:
        InputError: no row was left out, or none that has a direction.
    """
    rows = corpus.left_out if rows is None else rows
    queries = streams.take(source, rows)
    rows, queries = rows[queries.any(axis=1)], queries[queries.any(axis=1)]
    if not len(queries) or len(corpus) <= min(neighbours.DEPTHS):
        raise InputError(f"{source.name}: neighbours need rows held out as queries; {len(source)} rows are too few")
    _, truth = neighbours.truth(source, corpus.left_out, queries)

    def ask(search: Search) -> dict[str, PerQuery]:
        return neighbours.per_query(search(queries, truth.shape[1])[1], truth)

    cut = _cut(neighbours.METRICS, len(corpus))
    return Neighbours(
        name=name,
        corpus=corpus,
        headline=[metric for metric in neighbours.METRICS if metric not in cut][-1],
        scored=len(queries),
        unit="held-out rows",
        ask=ask,
        cut=cut,
        query_rows=rows,
        queries=queries,
        truth=truth,
    )


def of_judgements(
    name: str,
    corpus: Corpus,
    queries: Float[np.ndarray, "q d"],
    wanted: scipy.sparse.csr_matrix,
    own_rows: Int[np.ndarray, " q"] | None,
) -> Protocol:
    """Queries with judged rows; `own_rows`, where queries are rows themselves, are left out of the answers."""
    judged, n = len(judgements.judged(wanted)), len(corpus)

    def ask(search: Search) -> dict[str, PerQuery]:
        return judgements.per_query(search, queries, wanted, own_rows, n)

    return Protocol(name, corpus, "nDCG@10", judged, "judged queries", ask)


def of_dataset(name: str, dataset: Dataset, corpus: Corpus) -> Protocol:
    """The judgements that a dataset has, on a corpus of all its rows."""
    judged, queries = dataset.judgements(), dataset.queries
    assert judged is not None and queries is not None
    asked, place = np.unique(judged.query_rows, return_inverse=True)
    wanted = scipy.sparse.csr_matrix((judged.scores, (place, judged.doc_rows)), (len(asked), len(corpus)))
    own_rows = asked if dataset.exclude_self else None
    return of_judgements(name, corpus, streams.take(queries, asked), wanted, own_rows)


def of_labels(corpus: Corpus, rows: Int[np.ndarray, " q"], labels: Int[np.ndarray, " n"]) -> Protocol:
    """Some rows of a corpus, those in a class, look for others of their class; `labels` are of all rows, -1: none."""
    rows = rows[labels[rows] >= 0]
    members = scipy.sparse.csr_matrix(
        (np.ones(len(labels), np.int8), (np.arange(len(labels)), labels + 1)), (len(labels), int(labels.max()) + 2)
    )
    wanted = scipy.sparse.csr_matrix(members[rows] @ members.T)
    queries = streams.take(corpus.source, rows)

    def ask(search: Search) -> dict[str, PerQuery]:
        return judgements.per_query(search, queries, wanted, rows, len(corpus), (PRECISION,))

    return Protocol("labels", corpus, PRECISION, len(rows), "rows with a class", ask)


def of_purchases(corpus: Corpus, train: scipy.sparse.csr_matrix, test: scipy.sparse.csr_matrix) -> Protocol:
    """Users' earlier purchases look for their later ones."""
    width = corpus.source.width
    profile = purchases.profiles(train, streams.pieces(corpus.source, corpus.left_out), width)

    def ask(search: Search) -> dict[str, PerQuery]:
        return purchases.per_user(search, profile, train, test)

    users = len(purchases.tested(purchases.new(train, test)))
    headline = metrics.suited(purchases.METRICS, len(corpus))[0]
    return Protocol("purchases", corpus, headline, users, "users with later purchases", ask)


def _cut(names: Iterable[str], rows: int) -> tuple[str, ...]:
    """The recalls whose depth is not below the rows searched."""
    return tuple(name for name in names if int(name.partition("@")[2]) >= rows)
