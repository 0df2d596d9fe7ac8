"""What a search found: scores, row numbers and ids; several of them merged; written to .npz or .parquet."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse
from jaxtyping import Float, Int, Shaped

from compressae_jax.base import files
from compressae_jax.codes.ids import Ids, as_ids
from compressae_jax.notation import InputError, check_range

SUFFIXES = (".npz", ".parquet")
NOTHING = -1  # in the place of a row, beside a score of -inf


class Found(tuple):
    """The pair `scores, rows` of a search, (q, top) each, best first; `ids` are the rows' names.

    Places without a row (a zero query, a `top` above the rows there are) have score -inf, row -1, id None.
    """

    _ids: Callable[[], Shaped[np.ndarray, "q r"]] | None

    def __new__(
        cls,
        scores: Float[np.ndarray, "q r"],
        rows: Int[np.ndarray, "q r"],
        ids: Shaped[np.ndarray, "q r"] | Callable[[], Shaped[np.ndarray, "q r"]] | None = None,
    ) -> Found:
        """`ids`: an array like `rows`, or what looks them up when they are asked for."""
        found = super().__new__(cls, (scores, rows))
        found._ids = ids if ids is None or callable(ids) else lambda: ids
        return found

    @property
    def scores(self) -> Float[np.ndarray, "q r"]:
        """Cosines, falling."""
        return self[0]

    @property
    def rows(self) -> Int[np.ndarray, "q r"]:
        """Row numbers."""
        return self[1]

    @functools.cached_property
    def ids(self) -> Shaped[np.ndarray, "q r"] | None:
        """The ids of the rows, None where the index has none: integers, or objects where there are texts or None."""
        return None if self._ids is None else self._ids()

    def __reduce__(self) -> tuple[Any, ...]:
        return Found, (self.scores, self.rows, self.ids)


class Within:
    """All rows at or above a score: those of query i at `indptr[i]:indptr[i + 1]`, best first, as CSR has them.

    It unpacks to `indptr (q + 1,), scores (m,), rows (m,)`; `ids` are the rows' names, None where the index has none.
    """

    def __init__(
        self,
        indptr: Int[np.ndarray, " q_and_1"],
        scores: Float[np.ndarray, " m"],
        rows: Int[np.ndarray, " m"],
        ids_of: Callable[[Int[np.ndarray, " m"]], Ids] | None = None,
    ) -> None:
        self.indptr, self.scores, self.rows, self._ids_of = indptr, scores, rows, ids_of

    def __len__(self) -> int:
        return len(self.indptr) - 1

    def __iter__(self) -> Iterator[np.ndarray]:
        return iter((self.indptr, self.scores, self.rows))

    @functools.cached_property
    def ids(self) -> Ids | None:
        """The ids of the rows, looked up when they are asked for."""
        return None if self._ids_of is None else self._ids_of(self.rows)

    def to_csr(self, n: int) -> scipy.sparse.csr_array:
        """A matrix (q, n) of the scores; n is at least the highest row number and 1."""
        return scipy.sparse.csr_array((self.scores, self.rows, self.indptr), shape=(len(self), n))


def named(
    ids_of: Callable[[Int[np.ndarray, " m"]], Ids] | None, rows: Int[np.ndarray, "q r"]
) -> Callable[[], Shaped[np.ndarray, "q r"]] | None:
    """What looks up the ids of row numbers when they are asked for; `ids_of` gives those of rows that are there."""
    return None if ids_of is None else functools.partial(_looked_up, ids_of, rows)


def stacked(parts: Sequence[Found]) -> Found:
    """The results of several portions of queries as one."""
    scores, rows = (np.concatenate([part[place] for part in parts]) for place in (0, 1))
    ids = [part.ids for part in parts if part.ids is not None]
    if len(ids) < len(parts):
        return Found(scores, rows)
    kinds = {one.dtype for one in ids}
    return Found(scores, rows, np.concatenate(ids if len(kinds) == 1 else [one.astype(object) for one in ids]))


def merge(parts: Sequence[Found], first_rows: Sequence[int], top: int) -> Found:
    """The best of what was found in several shards, whose rows begin at `first_rows` of the whole.

    The same as one search of all rows; ties go to the lower row number. Ids are kept if all parts have them.

    Raises:
        InputError: no parts, or parts of different numbers of queries.
    """
    if not parts or len(parts) != len(first_rows) or len({len(part[0]) for part in parts}) != 1:
        sizes = [len(part[0]) for part in parts]
        raise InputError(f"parts must have one number of queries and a first row each, not {sizes} and {first_rows}")
    check_range("top", top, 1, 2**31 - 1)
    scores = np.concatenate([scores for scores, _ in parts], axis=1)
    moved = [np.where(rows < 0, NOTHING, rows + first) for (_, rows), first in zip(parts, first_rows, strict=True)]
    rows = np.concatenate(moved, axis=1)
    order = np.lexsort((np.where(rows < 0, np.iinfo(np.int64).max, rows), -scores), axis=1)[:, :top]
    ids = [part.ids for part in parts]
    whole = None
    if all(one is not None for one in ids):
        whole = np.take_along_axis(np.concatenate([np.asarray(one, object) for one in ids], axis=1), order, axis=1)
        whole = whole.astype(np.int64) if _integers(whole) else whole
    return Found(np.take_along_axis(scores, order, axis=1), np.take_along_axis(rows, order, axis=1), whole)


def check_path(path: str | os.PathLike) -> Path:
    """The path, `~` expanded, when its name ends in .npz or .parquet (which needs pyarrow) and it can be written."""
    path = files.check_out(path, SUFFIXES, folder=False)
    if path.suffix == ".parquet":
        _pyarrow()
    return path


def write(path: str | os.PathLike, found: Found, query_ids: Any = None) -> None:
    """Write `scores`, `rows` and, where the index has ids, `ids` (q, top), whole or not at all.

    `query_ids`, if any, name the queries. In parquet these are columns, of lists but for `query_ids`, one row a query,
    and null is the id of no row; in .npz that is an empty text or -1.

    Raises:
        InputError: another suffix, a path that cannot be written, `query_ids` that are not one a query.
    """
    path = check_path(path)
    columns: dict[str, Any] = {"scores": found.scores, "rows": found.rows}
    if query_ids is not None:
        columns["query_ids"] = np.asarray(as_ids(query_ids, len(found.scores)))
    if found.ids is not None:
        columns["ids"] = found.ids
    with files.replacing(path) as aside:
        if path.suffix == ".npz":
            with aside.open("wb") as file:
                np.savez(file, **{name: _plain(column) for name, column in columns.items()})  # type: ignore[arg-type]
        else:
            pyarrow = _pyarrow()
            from pyarrow import parquet

            parquet.write_table(pyarrow.table({name: column.tolist() for name, column in columns.items()}), aside)


def _looked_up(
    ids_of: Callable[[Int[np.ndarray, " m"]], Ids], rows: Int[np.ndarray, "q r"]
) -> Shaped[np.ndarray, "q r"]:
    there = rows >= 0
    ids = ids_of(rows[there])
    if there.all() and isinstance(ids, np.ndarray):
        return ids.reshape(rows.shape)
    some = np.full(rows.shape, None, object)
    some[there] = np.asarray(ids, object)
    return some


def _integers(ids: np.ndarray) -> bool:
    return all(isinstance(one, (int, np.integer)) for one in ids.flat)


def _plain(column: np.ndarray) -> np.ndarray:
    """Without objects, which only pickles could hold."""
    if column.dtype != object:
        return column
    known = [one for one in column.flat if one is not None]
    missing: Any = NOTHING if known and not isinstance(known[0], str) else ""
    return np.array([missing if one is None else one for one in column.flat]).reshape(column.shape)


def _pyarrow():
    try:
        import pyarrow
    except ImportError as error:
        raise InputError(".parquet needs pyarrow: pip install pyarrow") from error
    return pyarrow
