"""TREC's run files: what any engine found, a line `query Q0 item rank score name` a result; our own are `found`'s."""

import collections
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int64

from compressae_jax.base import files
from compressae_jax.codes.ids import Ids, TextIds
from compressae_jax.notation import InputError

NAME = "compressae_jax"  # of the run, in its last column
FIELDS = 6


class Run(NamedTuple):
    """Ranked items of queries: those of query i are `items[indptr[i]:indptr[i + 1]]`, best first.

    Items go by ids, by row numbers (of `n` rows), or by both; what is None is not known.
    """

    name: str
    indptr: Int64[np.ndarray, " q_and_1"]
    query_ids: Ids | None
    items: Ids | None
    rows: Int64[np.ndarray, " m"] | None
    n: int | None


def of_found(found: Any, query_ids: Ids | None = None, name: str = NAME) -> str:
    """The text of a run file; queries without ids go by their places, rows without ids by their numbers.

    Raises:
        InputError: an id, or a name, that is empty or has white space in it, which ends a field there.
    """
    ids = found.rows if found.ids is None else found.ids
    queries = range(len(ids)) if query_ids is None else query_ids
    lines = _lines(ids, queries, found.scores, found.rows, _word("name", name))
    return "".join(lines)


def read(path: str | os.PathLike) -> Run:
    """A run file, ranked by falling score; equal scores by their ranks, which is how `of_found` tells ties apart.

    Raises:
        InputError: no such file, a line of other than six fields, a score that is no number, an item that a query has
            twice.
    """
    path = Path(path).expanduser()
    try:
        with files.open_regular(path) as file:
            text = file.read().decode("utf-8", "surrogatepass")
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        raise InputError(f"there is no run file {path}") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{path} must be UTF-8, but byte {error.start} is not") from None
    lines = [fields for line in text.split("\n") if (fields := line.split())]
    other = next((i for i, fields in enumerate(lines) if len(fields) != FIELDS), None)
    if other is not None:
        raise InputError(
            f"{path}, result {other}: a line is query Q0 item rank score name, not {' '.join(lines[other])!r}"
        )
    if not lines:
        raise InputError(f"{path} holds no result")
    query, _, item, rank, score, _ = zip(*lines, strict=True)
    numbers: dict[str, int] = {}
    places = np.fromiter((numbers.setdefault(one, len(numbers)) for one in query), np.int64, len(query))
    order = np.lexsort((_numbers(path, "rank", rank), -_numbers(path, "score", score), places))
    indptr = np.searchsorted(places[order], np.arange(len(numbers) + 1))
    (twice, times), *_ = collections.Counter(zip(query, item, strict=True)).most_common(1)
    if times > 1:
        raise InputError(f"{path}: query {twice[0]!r} has item {twice[1]!r} {times} times")
    return Run(str(path), indptr, TextIds.of(list(numbers)), TextIds.of([item[i] for i in order.tolist()]), None, None)


def _lines(ids: np.ndarray, queries: Any, scores: np.ndarray, rows: np.ndarray, name: str) -> Iterator[str]:
    for query, some, given, there in zip(queries, ids, scores.tolist(), rows >= 0, strict=True):
        asked = _word("query", query)
        for rank in range(int(there.sum())):
            yield f"{asked} Q0 {_word('item', some[rank])} {rank + 1} {given[rank]!r} {name}\n"


def _word(what: str, given: Any) -> str:
    word = str(given)
    if not word or word.split() != [word]:
        raise InputError(f"the {what} {word[:40]!r} has no place in a TREC run: white space ends a field; write .npz")
    return word


def _numbers(path: Path, what: str, texts: tuple[str, ...]) -> np.ndarray:
    try:
        found = np.array(texts, dtype=np.float64)
    except ValueError as error:
        raise InputError(f"{path}: {what} must be a number ({error})") from None
    if np.isnan(found).any():
        raise InputError(f"{path}: {what} must be a number, not NaN")
    return found
