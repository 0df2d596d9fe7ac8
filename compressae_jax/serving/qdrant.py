"""Qdrant, in this process (Edge) or on a server: signed values by column, exact in all spaces (extra `[qdrant]`).

A place is a folder, for Edge, or a server's collection: `http://localhost:6333#items` or `Collection(client, "items")`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any

import numpy as np

from compressae_jax.base.progress import bar as progress_bar
from compressae_jax.notation import BusyError, FolderError, InputError, check_range
from compressae_jax.retrieval.index import Index
from compressae_jax.retrieval.queries import Expander
from compressae_jax.serving import qdrant_edge, qdrant_points, qdrant_server, uploaded
from compressae_jax.serving import terms as terms_of
from compressae_jax.serving.qdrant_edge import Edge
from compressae_jax.serving.qdrant_points import ID, VECTOR, point_id
from compressae_jax.serving.qdrant_server import Collection, Server
from compressae_jax.serving.stored import stored
from compressae_jax.serving.uploaded import Answers, MadeBy

__all__ = ["Collection", "Engine", "Place", "point_id", "request", "upload"]

Place = str | os.PathLike | Collection
PIECE = 2**12  # rows a batch: some megabytes
ASKED = 2**18  # terms sent at once


def request(
    whole: terms_of.Terms, top: int, filter: Any = None, part: terms_of.Terms | None = None, rescored: int = 0
) -> dict[str, Any]:
    """The query as Qdrant's REST interface has it (POST /collections/…/points/query).

    With a `part` of the terms, the best `rescored` rows by it are scored again with all of them.
    """
    asked = {"query": _sent(whole), "using": VECTOR, "limit": int(top), "with_payload": [ID]}
    if filter is not None:
        asked["filter"] = filter
    if part is not None:
        before = {"query": _sent(part), "using": VECTOR, "limit": int(rescored)}
        asked["prefetch"] = [before if filter is None else {**before, "filter": filter}]
    return asked


def upload(
    index: Index,
    place: Place,
    payload: Mapping[str, Any] | None = None,
    zero_rows: str = "stop",
    batch: int = PIECE,
    progress: bool = True,
) -> None:
    """Make the points of a place the rows of the index in its space, with `payload` beside them.

    Again after `add` and `remove`, only rows that changed are written; what was interrupted goes on. Searches meanwhile
    see some batches. `payload` has one value a row, in the order of `index.ids`, of what JSON holds; columns of one
    kind are indexed for filters. Integers from 0 are the points' ids; for other ids it is `point_id`, and `id` in the
    payload is ours. In folders booleans are 1 and 0, and filters take either.

    Raises:
        InputError: rows that `stored` refuses, payload of another length or kind, ids that are no UTF-8, vectors of
            another model or space, no qdrant-edge-py or qdrant-client.
        FolderError: something else stands at that place, or a damaged one.
        BusyError: another process has the folder open.
        OSError: the server does not answer; the same again goes on.
    """
    check_range("batch", batch, 1, 2**24)
    payload, made = uploaded.checked_payload(payload, len(index)), uploaded.made_by(index)
    qdrant_points.check_names(payload)
    wanted: set[qdrant_points.PointId] = set()
    with _writing(_place(place), made) as store, progress_bar(len(index), "upload", shown=progress) as bar:
        store.index_fields(qdrant_points.fields(payload))
        for some in stored(index, zero_rows, batch):
            points = list(qdrant_points.points(some, payload))
            there = store.digests([point.id for point in points])
            changed = [point for point in points if there.get(point.id) != point.payload[qdrant_points.DIGEST]]
            if changed:
                store.put(changed)
            wanted.update(point.id for point in points)
            bar.update(len(some))
        for page in store.pages():
            if gone := [one for one in page if one not in wanted]:
                store.take_out(gone)
        store.finish()


class Engine:
    """A place that `upload` wrote, opened for queries of one space.

    A folder is open in one process at a time: until `close`, or until nothing holds this object.

    Raises:
        InputError: vectors of another model or space; no qdrant-edge-py or qdrant-client.
        FolderError: no such place, another one, or a damaged one.
        BusyError: another process has the folder open.
        OSError: the server does not answer.
    """

    def __init__(self, place: Place, expander: Expander) -> None:
        self.expander, place = expander, _place(place)
        self._store: Edge | Server = Server(place) if isinstance(place, Collection) else Edge(place)
        uploaded.check_expander(self._store.name, self._store.made_by, expander)

    def close(self) -> None:
        """Let go of the place; a search after it fails."""
        self._store.close()

    def search(
        self,
        queries: Any,
        top: int = 10,
        filter: Any = None,
        terms: int | None = None,
        rescored: int | None = None,
    ) -> Answers:
        """The best rows of each query, ties in any order; `filter` is Qdrant's, in its JSON form or as its object.

        All terms of u are asked. With `terms`, the best `rescored` (default: 500, or `top` if that is more) by so many
        of the largest are scored again with all of u, which pays where rows are many. A row that has no column in
        common with the terms, whose score in 'sparse' is 0, is not found.

        Raises:
            InputError: queries that `Expander.expand` refuses, `terms` out of range, `rescored` below `top` or without
                `terms`, a filter that Qdrant refuses.
            OSError: the server does not answer.
        """
        u = uploaded.expanded(self.expander, queries, top)
        rescored = terms_of.check_both(terms, rescored, top)
        wholes = terms_of.largest(u)
        parts = [None] * len(u) if terms is None else terms_of.largest(u, terms)
        asked = np.flatnonzero(u.any(axis=1)).tolist()  # a query without terms is refused
        found: list[list[tuple[Any, float]]] = [[]] * len(u)
        at_once = max(1, ASKED // u.shape[1])
        for start in range(0, len(asked), at_once):
            some = asked[start : start + at_once]
            requests = [request(wholes[i], top, filter, parts[i], rescored) for i in some]
            for i, pairs in zip(some, self._asked(requests, filter), strict=True):
                found[i] = pairs
        return uploaded.collected(found, len(u), top, u)

    def _asked(self, requests: list[dict[str, Any]], filter: Any) -> list[list[tuple[Any, float]]]:
        try:
            return self._store.ask(requests)
        except (OSError, FolderError, BusyError):
            raise
        except Exception as error:  # of many kinds: what a filter is, three libraries check
            raise InputError(f"Qdrant refused the query, filter={filter!r:.200}: {error!s:.600}") from None


def _writing(place: str | os.PathLike | Collection, made: MadeBy) -> AbstractContextManager[Edge | Server]:
    return qdrant_server.writing(place, made) if isinstance(place, Collection) else qdrant_edge.writing(place, made)


def _place(place: Place) -> Place:
    return qdrant_server.of(place) if isinstance(place, str) and place.startswith(("http://", "https://")) else place


def _sent(some: terms_of.Terms) -> dict[str, Any]:
    return {"indices": some.columns.tolist(), "values": np.asarray(some.weights, np.float32).tolist()}
