"""An index folder that is served: searched by many at once, changed one by one, opened again when others change it.

What searches is one state of the rows, which is replaced as a whole, so a search never sees half of a change.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float32

from compressae_jax.baselines import dense as dense_search
from compressae_jax.baselines.flat import Flat
from compressae_jax.codes.ids import Ids, TextIds
from compressae_jax.data.sources import Source
from compressae_jax.notation import BusyError, Expanded, InputError, check_range
from compressae_jax.retrieval import index as indexes
from compressae_jax.retrieval import index_folder
from compressae_jax.retrieval.index import Index
from compressae_jax.service.asked import Id, Search
from compressae_jax.service.payload import TEXT, Payload

MASKS = 64  # conditions whose rows are kept
READ = 2**14  # dense vectors at a time
PATIENCE, PAUSE = 2.0, 0.05  # seconds that a change waits for another writer of the folder, and between its trials

Mask = Bool[np.ndarray, " n"] | None


class Answer(NamedTuple):
    """What one request found, a list a query, best first, without places of none."""

    ids: list[list[Id]]
    scores: list[list[float]]


class Latent(NamedTuple):
    """One nonzero of an item: its column, its share of the code's length, and the items where it counts most."""

    column: int
    weight: float
    items: list[Id]


class _State:
    """One state of the rows, and the rows that conditions allow."""

    def __init__(self, own: Index, space: str | None, stamp: tuple[int, ...] | None) -> None:
        self.own, self.stamp = own, stamp  # what is written, in the folder's own space
        self.index = own if space in (None, own.space) else own.in_space(space or own.space)
        self.masks: dict[str, Bool[np.ndarray, " n"]] = {}


class Catalogue:
    """The rows of an index folder, or of a codes folder with its model, which cannot be changed.

    `payload`: what answers may carry and conditions ask for. `dense`: the vectors that the rows were made of, held in
    memory in float32 to be searched beside the codes. `probes`: how many cells a request searches that names no number
    of its own; of rows without cells, and by default, all rows are scored.

    Raises:
        InputError: as `index.open_folder`; dense vectors of another width.
        FolderError: a folder that is missing or damaged.
    """

    def __init__(
        self,
        folder: str | os.PathLike,
        model: str | os.PathLike | None = None,
        space: str | None = None,
        payload: Payload | None = None,
        dense: Source | None = None,
        verify: bool = True,
        probes: int | None = None,
    ) -> None:
        self.folder = Path(os.path.expanduser(os.fspath(folder)))
        self.payload, self._space, self._verify = payload, space, verify
        self.changeable = index_folder.is_one(self.folder)
        stamp = self._stamp()
        own = indexes.open_folder(self.folder, model, None if self.changeable else space, verify)
        self._state = _State(own, space, stamp)
        self._dense = None if dense is None else _Dense(dense, own)
        if probes is not None:
            if not own.cells:
                raise InputError(f"probes need cells, which {self.folder} does not hold; Index.with_cells makes some")
            check_range("probes", probes, 1, own.cells)
        self._probes = probes
        self._warm()

    @property
    def index(self) -> Index:
        """The rows as they are now."""
        return self._state.index

    def _warm(self) -> None:
        """Let loops compile, and rows come from the disk, before somebody waits for them."""
        some = Search(np.ones((1, self.index.weights.d), np.float32), None, 1, None, None, None, ())
        self.search([some])
        first = next(iter(self.index.pieces(1)), None)
        if first is not None:
            one = first[0] if first[1].ids is None else first[1].ids
            item = one[0] if isinstance(one[0], str) else int(one[0])
            self.search([dataclasses.replace(some, vectors=None, ids=(item,))])
            self.latents(item, 1)

    @property
    def dense_bytes(self) -> float | None:
        """Bytes of a dense vector, None where there are none."""
        return None if self._dense is None else self._dense.flat.bytes_per_vector

    def search(self, asked: Sequence[Search]) -> list[Answer | Exception]:
        """Answers to several requests, those of one `top`, filter and `probes` together; an error in one's place."""
        state = self._state
        answers: list[Any] = [None] * len(asked)
        groups: dict[tuple[int, str, int | None], list[int]] = {}
        masks: dict[str, Mask] = {}
        vectors: list[tuple[int, Any]] = []
        u: list[Any] = [None] * len(asked)
        for i, one in enumerate(asked):
            try:
                if one.vectors is None:
                    u[i] = state.index.expander.expand(state.index.rows(list(one.ids or ())))
                else:
                    vectors.append((i, state.index.expander.checked(one.vectors)))
                condition, mask = self._allowed(state, one)
                masks[condition] = mask
                groups.setdefault((one.top, condition, self._probed(state, one)), []).append(i)
            except Exception as error:
                answers[i] = error
        for i, some in _cut(state.index, vectors):
            u[i] = some
        for (top, condition, probes), members in groups.items():
            members = [i for i in members if answers[i] is None]
            found: Sequence[Answer | Exception]
            try:
                together = [asked[i] for i in members]
                found = self._found(state, together, [u[i] for i in members], top, masks[condition], probes)
            except InputError:  # of one of them: each alone
                found = [self._alone(state, asked[i], u[i], top, masks[condition], probes) for i in members]
            for i, answer in zip(members, found, strict=True):
                answers[i] = answer
        return answers

    def _probed(self, state: _State, one: Search) -> int | None:
        """How many cells a request searches; the default is no more than there are after a change by others."""
        if one.probes is not None or self._probes is None or not state.index.cells:
            return one.probes
        return min(self._probes, state.index.cells)

    def _alone(
        self, state: _State, one: Search, u: Expanded, top: int, allow: Mask, probes: int | None
    ) -> Answer | Exception:
        try:
            return self._found(state, [one], [u], top, allow, probes)[0]
        except Exception as error:
            return error

    @staticmethod
    def _found(
        state: _State, asked: list[Search], u: list[Expanded], top: int, allow: Mask, probes: int | None
    ) -> list[Answer]:
        exclude = None
        if any(one.exclude for one in asked):
            exclude = [some for one in asked for some in (one.exclude or [[]] * len(one))]
        best = state.index.search_expanded(np.concatenate(u), top, allow=allow, exclude=exclude, probes=probes)
        ids = best.rows if best.ids is None else best.ids
        counts = (best.rows >= 0).sum(axis=1).tolist()
        named = [some[:count].tolist() for some, count in zip(ids, counts, strict=True)]
        scores = [some[:count].tolist() for some, count in zip(best.scores, counts, strict=True)]
        answers, first = [], 0
        for one in asked:
            here = slice(first, first + len(one))
            answers.append(Answer(named[here], scores[here]))
            first += len(one)
        return answers

    def _allowed(self, state: _State, one: Search) -> tuple[str, Mask]:
        """The name of a filter, '' of none, and the rows that it allows."""
        if one.allow is None and one.where is None:
            return "", None
        name = json.dumps([one.allow, one.where], sort_keys=True)
        if name not in state.masks:
            while len(state.masks) >= MASKS:
                state.masks.pop(next(iter(state.masks)))
            mask = np.ones(len(state.index.codes), bool)
            if one.where is not None:
                mask &= self._payload().allowed(one.where, state.index)
            if one.allow is not None:
                rows = state.index.where(list(one.allow))
                given = np.zeros(len(mask), bool)
                given[rows[rows >= 0]] = True
                mask &= given
            state.masks[name] = mask
        return name, state.masks[name]

    def fields(self, answer: Answer, names: Sequence[str]) -> dict[str, list[list[Any]]]:
        """Columns of the payload beside what was found."""
        payload = self._payload() if names else None
        return {name: [payload.of(ids, name) for ids in answer.ids] for name in names} if payload else {}

    def dense(self, ids: Sequence[Id], top: int) -> tuple[Answer, float]:
        """Neighbours of items by their dense vectors, without themselves, and the seconds that it took.

        Raises:
            InputError: no dense vectors are served, or none of an item.
        """
        if self._dense is None:
            raise InputError("no dense vectors are served beside the codes: --dense names them")
        return self._dense.search(ids, top)

    def names(self, part: str, limit: int) -> list[tuple[Id, str]]:
        """Items whose text, or id, has `part` in it: pairs of id and text."""
        if self.payload is not None:
            return self.payload.containing(part, limit)
        ids = self.index.ids
        found: list[tuple[Id, str]] = []
        for one in range(len(self.index.codes)) if ids is None else ids:
            if part.lower() in str(one).lower():
                found.append((one if isinstance(one, str) else int(one), str(one)))
                if len(found) == limit:
                    break
        return found

    def texts(self, ids: Sequence[Id]) -> list[str]:
        """The payload's texts of some items, their ids where there are none."""
        if self.payload is None or TEXT not in self.payload.columns:
            return [str(one) for one in ids]
        found = self.payload.of(list(ids), TEXT)
        return [str(one if text is None else text) for one, text in zip(ids, found, strict=True)]

    def as_id(self, given: str) -> Id:
        """An id as the index has them, of a text that says it.

        Raises:
            InputError: no integer, where ids are integers.
        """
        if isinstance(self.index.codes.ids, TextIds):
            return given
        if not re.fullmatch(r"-?[0-9]{1,20}", given):
            raise InputError(f"id must be an integer, as those of the index are, not {given!r:.80}")
        return int(given)

    def latents(self, item: Id, top: int) -> list[Latent]:
        """The nonzeros of an item, by falling magnitude, each with the `top` items that have most of it.

        Raises:
            InputError: no such item.
        """
        index = self.index
        codes = index.rows([item]).check().codes()
        values, columns = np.asarray(codes.values[0], np.float32), np.asarray(codes.columns[0]).astype(np.int64)
        values, columns = values[values != 0], columns[values != 0]
        u = np.zeros((len(values), index.weights.h), np.float32)
        u[np.arange(len(values)), columns] = np.sign(values)
        best = index.search_expanded(u, top) if len(values) else None
        length = float(np.linalg.norm(values)) or 1.0
        found = []
        for j, (value, column) in enumerate(zip(values.tolist(), columns.tolist(), strict=True)):
            assert best is not None
            ids = (best.rows if best.ids is None else best.ids)[j][best.scores[j] > 0]
            found.append(Latent(column, value / length, ids.tolist()))
        return sorted(found, key=lambda latent: -abs(latent.weight))

    def add(self, vectors: Float32[np.ndarray, "m d"], ids: list[Id] | None) -> int:
        """Encode rows and write them into the folder; how many there are then.

        Raises:
            InputError: as `Index.add`, or a codes folder.
            BusyError: another process writes the folder, for more than two seconds.
        """

        def change(index: Index) -> None:
            index.add(vectors, ids=ids)

        return self._changed(change)

    def remove(self, ids: list[Id]) -> int:
        """Take rows out, in the folder too; how many are left. Raises as `Index.remove`, and as `add`."""

        def change(index: Index) -> None:
            index.remove(ids)

        return self._changed(change)

    def _changed(self, change: Any) -> int:
        """A change of a copy, which is written, then served: where anything fails, nothing has happened."""
        if not self.changeable:
            raise InputError(f"{self.folder} is a codes folder, which does not change: serve an index folder")
        patience = time.monotonic() + PATIENCE
        while True:
            own = self._state.own
            fresh = own.in_space(own.space)
            change(fresh)
            try:
                fresh.save(self.folder)
            except BusyError:  # somebody writes it, or has written it since
                if time.monotonic() > patience:
                    raise
                if not self.reload():
                    time.sleep(PAUSE)
                continue
            self._state = _State(fresh, self._space, self._stamp())
            break
        return len(self._state.own)

    def reload(self) -> bool:
        """Open the folder again where somebody else has changed it; whether that was so.

        Raises:
            FolderError: a damaged folder; what was served before still is.
        """
        stamp = self._stamp()
        if stamp is None or stamp == self._state.stamp:
            return False
        self._state = _State(Index.load(self.folder, self._verify), self._space, stamp)
        return True

    def _stamp(self) -> tuple[int, ...] | None:
        """What changes whenever the folder does; None of one that never does."""
        if not self.changeable:
            return None
        found = os.stat(self.folder / index_folder.META)
        return found.st_ino, found.st_mtime_ns, found.st_size

    def _payload(self) -> Payload:
        if self.payload is None:
            raise InputError("no payload is served beside the codes: --payload names its file")
        return self.payload


class _Dense:
    """Dense vectors in memory, by the ids of the rows that they are of, else by number."""

    def __init__(self, source: Source, index: Index) -> None:
        d = index.weights.d
        if source.width != d:
            raise InputError(f"dense vectors have width {source.width}, the index {d}")
        if (source.ids is None) != (index.codes.ids is None):
            which, other = ("rows", "dense vectors") if source.ids is None else ("dense vectors", "rows")
            raise InputError(f"the {which} have ids and the {other} have none, by which they would be told")
        self._vectors = np.concatenate([np.empty((0, d), np.float32), *(some for _, some in source.batches(READ))])
        self.flat: Flat = dense_search.fit(self._vectors[:1])
        self.flat.add(self._vectors)
        named: Ids = np.arange(len(source)) if source.ids is None else source.ids
        self._ids = [one if isinstance(one, str) else int(one) for one in named]
        self._places = {one: place for place, one in enumerate(self._ids)}

    def search(self, ids: Sequence[Id], top: int) -> tuple[Answer, float]:
        if (missing := next((one for one in ids if one not in self._places), None)) is not None:
            raise InputError(f"there is no dense vector of {missing!r}")
        places = [self._places[one] for one in ids]
        start = time.perf_counter()
        scores, rows = self.flat.search(
            self._vectors[places], min(top, len(self.flat)), exclude=[[place] for place in places]
        )
        seconds = time.perf_counter() - start
        named = [[self._ids[place] for place in some if place >= 0] for some in rows.tolist()]
        return Answer(named, [some[some > -np.inf].tolist() for some in scores]), seconds


def _cut(index: Index, vectors: list[tuple[int, Any]]) -> list[tuple[int, Expanded]]:
    """u of each request's vectors, all expanded together."""
    if not vectors:
        return []
    u = index.expander.of_checked(np.concatenate([some for _, some in vectors]))
    ends = np.cumsum([len(some) for _, some in vectors])[:-1]
    return [(i, some) for (i, _), some in zip(vectors, np.split(u, ends), strict=True)]
