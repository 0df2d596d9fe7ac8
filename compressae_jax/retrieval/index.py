"""An exact search index: rows in one space and the model that made them; `queries` expands, `backends` score."""

from __future__ import annotations

import copy
import dataclasses
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from compressae_jax.base import devices, files, sealed
from compressae_jax.base import progress as bars
from compressae_jax.base.arrays import pieces
from compressae_jax.codes import folder as codes_folder
from compressae_jax.codes import spaces
from compressae_jax.codes.ids import Ids, as_ids
from compressae_jax.codes.rows import Rows, check_made_by
from compressae_jax.data.sources import Source
from compressae_jax.model import weights as model_weights
from compressae_jax.model.weights import Weights
from compressae_jax.notation import AnyArray, Expanded, FolderError, InputError, check_choice, check_range
from compressae_jax.retrieval import filters, found
from compressae_jax.retrieval.backends import bcoo, host, lists, scan
from compressae_jax.retrieval.found import Found
from compressae_jax.retrieval.queries import Expander, without_direction

BACKENDS = {"host": host.search, "scan": scan.search, "bcoo": bcoo.search}
LISTS = "lists"  # a backend, too, of an index `with_lists`
SPACE = "dense_query"  # unless another is asked for: dense queries are compared as they are, codes as reconstructions
FORMAT_VERSION = 1
CODES, MODEL, META = "codes", "model", "index.json"
QUERIES = 1024  # searched at a time: bounds the expanded queries
MOST = 2**16  # results a query, at most, unless there are more rows


class Index:
    """Rows that one model made, searched exactly in one of the three spaces of `codes.spaces`.

    Norms that the rows need and lack are computed. `ids`, one a row, default to those that the rows bring; results are
    row numbers. `encoder` is asked of rows only that do not say what made them; queries that are compared as codes go
    through it, too. `verify=False` leaves the look at all rows to those who read them, a piece at a time.

    Raises:
        InputError: rows of another model or encoder, of another width, damaged ones, ids that are not one a row.
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
        self.rows = rows.with_norms(weights.params["decoder_w"])
        self.weights, self.space = weights, space
        self.ids: Ids | None = rows.ids if ids is None else as_ids(ids, len(rows))
        self.encoder = made or encoder or weights.encoder
        self.expander = Expander(weights, space, self.encoder, rows.storage, rows.k)
        self.lists: lists.Lists | None = None
        self._places: list[scan.Placed] = []  # one at most, shared by the spaces of these rows

    def __len__(self) -> int:
        return len(self.rows)

    def __repr__(self) -> str:
        size = f"{self.bytes_per_vector:g} bytes each"
        return f"<Index of {len(self):,} rows in {self.space}, {size}, {self.rows.storage}, by {self.encoder}>"

    @property
    def codes(self) -> Rows:
        """The rows, by the name they had in version 0.1."""
        return self.rows

    @property
    def nbytes(self) -> int:
        """Bytes in memory that search needs for the rows: values, columns and a scale, or packed records alone.

        The scale is one of the two norms that rows keep, so that they can be searched in all spaces. Lists, which only
        some indexes hold, come on top.
        """
        scales = 0 if self.rows.norms is None else 4 * len(self)
        return self.rows.nbytes + scales + (self.lists.nbytes if self.lists else 0)

    @property
    def bytes_per_vector(self) -> float:
        """Bytes a row, scales and lists included."""
        return self.nbytes / len(self)

    @property
    def name(self) -> str:
        """How tables call it."""
        return f"CompresSAE k={self.rows.k}, {self.space}"

    def search(
        self,
        queries: Any,
        top: int = 10,
        backend: str = "auto",
        chunk: int | None = None,
        *,
        allow: Any = None,
        exclude: Any = None,
    ) -> Found:
        """Cosines and row numbers of the `top` best rows of each query, best first; ties go to the lower row number.

        Queries are vectors (q, d), in whatever holds them, or codes; codes in `dense_query` stand for their
        reconstructions. Where the space compares codes, vectors are encoded as the rows were. A zero query, which has
        no direction, finds nothing, as do places beyond the last row: score -inf, row -1. `backend` 'auto' is 'scan' on
        an accelerator, on a CPU 'lists' where the index holds them (`with_lists`) and the queries are at most 8 and
        sparse, else 'host'. `chunk` is the rows that a backend takes at a time, but for 'lists', whose blocks are
        fixed. On a CPU any number of threads may search, and forked processes, too.

        `allow`: the rows that all queries may get, booleans (n,) or ids. `exclude`: those that single queries must not
        get, one list of ids a query, or a matrix (q, n) as recommenders hold what users have seen. Where rows have no
        ids, they go by their numbers; see `filters`. What is found is the best of what is left.

        Raises:
            InputError: queries of another width, not 2-d, not finite, or another model's codes; `top` or `chunk` below
                1; 'lists' of an index without them; filters of another size, of rows that are not there, or of no ids.
        """
        self._check_asked(top, backend, chunk)
        checked = self.expander.checked(queries)
        blocks = (self.expander.of_checked(some) for some in pieces(checked, QUERIES))
        return self._found(blocks, len(checked), top, backend, chunk, allow, exclude)

    def search_expanded(
        self,
        u: AnyArray,
        top: int = 10,
        backend: str = "auto",
        chunk: int | None = None,
        *,
        allow: Any = None,
        exclude: Any = None,
    ) -> Found:
        """`search` for queries that `Expander.expand` has already made u (q, h) of, here or on another machine.

        Raises:
            InputError: another width, numbers that are not finite, and as `search`.
        """
        self._check_asked(top, backend, chunk)
        u = np.asarray(u)
        if u.ndim != 2 or u.shape[1] != self.rows.h or u.dtype.kind != "f":
            raise InputError(f"u must be floats of shape (q, {self.rows.h}), not {u.dtype} of shape {u.shape}")
        u = u.astype(np.float32, copy=False)
        if not np.isfinite(u).all():
            raise InputError(
                f"u holds a value that is not finite, first in row {int((~np.isfinite(u)).any(1).argmax())}"
            )
        return self._found(pieces(u, QUERIES), len(u), top, backend, chunk, allow, exclude)

    def with_lists(self) -> Index:
        """The same rows with inverted lists beside them (see `lists`): faster for few queries in the space 'sparse'.

        They take as many bytes again as float rows, 4 more a row, and 4 (h + 1) a block of 2^15 rows; `save` leaves
        them out, since they build in .01 s for 117,000 rows.

        Raises:
            InputError: another space, where a query touches every row.
        """
        if self.space != "sparse":
            raise InputError(f"lists serve the space 'sparse', where queries have few nonzeros, not {self.space!r}")
        index = copy.copy(self)
        index.lists = lists.build(self.rows)
        return index

    def in_space(self, space: str) -> Index:
        """The same rows, searched in another space, without lists; nothing is copied."""
        index = copy.copy(self)
        index.space, index.lists = space, None
        index.expander = dataclasses.replace(self.expander, space=space)
        return index

    def prefix(self, k: int) -> Index:
        """The index of a smaller budget, the k largest nonzeros of every row, without lists; norms are computed anew.

        Raises:
            InputError: k out of range, or packed rows.
        """
        return Index(self.rows.prefix(k), self.weights, self.space, self.ids, self.encoder, verify=False)

    def save(self, folder: str | os.PathLike) -> None:
        """Write an index folder (`codes/`, `model/`, `index.json`), complete or not at all; an older one is replaced.

        Raises:
            FolderError: something else stands at that name.
        """
        header = {"fingerprint": self.weights.fingerprint, "encoder": self.encoder}
        with files.replacing(folder, (CODES, MODEL, META), META) as aside:
            codes_folder.write(aside / CODES, self.rows, ids=self.ids, d=self.weights.d, header=header)
            model_weights.save(self.weights, aside / MODEL)
            sealed.write(aside / META, {"format_version": FORMAT_VERSION, "space": self.space, **header})

    @classmethod
    def load(cls, folder: str | os.PathLike, verify: bool = True) -> Index:
        """Open an index folder by memory map; `verify=False` skips the checksums of its codes.

        Raises:
            FolderError: a folder that is missing, damaged, of parts that do not belong together, or newer than this
                program.
        """
        folder = Path(os.path.expanduser(os.fspath(folder)))
        return files.steadily(folder, lambda: _loaded(folder, verify))

    def _check_asked(self, top: int, backend: str, chunk: int | None) -> None:
        check_choice("backend", backend, ("auto", *BACKENDS, LISTS))
        check_range("top", top, 1, max(len(self), MOST))
        host.checked_chunk(chunk)
        if backend == LISTS and self.lists is None:
            raise InputError(
                "backend is 'lists', which this index does not hold; index.with_lists() makes one that does"
            )

    def _fastest(self, u: Expanded, q: int) -> str:
        """The backend for u, some of q queries."""
        if not devices.on_cpu():
            return "scan"
        if self.lists is not None and q <= lists.QUERIES and lists.touched(self.lists, u) <= lists.TOUCHED:
            return LISTS
        return "host"

    def _scored(
        self, u: Expanded, top: int, backend: str, chunk: int | None, **filters: Any
    ) -> tuple[np.ndarray, np.ndarray]:
        """Scores and rows of some queries; `top` is no more than there are rows."""
        if backend == LISTS:
            assert self.lists is not None
            scores, rows = lists.search(self.lists, self.space, u, top, chunk=chunk, **filters)
        elif backend == "scan" and (placed := self._placed()) is not None:
            scores, rows = scan.search(placed, self.space, u, top, chunk=chunk, **filters)
        else:
            scores, rows = BACKENDS[backend](self.rows, self.space, u, top, chunk=chunk, **filters)
        if self.rows.norms is not None or self.space == "sparse":
            scores = np.where(rows < 0, scores, np.clip(scores, -1, 1))  # cosines, but for the last bit
        return scores, rows  # packed rows may have any length in the other spaces

    def _found(
        self,
        blocks: Iterable[Expanded],
        q: int,
        top: int,
        backend: str,
        chunk: int | None,
        allow: Any,
        exclude: Any,
    ) -> Found:
        """The results of q queries, expanded block by block, with places beyond the last row."""
        find = None if self.ids is None else self._find
        allowed = filters.allowed(allow, len(self), find)
        without = filters.without(exclude, q, len(self), find)
        scores = np.full((q, top), -np.inf, np.float32)
        rows = np.full((q, top), found.NOTHING, np.int64)
        done = 0
        for u in blocks:
            here = slice(done, done + len(u)), slice(0, len(self))
            chosen = self._fastest(u, q) if backend == "auto" else backend
            some = None if without is None else filters.cut(without, done, done + len(u))
            most = min(top, len(self))
            scores[here], rows[here] = self._scored(u, most, chosen, chunk, allowed=allowed, without=some)
            nothing = done + np.flatnonzero(without_direction(u))
            scores[nothing], rows[nothing] = -np.inf, found.NOTHING
            done += len(u)
        return Found(scores, rows, found.named(self.ids, rows))

    def _find(self, ids: Any, argument: str) -> tuple[np.ndarray, np.ndarray]:
        """Which of these ids are here, by place, and their rows."""
        assert self.ids is not None
        here = {one: row for row, one in enumerate(self.ids)}
        rows = np.array([here.get(one, found.NOTHING) for one in ids], np.int64)
        return np.flatnonzero(rows >= 0), rows[rows >= 0]

    def _placed(self) -> scan.Placed | None:
        """The rows on the accelerators, split over all local ones; None where `scan` takes them piece by piece."""
        if not self._places and scan.fits(self.rows):
            self._places.append(scan.Placed(self.rows))
        return self._places[0] if self._places else None


def open_index(codes: str | os.PathLike, weights: Weights, space: str = SPACE, verify: bool = True) -> Index:
    """An index over a codes folder, by memory map, with the model that made it.

    Raises:
        FolderError: codes of another model, or a folder that is missing, damaged, or newer than this program.
    """
    check_choice("space", space, spaces.SPACES)
    rows = codes_folder.read(codes, verify).rows
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
    if (folder / META).is_file():
        index = Index.load(folder, verify)
        return index if space is None else index.in_space(space)
    if model is None:
        why = f"it has no {META}" if folder.is_dir() else "nothing is there"
        raise InputError(f"index {folder} is no index folder ({why}); for a codes folder give its model, too")
    return open_index(folder, model_weights.load(model), space or SPACE, verify)


def search_source(
    index: Index, queries: Source, top: int, backend: str = "auto", batch: int = QUERIES, progress: bool = True
) -> Found:
    """`Index.search` for queries that are read `batch` at a time; a zero query finds nothing."""
    check_range("batch", batch, 1, 2**31 - 1)
    parts = []
    with bars.bar(len(queries), "search", "queries", shown=progress) as bar:
        for _, some in queries.batches(batch):
            parts.append(index.search(some, top, backend))
            bar.update(len(some))
    parts = parts or [index.search(np.empty((0, queries.width), np.float32), top, backend)]
    scores, rows = (np.concatenate([part[place] for part in parts]) for place in (0, 1))
    return Found(scores, rows, found.named(index.ids, rows))


def _loaded(folder: Path, verify: bool) -> Index:
    remedy = f"make it anew (Index.save writes an index folder such as {folder})"
    fields = sealed.read(folder / META, FORMAT_VERSION, remedy)
    try:
        check_choice("space", fields.get("space"), spaces.SPACES)
    except InputError as error:
        raise FolderError(f"{folder / META} is damaged: {error}; {remedy}") from None
    index = open_index(folder / CODES, model_weights.load(folder / MODEL), fields["space"], verify)
    parts = {"fingerprint": index.weights.fingerprint, "encoder": index.encoder}
    for name, of_parts in parts.items():
        if name in fields and fields[name] != of_parts:  # older folders do not say all
            raise FolderError(f"{folder / META} says {name} {fields[name]!r}, its parts {of_parts!r}; {remedy}")
    return index
