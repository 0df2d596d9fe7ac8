"""Rankings scored by judgements that people bring: of a search, or of a run that any engine wrote."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from compressae_jax.base import files
from compressae_jax.codes.ids import Ids, TextIds, as_ids
from compressae_jax.data.judged import Judged
from compressae_jax.data.purchases import Purchases
from compressae_jax.data.sources import Source
from compressae_jax.evaluation import judgements, metrics, placed, purchases, streams
from compressae_jax.evaluation.evaluation import Evaluation
from compressae_jax.evaluation.exclusion import Search
from compressae_jax.evaluation.placed import Placed, Side
from compressae_jax.notation import InputError
from compressae_jax.retrieval import found as found_rows
from compressae_jax.retrieval import runs
from compressae_jax.retrieval.found import Found
from compressae_jax.retrieval.index import Index
from compressae_jax.retrieval.runs import Run

QUERY_IDS = "give query_ids=, one a query, or judgements by row number"
ITEM_IDS = "make the index with ids=, or give judgements by row number"


def of_search(
    name: str,
    search: Search,
    items: Side,
    queries: Source,
    judged: Judged,
    names: Sequence[str] | None = None,
    unknown: str = "stop",
    exclude_self: bool = False,
    seed: int = 0,
) -> Evaluation:
    """A search of `items.n` rows, scored; with `exclude_self` the row that has a query's own id is no answer.

    Raises:
        InputError: as `placed.place`; no query is a row, though their own rows are to be left out.
    """
    where = placed.place(judged, placed.side("queries", queries.ids, len(queries), QUERY_IDS), items, unknown)
    own = own_rows(judged, where, items) if exclude_self else None
    scores = judgements.per_query(search, vectors(queries, where), where.wanted, own, items.n, names)
    kept = judgements.judged(where.wanted)
    return Evaluation(name, scores, where.query_ids[kept], note=note(where, unknown), seed=seed)


def of_purchases(
    name: str,
    search: Search,
    items: Side,
    source: Source,
    bought: Purchases,
    unknown: str = "stop",
    seed: int = 0,
) -> Evaluation:
    """A search of the rows that `source` has the vectors of, scored by what users bought later.

    Raises:
        InputError: as `placed.of_purchases`; vectors that are not as many as the rows, or have not their ids.
    """
    where = placed.of_purchases(bought, items, unknown)
    if source.ids is None or items.find is None:
        if len(source) != items.n:
            raise InputError(f"vectors must be those of the index, {items.n:,} rows, not {len(source):,}")
        train = where.train
    else:
        train = placed.of_purchases(bought, placed.side("items", source.ids, len(source), ITEM_IDS), "drop").train
    profile = purchases.profiles(train, streams.pieces(source, np.zeros(0, np.int64)), source.width)
    scores = purchases.per_user(search, profile, where.train, where.test)
    users = bought.users[purchases.tested(purchases.new(where.train, where.test))]
    left_out = ", left out" if unknown == "drop" else ""
    told = f"{where.unknown:,} items not in the index{left_out}" if where.unknown else ""
    return Evaluation(name, scores, users, "users with later purchases", told, seed=seed)


def rows_of(index: Index) -> Side:
    """The rows of an index as judgements name them: by ids, or by number where it has none."""
    like = index.codes[:0].ids
    return Side("items", len(index.codes), like, None if like is None else index.where, ITEM_IDS)


def vectors(queries: Source, where: Placed) -> np.ndarray:
    """Of the judged queries (judged, d); zeros, which find nothing, of one that is not asked."""
    there = where.queries >= 0
    found = np.zeros((len(there), queries.width), np.float32)
    found[there] = streams.take(queries, where.queries[there])
    return found


def own_rows(judged: Judged, where: Placed, items: Side) -> np.ndarray:
    """The row of every judged query, which is no answer to it; -1 where it is none."""
    found = placed.numbers(judged, where.query_ids, items, judged.all_items)
    if not (found >= 0).any():
        raise InputError(f"{judged.name}: no query is one of the {items.what}, so none has a row of its own")
    return found


def note(where: Placed, unknown: str, asked: str = "asked", there: str = "in the index") -> str:
    """What is said of ids that nobody knows."""
    left_out = ", left out" if unknown == "drop" else ""
    told = (where.unknown_queries, f"not {asked}"), (where.unknown_items, f"wanted items not {there}")
    return "; ".join(f"{count:,} {what}{left_out}" for count, what in told if count)


def of_run(
    run: Run,
    judged: Judged,
    names: Sequence[str] | None = None,
    unknown: str = "keep",
    seed: int = 0,
) -> Evaluation:
    """The answers of any engine, scored; a judged query that they lack scores 0 and stays, unless `unknown` says else.

    Items that nobody found count as wanted, as always. The recall is as deep as the longest answer, at most 100, where
    `names` do not say otherwise.

    Raises:
        InputError: judgements by name of what has no ids, queries of no answer where these stop, none that is known.
    """
    items, queries = _items(run, judged), _queries(run, judged)
    most = int(np.diff(run.indptr).max(initial=1))
    asked = metrics.named(suited([run]) if names is None else names)
    ours = Judged(judged.name, queries[1], np.arange(len(judged.items)), judged.grades)
    answered = placed.side("queries", queries[0], len(run.indptr) - 1, QUERY_IDS)
    where = placed.place(ours, answered, placed.side("items", ours.items, len(ours.items), ITEM_IDS), unknown)
    found = placed.finder(items[1], "items")(items[0])
    ranked = np.append(_ranked(run.indptr, found, len(ours.items)), [[-1] * most], axis=0)  # the last: no answer
    wanted = where.wanted.copy()
    wanted.resize(len(where.queries), len(ours.items) + 1)  # one more column for all that nobody judged
    scores = metrics.of_ranking(asked, ranked[where.queries], wanted)
    return Evaluation(run.name, scores, judged.queries[where.places], note=note(where, unknown, "answered"), seed=seed)


def suited(compared: Sequence[Run]) -> tuple[str, ...]:
    """The usual metrics, the recall no deeper than the longest answer of each of the runs."""
    most = min(int(np.diff(run.indptr).max(initial=1)) for run in compared)
    return metrics.suited(judgements.METRICS, most + 1)


def opened(given: Any, query_ids: Any = None) -> Run:
    """A run: a path (.run of any engine, or what `search` wrote), a `Found`, or {query: {item: score}}.

    Raises:
        InputError: none of these, or a damaged file; `query_ids` beside what has its own.
    """
    if isinstance(given, Found):
        return _of_found("found", given, query_ids, None)
    if isinstance(given, Mapping):
        run = _of_dict(given)
    else:
        path = Path(given)
        if path.suffix in found_rows.READ:
            read = found_rows.read(path)
            if query_ids is not None and read.query_ids is not None:
                raise InputError(f"{path} has query_ids of its own; leave out query_ids")
            count = read.searched.get("rows") if isinstance(read.searched, Mapping) else None
            return _of_found(str(path), read.found, read.query_ids if query_ids is None else query_ids, count)
        run = runs.read(path)
    if query_ids is not None:
        raise InputError(f"{run.name} names its queries itself; leave out query_ids")
    return run


def _of_found(name: str, found: Found, query_ids: Any, count: int | None) -> Run:
    there = found.rows >= 0
    indptr = np.concatenate([[0], np.cumsum(there.sum(axis=1))])
    ids = None if found.ids is None else as_ids(found.ids[there], int(indptr[-1]))
    asked = None if query_ids is None else as_ids(query_ids, len(found.rows))
    return Run(name, indptr, asked, ids, found.rows[there], count)


def _of_dict(given: Mapping[Any, Any]) -> Run:
    """Best first; equal scores as they stand."""
    if not given or not all(isinstance(one, Mapping) for one in given.values()):
        raise InputError("a run must be {query: {item: score}} with a query in it")
    ranked = [sorted(one, key=lambda item, one=one: -one[item]) for one in given.values()]  # type: ignore[misc]
    flat = [item for some in ranked for item in some]
    indptr = np.concatenate([[0], np.cumsum([len(some) for some in ranked])])
    return Run("run", indptr, as_ids(list(given), len(given)), as_ids(flat, len(flat)), None, None)


def _items(run: Run, judged: Judged) -> tuple[Ids, Ids]:
    """What was found, and what is judged, in ids of one kind."""
    if run.items is not None and not (judged.by_row and run.rows is not None):
        return _alike(run, judged, run.items, judged.items, f"{run.name} has integers")
    assert run.rows is not None
    if not judged.by_row and judged.all_items is not None and len(every := judged.all_items()) == run.n:
        return every[run.rows], judged.items
    return _alike(run, judged, run.rows, judged.items, f"{run.name} has no ids of rows: {ITEM_IDS}")


def _queries(run: Run, judged: Judged) -> tuple[Ids, Ids]:
    """The queries that were answered, and those that are judged, in ids of one kind."""
    count = len(run.indptr) - 1
    if run.query_ids is not None and not (judged.by_row and run.rows is not None):
        return _alike(run, judged, run.query_ids, judged.queries, f"{run.name} has integers")
    if not judged.by_row and judged.all_queries is not None and len(every := judged.all_queries()) == count:
        return every, judged.queries
    return _alike(run, judged, np.arange(count), judged.queries, f"{run.name} has no query_ids: {QUERY_IDS}")


def _alike(run: Run, judged: Judged, found: Ids, wanted: Ids, why: str) -> tuple[Ids, Ids]:
    """Ids of both as they are, or the texts of one as integers, where the other has these."""
    if isinstance(found, TextIds) == isinstance(wanted, TextIds):
        return found, wanted
    if isinstance(wanted, TextIds):
        return found, placed.integers(judged.name, wanted, why)
    return placed.integers(run.name, found, f"{judged.name} has integers"), wanted


def _ranked(indptr: np.ndarray, columns: np.ndarray, other: int) -> np.ndarray:
    """The columns of judged items (q, most), `other` for one that nobody judged, -1 where nothing was found."""
    sizes = np.diff(indptr)
    ranked = np.full((len(sizes), int(sizes.max(initial=1))), -1)
    rank = np.arange(len(columns)) - np.repeat(indptr[:-1], sizes)
    ranked[np.repeat(np.arange(len(sizes)), sizes), rank] = np.where(columns < 0, other, columns)
    return ranked


def write(path: Path, scored: Sequence[Evaluation]) -> None:
    """The scores of every query as arrays `run/metric`, and `run/query_ids`, into an .npz."""
    arrays = {f"{one.name}/query_ids": np.array(list(one.query_ids)) for one in scored}
    arrays |= {f"{one.name}/{metric}": values for one in scored for metric, values in one.scores.items()}
    packed = io.BytesIO()
    np.savez_compressed(packed, **arrays)  # type: ignore[arg-type]
    files.write_bytes(path, packed.getvalue())
