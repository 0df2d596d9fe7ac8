"""What a search found: scores, row numbers and ids; several of them merged; .npz or .parquet written and read."""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse
from jaxtyping import Float, Int, Shaped

from compressae_jax.base import files
from compressae_jax.codes.ids import Ids, as_ids
from compressae_jax.data.npy import NO_HEADER
from compressae_jax.data.npz import DAMAGE
from compressae_jax.data.opened import Watched
from compressae_jax.notation import InputError, check_range
from compressae_jax.retrieval import runs

SUFFIXES = (".npz", ".parquet", ".run")  # .run: as TREC has it, see `runs`
READ = (".npz", ".parquet")
SHOWN, LONGEST = 5, 40  # rows in a line, and letters of an id
NOTHING = -1  # in the place of a row, beside a score of -inf
NOTE = "searched"  # what a file says of what was searched: an array of one text, or a key of a table's metadata


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

    def __repr__(self) -> str:
        queries, top = self.rows.shape
        line = f"<Found: the {top:,} nearest of each of {queries:,} queries{', with ids' * (self._ids is not None)}"
        if not self.rows.size:
            return f"{line}>"
        best = Found(self.scores[:1, :SHOWN], self.rows[:1, :SHOWN], None if self.ids is None else self.ids[:1, :SHOWN])
        names = (best.rows if best.ids is None else best.ids)[0].tolist()
        told = [f"{str(name)[:LONGEST]} {score:.3f}" for name, score in zip(names, best.scores[0], strict=True)]
        return f"{line}\n of the first: {', '.join(told)}{', …' * (top > SHOWN)}>"

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

    def __repr__(self) -> str:
        return f"<Within: {len(self.rows):,} rows of {len(self):,} queries{', with ids' * (self._ids_of is not None)}>"

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
    ids = [part.ids for part in parts if part.ids is not None]
    whole = None
    if len(ids) == len(parts):
        whole = np.take_along_axis(np.concatenate([np.asarray(one, object) for one in ids], axis=1), order, axis=1)
        kinds = {one.dtype for one in ids if one.dtype.kind in "iu"}
        whole = _plain_integers(whole, kinds.pop() if len(kinds) == 1 else None)
    return Found(np.take_along_axis(scores, order, axis=1), np.take_along_axis(rows, order, axis=1), whole)


def check_path(path: str | os.PathLike) -> Path:
    """The path, `~` expanded, whose suffix is one of `SUFFIXES` (.parquet needs pyarrow), seen to be one to write."""
    path = files.check_out(path, SUFFIXES, folder=False)
    if path.suffix == ".parquet":
        _pyarrow()
    return path


def write(
    path: str | os.PathLike, found: Found, query_ids: Any = None, searched: Mapping[str, Any] | None = None
) -> None:
    """Write `scores`, `rows` and, where the index has ids, `ids` (q, top), whole or not at all.

    `query_ids`, if any, name the queries. In parquet these are columns, of lists but for `query_ids`, one row a query,
    and null is the id of no row; in .npz that is an empty text or -1. `searched`, what is JSON, says what was searched.
    A .run is TREC's, for programs that score rankings: it has ids, or numbers in their place, and no more.

    Raises:
        InputError: another suffix, a path that cannot be written, `query_ids` that are not one a query; ids that TREC's
            format has no place for.
    """
    path = check_path(path)
    if path.suffix == ".run":
        ids = None if query_ids is None else as_ids(query_ids, len(found.scores))
        files.write_bytes(path, runs.of_found(found, ids).encode("utf-8", "surrogatepass"))
        return
    columns: dict[str, Any] = {"scores": found.scores, "rows": found.rows}
    if query_ids is not None:
        columns["query_ids"] = np.asarray(as_ids(query_ids, len(found.scores)))
    if found.ids is not None:
        columns["ids"] = found.ids
    note = None if searched is None else json.dumps(searched)
    with files.replacing(path) as aside:
        if path.suffix == ".npz":
            plain = {name: _plain(column) for name, column in columns.items()}
            plain |= {} if note is None else {NOTE: np.array(note)}
            with aside.open("wb") as file:
                np.savez(file, **plain)  # type: ignore[arg-type]
        else:
            pyarrow = _pyarrow()
            from pyarrow import parquet

            table = pyarrow.table({name: column.tolist() for name, column in columns.items()})
            parquet.write_table(table if note is None else table.replace_schema_metadata({NOTE: note}), aside)


class Read(NamedTuple):
    """What a file holds: `found`, the ids of its queries and what it says was searched, each None where it has none."""

    found: Found
    query_ids: Shaped[np.ndarray, " q"] | None
    searched: Any


def read(path: str | os.PathLike) -> Read:
    """What `write` wrote.

    Raises:
        InputError: a file that is missing, damaged, or no result of a search.
    """
    path = Path(os.path.expanduser(os.fspath(path)))
    if path.suffix not in READ or not path.is_file():
        raise InputError(f"{path} must be a file of what was found, {' or '.join(READ)}, that is there")
    with files.open_regular(path) as file:
        watched = Watched(file)
        try:
            columns = _of_npz(watched) if path.suffix == ".npz" else _of_parquet(watched)
        except (*DAMAGE, *NO_HEADER, TypeError, OSError) as error:
            if watched.error is not None:
                raise watched.error from None
            raise InputError(f"{path} is not a whole {path.suffix}: {error}") from error
    try:
        note = json.loads(str(columns.pop(NOTE, "null")))
    except ValueError as error:
        raise InputError(f"{path} is damaged: {NOTE} is not JSON ({error})") from None
    scores, rows, ids, query_ids = (columns.get(name) for name in ("scores", "rows", "ids", "query_ids"))
    if scores is None or rows is None:
        raise InputError(f"{path} is no result of a search: it has {', '.join(columns) or 'nothing'}")
    if not (scores.ndim == 2 and scores.dtype == np.float32 and rows.shape == scores.shape and rows.dtype == np.int64):
        given = f"{scores.dtype} {scores.shape} and {rows.dtype} {rows.shape}"
        raise InputError(f"{path}: scores and rows must be float32 and int64 (q, top), not {given}")
    if np.isnan(scores).any() or (rows < NOTHING).any():
        raise InputError(f"{path} is damaged: a score that is no number, or a row below {NOTHING}")
    if (ids is not None and ids.shape != rows.shape) or (query_ids is not None and query_ids.shape != rows.shape[:1]):
        raise InputError(f"{path} is damaged: its ids are not as many as its rows")
    if ids is not None and (ids.dtype.kind in "UO" or (rows < 0).any()):
        ids = ids.astype(object)
        ids[rows < 0] = None
    return Read(Found(scores, rows, ids), query_ids, note)


def _of_npz(file: Watched) -> dict[str, Any]:
    with np.load(file, allow_pickle=False) as arrays:
        if not isinstance(arrays, np.lib.npyio.NpzFile):
            raise ValueError("one array, not several")
        return {name: arrays[name] for name in arrays}


def _of_parquet(file: Watched) -> dict[str, Any]:
    pyarrow = _pyarrow()
    from pyarrow import parquet

    try:
        table = parquet.read_table(file)
    except pyarrow.ArrowException as error:
        raise ValueError(error) from None
    kinds = {"scores": np.float32, "rows": np.int64, "ids": object}
    columns = {name: _matrix(table[name].to_pylist(), kinds[name]) for name in kinds if name in table.column_names}
    if "ids" in columns:
        columns["ids"] = _plain_integers(columns["ids"])
    if "query_ids" in table.column_names:
        columns["query_ids"] = np.array(table["query_ids"].to_pylist())
    return {**columns, NOTE: (table.schema.metadata or {}).get(NOTE.encode(), b"null").decode()}


def _matrix(lists: list[list[Any]], dtype: Any) -> np.ndarray:
    if len({len(some) for some in lists}) > 1:
        raise ValueError("lists of different lengths")
    flat = np.array([each for some in lists for each in some], dtype)
    return flat.reshape(len(lists), len(flat) // max(1, len(lists)))


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


def _plain_integers(ids: np.ndarray, kind: np.dtype | None = None) -> np.ndarray:
    """Objects that are all integers as an array of them, of `kind` or of one that holds them; others as they are."""
    if not all(isinstance(one, (int, np.integer)) for one in ids.flat):
        return ids
    return ids.astype(kind or (np.uint64 if max(ids.flat, default=0) >= 2**63 else np.int64))


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
