"""Evaluation from Python, by judgements and purchases that people bring; the job of a run folder is `jobs.evaluate`."""

from collections.abc import Sequence
from typing import Any

from compressae_jax import data
from compressae_jax.data import purchases as purchases_of
from compressae_jax.data.judged import open_judgements
from compressae_jax.evaluation import judging, placed
from compressae_jax.evaluation.evaluation import Evaluation
from compressae_jax.evaluation.placed import Side
from compressae_jax.notation import InputError
from compressae_jax.retrieval.index import Index


def evaluate(
    index: Any,
    queries: Any,
    judgements: Any,
    *,
    query_ids: Any = None,
    metrics: Sequence[str] | None = None,
    split: str = "test",
    unknown: str = "stop",
    exclude_self: bool = False,
    seed: int = 0,
) -> Evaluation:
    """Score an index by judgements: means with 95 % bootstrap intervals, a table in a cell.

    `queries` are vectors (q, d) in whatever holds them, or a path, as for `fit`; where judgements name them by ids,
    `query_ids` are one each, or a file of them. `judgements`: {query: {item: grade}}, rows (query, item, grade), a data
    frame, a sparse matrix (q, n) of grades, or a path: TREC's qrels, a .tsv, .csv or .parquet, a folder in BEIR's
    layout, of which `split` is read. Items go by the ids of the index, by row numbers where it has none.

    Grades above 0 are relevant; a query without any is not scored, one that finds nothing scores 0. `metrics` are names
    like 'nDCG@10', 'recall@100', 'MRR@10', 'MAP@100' and 'precision@5'; by default the first three, the recall less
    deep where rows are few. `unknown` ids 'stop', or are kept ('keep': never found, as trec_eval counts), or left out
    ('drop'). With `exclude_self` queries are items, too, and the row of a query's own id is no answer.

    `index` may be anything that has a length and `search(queries, top)` to scores and row numbers.

    Raises:
        InputError: judgements that cannot be read, or that are of other queries or items; an unknown metric.
    """
    items, source, judged = _items(index), data.open_source(queries, ids=query_ids), open_judgements(judgements, split)
    return judging.of_search(
        _name(index), index.search, items, source, judged, metrics, unknown, exclude_self, seed=seed
    )


def evaluate_run(
    run: Any,
    judgements: Any,
    *,
    query_ids: Any = None,
    metrics: Sequence[str] | None = None,
    split: str = "test",
    unknown: str = "keep",
    seed: int = 0,
) -> Evaluation:
    """Score what any engine has found, as `evaluate` scores an index.

    `run`: a TREC run file (.run), what `compressae search` wrote (.npz, .parquet), a `Found` with the `query_ids` that
    were asked, or {query: {item: score}}. A judged query that it does not answer scores 0, unless `unknown` says
    otherwise.

    Raises:
        InputError: a run or judgements that cannot be read, or that are of other queries.
    """
    judged = open_judgements(judgements, split)
    return judging.of_run(judging.opened(run, query_ids), judged, metrics, unknown, seed=seed)


def evaluate_purchases(
    index: Any,
    vectors: Any,
    purchases: Any,
    *,
    split: Any = purchases_of.LAST,
    columns: Sequence[str] = purchases_of.COLUMNS,
    unknown: str = "stop",
    seed: int = 0,
) -> Evaluation:
    """Score an index by purchases: does what users bought before find what they bought later?

    A user is asked for by the mean of the unit vectors of what was bought before, which is itself no answer; `vectors`
    are those that the index was made of. `purchases`: a table (a data frame, .csv, .tsv, .parquet) with `columns` of
    user, item and time, of which `split` tells the later ones ('last', a share, a moment: see
    `data.purchases.read`), or a pair of sparse matrices, users x items by row number. `unknown` items as in `evaluate`.

    Raises:
        InputError: purchases that cannot be read, or that are of other items; vectors that are not those of the index.
    """
    items, source = _items(index), data.open_source(vectors)
    bought = purchases_of.open_purchases(purchases, split, columns)
    return judging.of_purchases(_name(index), index.search, items, source, bought, unknown, seed=seed)


def _name(index: Any) -> str:
    return str(getattr(index, "name", type(index).__name__))


def _items(index: Any) -> Side:
    """The rows as judgements name them; those of another searcher than an `Index` go by number."""
    if isinstance(index, Index):
        return judging.rows_of(index)
    if not (hasattr(index, "search") and hasattr(index, "__len__")):
        raise InputError(f"index must have a length and search(queries, top), which {type(index).__name__} has not")
    return placed.side("items", None, len(index), judging.ITEM_IDS)
