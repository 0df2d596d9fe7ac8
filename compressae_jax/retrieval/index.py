"""An exact search index: rows in one space and the model that made them; `queries` expands, `backends` score."""

from __future__ import annotations

import dataclasses
import os
import threading
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse
from jaxtyping import Float, Int

from compressae_jax.base import progress as bars
from compressae_jax.base.arrays import pieces
from compressae_jax.base.bootstrap import Interval
from compressae_jax.codes import folder as codes_folder
from compressae_jax.codes import on_host, spaces
from compressae_jax.codes.ids import Ids, as_ids
from compressae_jax.codes.lookup import check_unique
from compressae_jax.codes.rows import MadeBy, Rows, check_made_by
from compressae_jax.codes.storage import kinds
from compressae_jax.codes.storage.convert import stored
from compressae_jax.compression import drift
from compressae_jax.compression.drift import Drift
from compressae_jax.data.sources import Source
from compressae_jax.model import weights as model_weights
from compressae_jax.model.weights import Weights, kind_of
from compressae_jax.notation import AnyArray, Expanded, FolderError, InputError, check_choice, check_range
from compressae_jax.retrieval import cells as cells_of
from compressae_jax.retrieval import found, index_folder, probing, rescoring
from compressae_jax.retrieval.additions import rows_like
from compressae_jax.retrieval.backends import host, lists, within
from compressae_jax.retrieval.found import Found, Within
from compressae_jax.retrieval.queries import Expander
from compressae_jax.retrieval.scoring import LISTS, Scorer
from compressae_jax.retrieval.segments import PIECE, Segment, Segments

BACKENDS = ("host", "scan", "bcoo")
SPACE = "dense_query"  # unless another is asked for: dense queries are compared as they are, codes as reconstructions
QUERIES = 1024  # searched at a time: bounds the expanded queries
MOST = 2**16  # results a query, at most, unless there are more rows


class Index:
    """Rows that one model made, searched exactly in one of the three spaces of `codes.spaces`; more may come and go.

    Norms that the rows need and lack are computed. `ids`, one a row and each only once, default to those that the rows
    bring; results are row numbers, and ids. `encoder` is asked of rows only that do not say what made them; queries
    that are compared as codes go through it, too. `verify=False` leaves the look at all rows to those who read them, a
    piece at a time. Any number of threads may search while one changes the rows.

    Raises:
        InputError: rows of another model or encoder, of another width, damaged ones, ids that are not one a row,
            or an id of two rows.
    """

    def __init__(
        self,
        rows: Rows,
        weights: Weights,
        space: str = SPACE,
        ids: Any = None,
        encoder: str | None = None,
        verify: bool = True,
    ) -> None:
        check_choice("space", space, spaces.SPACES)
        if rows.h != weights.h:
            raise InputError(f"codes have width h={rows.h}, the model {weights.h} (fingerprint {weights.fingerprint})")
        check_made_by(rows, weights.fingerprint)
        made = rows.made_by.encoder if rows.made_by else None
        if made and encoder and made != encoder:
            raise InputError(f"rows were made by encoder {made!r}, not by {encoder!r}, so queries go through {made!r}")
        rows = rows.check() if verify else rows
        rows = rows if ids is None else rows.with_ids(as_ids(ids, len(rows)))
        if rows.ids is not None and (verify or ids is not None):
            check_unique(rows.ids)
        made = made or encoder or weights.encoder
        rows = rows.with_norms(weights.params["decoder_w"]).with_origin(MadeBy(weights.fingerprint, made))
        self._of(Segments((Segment(rows),)), weights, space, made)

    def _of(self, segments: Segments, weights: Weights, space: str, encoder: str) -> None:
        self._segments = segments  # replaced as a whole, so that threads that search see one state of it
        self._writing = threading.RLock()  # of one change at a time
        self.weights, self.space, self.encoder = weights, space, encoder
        self.expander = Expander(
            weights, space, encoder, segments.rows.storage, segments.rows.k, segments.rows.similarity
        )
        self._listed = False

    def __len__(self) -> int:
        return self._segments.alive

    def __repr__(self) -> str:
        codes = f"k={self.codes.k} of h={self.codes.h:,}, {self.codes.storage} by {self.encoder}"
        more = ", inner products" * (self.similarity == "dot") + ", with ids" * (self._segments.rows.ids is not None)
        return f"<Index of {len(self):,} rows, {self.bytes_per_vector:g} bytes each: {codes}, {self.space}{more}>"

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_writing"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _writing=threading.RLock())

    @property
    def codes(self) -> Rows:
        """All rows under their numbers, removed ones too."""
        return self._segments.rows

    @property
    def similarity(self) -> str:
        """What scores are: 'cosine', or 'dot', inner products, where the rows have the lengths of their vectors."""
        return self._segments.parts[0].rows.similarity

    @property
    def ids(self) -> Ids | None:
        """The ids of the rows that are there, in the order of their numbers; None where rows go by their numbers."""
        segments = self._segments
        if not segments.named:
            return None
        return segments.rows.ids if segments.allowed is None else segments.rows.ids[segments.allowed]  # type: ignore[index]

    @property
    def removed(self) -> Int[np.ndarray, " m"]:
        """The numbers of the rows that were removed since the index was made or compacted."""
        allowed = self._segments.allowed
        return np.empty(0, np.int64) if allowed is None else np.flatnonzero(~allowed)

    @property
    def lists(self) -> lists.Lists | None:
        """The inverted lists of an index `with_lists`, made anew at the first search after an addition."""
        return self._scorer(self._segments).lists

    @property
    def nbytes(self) -> int:
        """Bytes in memory that search needs for the rows: values, columns and a scale, or packed records alone.

        The scale is one of the two norms that rows keep, so that they can be searched in all spaces. Removed rows count
        until `compact`. Lists and cells (10 a row, and the centroids), which only some indexes hold, come on top.
        """
        segments = self._segments
        scales = 0 if segments.parts[0].rows.norms is None else 4 * len(segments)
        of_cells = cells_of.nbytes(segments.cells, [part.grouping for part in segments.parts])
        return segments.rows.nbytes + scales + of_cells + (self.lists.nbytes if self.lists else 0)

    @property
    def bytes_per_vector(self) -> float:
        """Bytes a row that is there, scales, lists, cells and removed rows included."""
        return self.nbytes / max(1, len(self))

    @property
    def name(self) -> str:
        """How tables call it."""
        return f"{kind_of(self.encoder, self.codes.storage)}, {self.space}, k={self.codes.k}"

    def search(
        self,
        queries: Any,
        top: int = 10,
        backend: str = "auto",
        chunk: int | None = None,
        *,
        allow: Any = None,
        exclude: Any = None,
        rescore: Any = None,
        candidates: int | None = None,
        probes: int | None = None,
    ) -> Found:
        """Scores and row numbers of the `top` best rows of each query, best first; ties go to the lower row number.

        Scores are cosines, or, of an index of similarity 'dot', inner products: cosines times both lengths.

        Queries are vectors (q, d), in whatever holds them, or codes; codes in `dense_query` stand for their
        reconstructions. Where the space compares codes, vectors are encoded as the rows were. A zero query, which has
        no direction, finds nothing, as do places beyond the last row: score -inf, row -1. `backend` 'auto' is 'scan' on
        an accelerator, on a CPU 'lists' where the index holds them (`with_lists`) and the queries are at most 8 and
        sparse, else 'host'. `chunk` is the rows that a backend takes at a time, but for 'lists', whose blocks are
        fixed. On a CPU any number of threads may search, and forked processes, too.

        `allow`: the rows that all queries may get, booleans (n,) by row number or ids. `exclude`: those that single
        queries must not get, one list of ids a query, or a matrix (q, n) as recommenders hold what users have seen.
        Where rows have no ids, they go by their numbers; see `filters`. What is found is the best of what is left.

        `rescore`: the dense vectors that the index was made of (a path, a source, an array); the best `candidates` by
        codes (default: 4 `top`, at least 200) are then ranked by the exact similarity with them. They are looked up by
        id, where rows and vectors have ids, else by number.

        `probes`: of an index `with_cells`, how many of the cells nearest to a query are searched; None is the exact
        search of all rows, and so are as many as there are cells. Cells without an allowed row are passed over; where
        the nearest hold fewer than `top` rows, more are searched; where a filter leaves no more rows than the probes
        would score, all that it leaves are scored. `recall` says what is found.

        Raises:
            InputError: queries of another width, not 2-d, not finite, or another model's codes; `top` or `chunk` below
                1; 'lists' of an index without them; filters of another size, of rows that are not there, or of no ids;
                to rescore with codes as queries, or with vectors that are not those of the rows; `probes` of an index
                without cells, out of range, or with a backend other than 'host'.
        """
        segments = self._check_asked(top, backend, chunk, probes)
        checked = self.expander.checked(queries)
        blocks = (self.expander.of_checked(some) for some in pieces(checked, QUERIES))
        if rescore is None:
            if candidates is not None:
                raise InputError("candidates are rescored; give rescore=…, the dense vectors, too")
            return self._found(segments, blocks, len(checked), top, backend, chunk, allow, exclude, probes)
        if isinstance(checked, Rows):
            raise InputError("rescore compares dense vectors, so queries must be vectors, not codes")
        look_up = rescoring.opened(rescore, segments, self.weights.d)
        most = rescoring.candidates_for(top) if candidates is None else candidates
        check_range("candidates", most, top, max(len(segments), MOST))
        first = self._found(segments, blocks, len(checked), most, backend, chunk, allow, exclude, probes)
        scores, rows = rescoring.rescored(checked, first.rows, look_up, top, self.similarity)
        return Found(scores, rows, found.named(segments.ids_of if segments.named else None, rows))

    def search_expanded(
        self,
        u: AnyArray,
        top: int = 10,
        backend: str = "auto",
        chunk: int | None = None,
        *,
        allow: Any = None,
        exclude: Any = None,
        probes: int | None = None,
    ) -> Found:
        """`search` for queries that `Expander.expand` has already made u (q, h) of, here or on another machine.

        Raises:
            InputError: another width, numbers that are not finite, and as `search`.
        """
        segments = self._check_asked(top, backend, chunk, probes)
        u = np.asarray(u)
        if u.ndim != 2 or u.shape[1] != self.weights.h or u.dtype.kind != "f":
            raise InputError(f"u must be floats of shape (q, {self.weights.h}), not {u.dtype} of shape {u.shape}")
        u = u.astype(np.float32, copy=False)
        if not np.isfinite(u).all():
            raise InputError(
                f"u holds a value that is not finite, first in row {int((~np.isfinite(u)).any(1).argmax())}"
            )
        return self._found(segments, pieces(u, QUERIES), len(u), top, backend, chunk, allow, exclude, probes)

    def within(self, queries: Any, at_least: float | int, *, allow: Any = None) -> Within:
        """All rows at or above a score, for each query, best first: CSR, so that queries may find different numbers.

        Queries and `allow` as in `search`; the scores are those that `search` gives, on the CPU wherever the rows are.
        A zero query finds nothing. Memory is that of the results.

        Raises:
            InputError: `at_least` that is no finite number, and as `search`.
        """
        segments = self._segments
        if isinstance(at_least, bool) or not np.isfinite(at_least):
            raise InputError(f"at_least must be a finite number, a {self.similarity} score, not {at_least!r}")
        checked = self.expander.checked(queries)
        scorer = self._scorer(segments)
        allowed = scorer.allowed(allow)
        parts = []
        for some in pieces(checked, QUERIES):
            u = self.expander.of_checked(some)
            parts.append(within.search(segments.rows, self.space, u, float(at_least), allowed))
        sizes = np.concatenate([np.zeros(1, np.int64), *(np.diff(part.indptr) for part in parts)])
        scores = np.concatenate([np.empty(0, np.float32), *(part.scores for part in parts)])
        rows = np.concatenate([np.empty(0, np.int64), *(part.rows for part in parts)])
        return Within(np.cumsum(sizes), scorer.clipped(scores), rows, segments.ids_of if segments.named else None)

    def add(
        self,
        vectors: Any,
        ids: Any = None,
        zero_rows: str = "stop",
        progress: bool = False,
    ) -> range:
        """Put vectors (n, d), whatever holds them, or rows of this model behind the others; gives their row numbers.

        They are encoded as the rows were. `ids`, one a row, default to those that the source or the rows bring; an
        index has them for all rows or for none. What searches meanwhile sees all of the new rows or none. Nothing is
        written to a folder until `save`. An addition costs its rows; small ones are merged as they come.

        Raises:
            InputError: vectors that `Model.compress` would refuse, rows of another model, encoder or storage, ids that
                are missing, are not wanted, come twice, or are in the index already.
        """
        with self._writing:
            segments = self._segments
            rows = rows_like(segments.rows, self.weights, self.encoder, vectors, ids, zero_rows, progress)
            there = segments.cells
            grouping = None if there is None else cells_of.grouped(rows, there, self.weights)
            self._segments = segments.added(rows, grouping)
            return range(len(segments), len(segments) + len(rows))

    def remove(self, ids: Any) -> None:
        """Take rows out by their ids, or by their numbers where they have no ids; the other rows keep their numbers.

        Raises:
            InputError: an id that is not in the index; nothing is removed then.
        """
        with self._writing:
            self._segments = self._segments.removed(self._segments.numbers(ids))

    def compact(self) -> None:
        """Give back what removed rows take, and make one segment of all: rows are numbered anew, in their order.

        In memory; `save` then writes the whole.
        """
        with self._writing:
            self._segments = self._segments.compacted()

    def rows(self, ids: Any) -> Rows:
        """The rows of these ids, or numbers where rows have no ids, in this order; or of a slice of row numbers.

        Raises:
            InputError: an id that is not in the index.
        """
        segments = self._segments
        return segments.rows[segments.numbers(ids)]

    def pieces(self, size: int = PIECE) -> Iterator[tuple[Int[np.ndarray, " m"], Rows]]:
        """The rows that are there, some at a time, with their numbers, of one state of the index.

        What is added or removed meanwhile makes no difference.
        """
        return self._segments.numbered_pieces(size)

    def where(self, ids: Any) -> Int[np.ndarray, " m"]:
        """The row numbers of these ids, -1 of one that no row bears which is there; numbers where rows have no ids.

        Raises:
            InputError: texts where ids are integers, or the reverse; without ids, numbers out of range.
        """
        which, rows = self._segments.find(ids)
        found = np.full(len(ids), -1)
        found[which] = rows
        return found

    def reconstruct(self, ids: Any) -> Float[np.ndarray, "n d"]:
        """z = s W_d of the rows of these ids (or numbers, or a slice of them): their vectors, but for what coding lost.

        Of an index of similarity 'dot' they have the lengths of the vectors.

        Raises:
            InputError: an id that is not in the index.
        """
        return on_host.reconstructed(self.rows(ids).check().codes(), self.weights.params["decoder_w"])

    def with_lists(self) -> Index:
        """The same rows with inverted lists beside them (see `lists`): faster for few queries in the space 'sparse'.

        They take as many bytes again as float rows, 4 more a row, and 4 (h + 1) a block of 2^15 rows; `save` leaves
        them out, since they build in .01 s for 117,000 rows.

        Raises:
            InputError: another space, where a query touches every row.
        """
        if self.space != "sparse":
            raise InputError(f"lists serve the space 'sparse', where queries have few nonzeros, not {self.space!r}")
        index = self._copy()
        index._listed = True
        _ = index.lists
        return index

    def with_cells(self, cells: int | None = None, seed: int = 0, progress: bool = True) -> Index:
        """The same rows with cells beside them (see `cells`), so that `search(…, probes=)` need not score all rows.

        About 8 √n `cells` by default. They take 10 bytes a row and some 200 a cell, are saved with the index,
        and are learned once: what is added goes into the cells that are there. All spaces share them. What is added to
        one of the two later, or removed, the other does not have.

        Raises:
            InputError: an index of no rows, or fewer rows than cells.
        """
        segments = self._segments
        alive = np.arange(len(segments)) if segments.allowed is None else np.flatnonzero(segments.allowed)
        learned, numbers = cells_of.learn(segments.rows, alive, self.weights, cells, seed, progress)
        index = self._copy()
        index._segments = segments.with_cells(learned, numbers)
        return index

    @property
    def cells(self) -> int:
        """How many cells an index `with_cells` has; 0 of others."""
        return 0 if self._segments.cells is None else len(self._segments.cells)

    def recall(
        self, queries: Any, top: int = 100, probes: int | Sequence[int] | None = None, *, allow: Any = None
    ) -> Interval | dict[int, Interval]:
        """The share of the exact answer's rows that so many `probes` find: the mean over queries, with an interval.

        Several probes give a curve, by number; None a curve of powers of two. Queries without an answer are left out.

        Raises:
            InputError: as `search`; no query that finds anything.
        """
        return probing.recall(self, queries, top, probes, allow)

    def probes_for(self, queries: Any, recall: float = 0.95, top: int = 100, *, allow: Any = None) -> int:
        """The fewest probes with which these queries find so much of the exact answer in the mean.

        Raises:
            InputError: a recall that is not above 0 and at most 1, and as `recall`.
        """
        return probing.probes_for(self, queries, recall, top, allow)

    def in_space(self, space: str) -> Index:
        """The same rows, searched in another space, without lists; nothing is copied.

        What is added to one of the two later, or removed, the other does not have.
        """
        index = self._copy()
        index.space, index.expander = space, dataclasses.replace(self.expander, space=space)
        return index

    def prefix(self, k: int) -> Index:
        """The index of a smaller budget, the k largest nonzeros of every row, without lists; norms are computed anew.

        Removed rows are left out, so rows are numbered anew if there are any.

        Raises:
            InputError: k out of range, or packed rows.
        """
        segments = self._segments
        rows = segments.rows if segments.allowed is None else segments.rows[segments.allowed]
        return Index(rows.prefix(k), self.weights, self.space, None, self.encoder, verify=False)

    def stored_as(self, storage: str) -> Index:
        """The same rows in another storage, without lists: nothing is compressed again, and rows keep their numbers.

        Values stay what they are: 'packed4' and 'fast4' have the same levels, and search finds the same; 'float16' and
        'float32' become one another, rounded. It lies in memory, and what is added to one of the two later, or removed,
        the other does not have.

        Raises:
            InputError: a storage that does not hold these values or columns.
        """
        check_choice("storage", storage, kinds.STORAGES)
        kinds.check(storage, self.codes.h)
        have = self.codes.storage
        if not kinds.shares_values(storage, have):
            others = [name for name in kinds.STORAGES if kinds.shares_values(name, have)]
            raise InputError(
                f"values of {self.codes.storage} fit {' or '.join(others)}, not {storage!r}: compress the vectors again"
            )

        def otherwise(rows: Rows) -> Rows:
            if rows.norms is not None and rows.storage != storage:  # they are those of values as stored
                rows = dataclasses.replace(rows.codes(), norms=None)
            return stored(rows, storage, rows.levels).with_norms(self.weights.params["decoder_w"])

        parts = [dataclasses.replace(part, rows=otherwise(part.rows), number=None) for part in self._segments.parts]
        index = Index.__new__(Index)
        index._of(Segments(tuple(parts)), self.weights, self.space, self.encoder)
        return index

    def drift(self, vectors: Any, reference: Any = None, tolerance: float = drift.TOLERANCE, seed: int = 0) -> Drift:
        """Whether new vectors are reconstructed as well as those that the model was trained for: see `Model.drift`.

        With the encoder, k and storage of these rows; where the model notes them with others, `reference` is needed.
        """
        return drift.of_rows(self.codes, self.weights, self.encoder, vectors, reference, tolerance, seed)

    def save(self, folder: str | os.PathLike) -> None:
        """Write an index folder, complete or not at all.

        Where it was opened from that folder, or saved there before, only what is new is written: a segment of the rows
        that were added, a bitmap of those removed. Beyond 32 segments the smaller ones are merged. Elsewhere all is
        written, and an older index is replaced.

        Raises:
            FolderError: something else stands at that name.
            BusyError: another process writes it, or changed it since it was opened.
        """
        with self._writing:
            opened = index_folder.Opened(self._segments, self.weights, self.space, self.encoder)
            self._segments = index_folder.save(folder, opened)

    @classmethod
    def load(cls, folder: str | os.PathLike, verify: bool = True) -> Index:
        """Open an index folder by memory map; `verify=False` skips the checksums of its codes.

        Raises:
            FolderError: a folder that is missing, damaged, of parts that do not belong together, or newer than this
                program.
        """
        segments, weights, space, encoder, _ = index_folder.read(folder, verify)
        index = cls.__new__(cls)
        norms = [
            dataclasses.replace(part, rows=part.rows.with_norms(weights.params["decoder_w"])) for part in segments.parts
        ]
        index._of(dataclasses.replace(segments, parts=tuple(norms)), weights, space, encoder)
        return index

    def _copy(self) -> Index:
        index = Index.__new__(Index)
        index._of(self._segments, self.weights, self.space, self.encoder)
        index.expander = self.expander
        return index

    def _scorer(self, segments: Segments) -> Scorer:
        return Scorer(segments, self.weights, self.space, self._listed)

    def _found(
        self,
        segments: Segments,
        blocks: Iterable[Expanded],
        q: int,
        top: int,
        backend: str,
        chunk: int | None,
        allow: Any,
        exclude: Any,
        probes: int | None,
    ) -> Found:
        return self._scorer(segments).found(blocks, q, top, backend, chunk, allow, exclude, probes)

    def _check_asked(self, top: int, backend: str, chunk: int | None, probes: int | None) -> Segments:
        """What is to be searched, once it is seen that it can be."""
        segments = self._segments
        check_choice("backend", backend, ("auto", *BACKENDS, LISTS))
        check_range("top", top, 1, max(len(segments), MOST))
        host.checked_chunk(chunk)
        if backend == LISTS and not self._listed:
            raise InputError(
                "backend is 'lists', which this index does not hold; index.with_lists() makes one that does"
            )
        if probes is not None:
            if segments.cells is None:
                raise InputError(
                    "probes need cells, which this index does not hold; index.with_cells() makes one that does"
                )
            check_range("probes", probes, 1, len(segments.cells))
            if backend not in ("auto", "host"):
                raise InputError(f"probes are searched by backend 'host', on the CPU, not by {backend!r}")
        return segments


def open_index(codes: str | os.PathLike, weights: Weights, space: str = SPACE, verify: bool = True) -> Index:
    """An index over a codes folder, by memory map, with the model that made it.

    Raises:
        FolderError: codes of another model, or a folder that is missing, damaged, or newer than this program.
    """
    check_choice("space", space, spaces.SPACES)
    return of_codes(codes, codes_folder.read(codes, verify), weights, space, verify)


def of_codes(
    codes: str | os.PathLike, read: codes_folder.Read, weights: Weights, space: str = SPACE, verify: bool = True
) -> Index:
    """`open_index` of a codes folder that was read; raises as that does."""
    check_choice("space", space, spaces.SPACES)
    rows = read.rows
    if rows.made_by is None or rows.made_by.fingerprint != weights.fingerprint:
        made = rows.made_by.fingerprint if rows.made_by else None
        raise FolderError(
            f"{codes} holds codes of the model {made}, not of the given one, {weights.fingerprint}; "
            "open it with that model or compress again"
        )
    try:
        return Index(rows, weights, space, verify=verify)
    except InputError as error:
        raise FolderError(f"{codes}: {error}; compress again") from None


def open_folder(
    folder: str | os.PathLike, model: str | os.PathLike | None = None, space: str | None = None, verify: bool = True
) -> Index:
    """An index folder, or a codes folder with its model folder, opened by memory map.

    `space` defaults to the index's own, for a codes folder to 'dense_query'.

    Raises:
        InputError: a codes folder without `model`.
        FolderError: codes of another model, or a folder that is missing, damaged, or newer than this program.
    """
    folder = Path(os.path.expanduser(os.fspath(folder)))
    if index_folder.is_one(folder):
        index = Index.load(folder, verify)
        return index if space is None else index.in_space(space)
    if model is None:
        why = f"it has no {index_folder.META}" if folder.is_dir() else "nothing is there"
        raise InputError(f"index {folder} is no index folder ({why}); for a codes folder give its model, too")
    return open_index(folder, model_weights.load(model), space or SPACE, verify)


def search_source(
    index: Index,
    queries: Source,
    top: int,
    backend: str = "auto",
    batch: int = QUERIES,
    progress: bool = True,
    *,
    allow: Any = None,
    exclude: scipy.sparse.csr_matrix | None = None,
    probes: int | None = None,
) -> Found:
    """`Index.search` for queries that are read `batch` at a time; a zero query finds nothing."""
    check_range("batch", batch, 1, 2**31 - 1)
    if exclude is not None and exclude.shape[0] != len(queries):
        raise InputError(f"exclude has {exclude.shape[0]:,} rows, one a query, and there are {len(queries):,} queries")
    if allow is not None:
        allow = index._scorer(index._segments).allowed(allow)  # once, not for each batch
    parts = []
    with bars.bar(len(queries), "search", "queries", shown=progress) as bar:
        for start, some in queries.batches(batch):
            taken = None if exclude is None else exclude[start : start + len(some)]
            parts.append(index.search(some, top, backend, allow=allow, exclude=taken, probes=probes))
            bar.update(len(some))
    parts = parts or [index.search(np.empty((0, queries.width), np.float32), top, backend, probes=probes)]
    return found.stacked(parts)
