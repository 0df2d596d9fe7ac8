"""What the rows of a set are asked: people's judgements, later purchases, the same class; as much of it as wanted."""

import functools
from typing import NamedTuple

import numpy as np
import scipy.sparse
from jaxtyping import Float, Int

from compressae_jax import data
from compressae_jax.data import purchases
from compressae_jax.data.named import Dataset
from compressae_jax.evaluation import protocols
from compressae_jax.evaluation.corpus import Corpus
from compressae_jax.evaluation.protocols import Protocol
from compressae_jax.notation import InputError

HELD_OUT = 0.2  # of every user's items, where no time is known
Numbers = Int[np.ndarray, " _"]


class Question(NamedTuple):
    """The rows that are searched, and how a search of them is asked and scored."""

    documents: Float[np.ndarray, "n d"]
    protocol: Protocol


@functools.lru_cache(maxsize=2)
def question(name: str, rows: int = 0, queries: int = 0) -> Question:
    """What a dataset can be asked, of judgements, purchases and classes the first that it has.

    Of more than `queries` queries (or users; 0: any) so many are drawn by seed 0, and of more than `rows` rows so many,
    those that the queries' judgements name among them.

    Raises:
        InputError: a dataset that is not at hand, or that has none of the three.
    """
    return of(data.load(name), rows, queries)


def among(name: str, only: Numbers, queries: int = 0) -> Question:
    """The same of some rows alone (ascending numbers); what is judged or bought beyond them does not count.

    Raises:
        InputError: as `question`.
    """
    return of(data.load(name), 0, queries, only)


def of(dataset: Dataset, rows: int = 0, queries: int = 0, only: Numbers | None = None) -> Question:
    """The same of a dataset that is at hand.

    Raises:
        InputError: one that has none of the three.
    """
    if dataset.judgements() is not None:
        return _judged(dataset, rows, queries, only)
    if dataset.train is not None or dataset.interactions is not None:
        return _bought(dataset, rows, queries, only)
    if dataset.labels is not None:
        return _labelled(dataset, dataset.labels, rows, queries, only)
    raise InputError(f"{dataset.name} has no judgements, no purchases and no labels to ask for")


def _judged(dataset: Dataset, rows: int, queries: int, only: Numbers | None) -> Question:
    judged, source = dataset.judgements(), dataset.queries
    assert judged is not None and source is not None
    relevant = judged.scores > 0
    if only is not None:
        relevant &= np.isin(judged.doc_rows, only)
        if dataset.exclude_self:
            relevant &= np.isin(judged.query_rows, only)
    asked = _some(np.unique(judged.query_rows[relevant]), queries)
    lines = relevant & np.isin(judged.query_rows, asked)
    named = np.unique(judged.doc_rows[lines])
    named = np.union1d(named, asked) if dataset.exclude_self else named
    kept = _some(np.arange(len(dataset.vectors)), rows, named) if only is None else only
    places = np.searchsorted(asked, judged.query_rows[lines]), np.searchsorted(kept, judged.doc_rows[lines])
    wanted = scipy.sparse.csr_matrix((judged.scores[lines], places), (len(asked), len(kept)))
    documents, corpus = _corpus(dataset, kept)
    own = np.searchsorted(kept, asked) if dataset.exclude_self else None
    return Question(documents, protocols.of_judgements("judgements", corpus, source.take(asked), wanted, own))


def _bought(dataset: Dataset, rows: int, queries: int, only: Numbers | None) -> Question:
    if dataset.train is not None and dataset.test is not None:
        train, test = dataset.train, dataset.test
    else:
        assert dataset.interactions is not None
        _, _, _, train, test, _ = purchases.drawn(dataset.interactions, HELD_OUT)
    kept = _some(np.arange(train.shape[1]), rows) if only is None else only
    train, test = train[:, kept], test[:, kept]
    users = _some(np.flatnonzero(np.diff(train.indptr) * np.diff(test.indptr)), queries)
    documents, corpus = _corpus(dataset, kept)
    return Question(documents, protocols.of_purchases(corpus, train[users], test[users]))


def _labelled(
    dataset: Dataset, labels: Int[np.ndarray, " n"], rows: int, queries: int, only: Numbers | None
) -> Question:
    kept = _some(np.arange(len(labels)), rows) if only is None else only
    labels = labels[kept]
    documents, corpus = _corpus(dataset, kept)
    return Question(documents, protocols.of_labels(corpus, _some(np.flatnonzero(labels >= 0), queries), labels))


def _some(numbers: Numbers, most: int, first: Numbers | None = None) -> Numbers:
    """At most so many of sorted numbers (0: all), `first` before others are drawn by seed 0; sorted."""
    if not most or len(numbers) <= most:
        return numbers
    first = np.empty(0, np.int64) if first is None else first
    others = np.random.default_rng(0).permutation(numbers[~np.isin(numbers, first)])
    return np.sort(np.concatenate([first, others[: max(0, most - len(first))]]))


def _corpus(dataset: Dataset, kept: Numbers) -> tuple[Float[np.ndarray, "n d"], Corpus]:
    documents = dataset.vectors.take(kept)
    return documents, Corpus(data.open_source(documents), {}, np.empty(0, np.int64))
