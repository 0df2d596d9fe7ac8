"""The three questions made ready for one dataset: rows to search, queries, and how an answer is scored."""

import dataclasses
from collections.abc import Callable

import numpy as np
import scipy.sparse
from jaxtyping import Float, Int

from compressae_jax.data.named import Dataset
from compressae_jax.data.sources import Source
from compressae_jax.evaluation import judgements, neighbours, purchases, rankings, streams
from compressae_jax.evaluation.corpus import Corpus
from compressae_jax.evaluation.judgements import Search
from compressae_jax.evaluation.rankings import PerQuery
from compressae_jax.notation import InputError

NAMES = ("neighbours", "judgements", "purchases")


@dataclasses.dataclass(frozen=True)
class Protocol:
    """A question: `ask` scores a search of `corpus`, one number a query and metric; tables show the `headline`."""

    name: str
    corpus: Corpus
    headline: str
    scored: int  # queries or users
    unit: str  # what they are
    ask: Callable[[Search], dict[str, PerQuery]]


@dataclasses.dataclass(frozen=True)
class Neighbours(Protocol):
    """The neighbour protocol, with what examples need of it: the queries' rows in the source, vectors, and truth."""

    query_rows: Int[np.ndarray, " q"]
    queries: Float[np.ndarray, "q d"]
    truth: Int[np.ndarray, "q t"]


def of_neighbours(source: Source, corpus: Corpus) -> Neighbours:
    """Rows left out of a corpus look for their nearest dense neighbours; zero rows, which have none, do not count.

    Raises:
        InputError: no row was left out, or none that has a direction.
    """
    rows = corpus.left_out
    queries = streams.take(source, rows)
    rows, queries = rows[queries.any(axis=1)], queries[queries.any(axis=1)]
    if not len(queries) or not len(corpus):
        raise InputError(f"{source.name}: neighbours need rows held out as queries; {len(source)} rows are too few")
    _, truth = neighbours.truth(source, corpus.left_out, queries)

    def ask(search: Search) -> dict[str, PerQuery]:
        return neighbours.per_query(search(queries, truth.shape[1])[1], truth)

    return Neighbours("neighbours", corpus, "recall@100", len(queries), "held-out rows", ask, rows, queries, truth)


def of_judgements(
    name: str,
    corpus: Corpus,
    queries: Float[np.ndarray, "q d"],
    wanted: scipy.sparse.csr_matrix,
    own_rows: Int[np.ndarray, " q"] | None,
) -> Protocol:
    """Queries with judged rows; `own_rows`, where queries are rows themselves, are left out of the answers."""
    judged = len(judgements.judged(wanted))

    def ask(search: Search) -> dict[str, PerQuery]:
        return judgements.per_query(search, queries, wanted, own_rows)

    return Protocol(name, corpus, "nDCG@10", judged, "judged queries", ask)


def of_dataset(name: str, dataset: Dataset, corpus: Corpus) -> Protocol:
    """The judgements that a dataset has, on a corpus of all its rows."""
    judged, queries = dataset.judgements(), dataset.queries
    assert judged is not None and queries is not None
    asked, place = np.unique(judged.query_rows, return_inverse=True)
    wanted = scipy.sparse.csr_matrix((judged.scores, (place, judged.doc_rows)), (len(asked), len(corpus)))
    own_rows = asked if dataset.exclude_self else None
    return of_judgements(name, corpus, streams.take(queries, asked), wanted, own_rows)


def of_purchases(corpus: Corpus, train: scipy.sparse.csr_matrix, test: scipy.sparse.csr_matrix) -> Protocol:
    """Users' earlier purchases look for their later ones."""
    width = corpus.source.width
    profile = purchases.profiles(train, streams.pieces(corpus.source, corpus.left_out), width)

    def ask(search: Search) -> dict[str, PerQuery]:
        return purchases.per_user(search, profile, train, test)

    users = int((rankings.count(test) > 0).sum())
    return Protocol("purchases", corpus, "recall@20", users, "users with later purchases", ask)
