"""A collection on a Qdrant server, through qdrant-client."""

from __future__ import annotations

import contextlib
import os
import uuid
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from compressae_jax.notation import FolderError, InputError
from compressae_jax.serving import uploaded
from compressae_jax.serving.qdrant_points import DIGEST, ID, VECTOR, Point, PointId
from compressae_jax.serving.uploaded import MadeBy

PAGE = 10_000  # ids read at once
TOO_LARGE = 413  # status of a request beyond what the server takes, 32 megabytes
TIMEOUT = 60  # seconds for an answer: a batch is written before it is given
KEY = "QDRANT_API_KEY"  # the variable of the environment that has it, for places given as text


class Collection(NamedTuple):
    """A collection by its `QdrantClient` and its name."""

    client: Any
    name: str


def of(address: str) -> Collection:
    """The collection that a text such as `http://localhost:6333#items` names.

    Raises:
        InputError: no name behind the `#`; no qdrant-client.
    """
    url, _, name = address.partition("#")
    if not name:
        raise InputError(f"the address of a collection must end in # and its name, as {url}#items, not {address!r}")
    client = uploaded.engine("qdrant_client", "qdrant-client", "qdrant")
    given = {"api_key": os.environ.get(KEY), "timeout": TIMEOUT, "check_compatibility": False}
    return Collection(client.QdrantClient(url, **given), name)


class Server:
    """A collection that is there; what uploads change is seen at once. One upload at a time: servers have no lock.

    Raises:
        InputError: no qdrant-client.
        FolderError: no such collection, or another's.
        OSError: no answer.
    """

    def __init__(self, place: Collection) -> None:
        self._models = _models()
        self.client, self.name = place
        with refusals(self.name):
            if not self.client.collection_exists(self.name):
                raise FolderError(f"{self.name} is no collection of this server; upload the index again")
            self.made_by = _made_by(place)

    def close(self) -> None:
        """The client is its owner's."""

    def digests(self, ids: list[PointId]) -> dict[PointId, str]:
        """Of the points that are there."""
        given = [_sent(one) for one in ids]
        with refusals(self.name):
            records = self.client.retrieve(self.name, given, with_payload=[DIGEST], with_vectors=False)
        return {_got(record.id): (record.payload or {}).get(DIGEST, "") for record in records}

    def put(self, points: list[Point]) -> None:
        """Write points, in the place of those of the same ids."""
        models = self._models
        made = [
            models.PointStruct(
                id=_sent(point.id),
                vector={VECTOR: models.SparseVector(indices=point.columns, values=point.values)},
                payload=point.payload,
            )
            for point in points
        ]
        with refusals(self.name):
            self.client.upsert(self.name, made, wait=True)

    def pages(self) -> Iterator[list[PointId]]:
        """The ids that are there, some at a time."""
        start = None
        while True:
            with refusals(self.name):
                records, start = self.client.scroll(
                    self.name, limit=PAGE, offset=start, with_payload=False, with_vectors=False
                )
            yield [_got(record.id) for record in records]
            if start is None:
                return

    def take_out(self, ids: list[PointId]) -> None:
        """Delete points."""
        with refusals(self.name):
            selected = self._models.PointIdsList(points=[_sent(one) for one in ids])
            self.client.delete(self.name, selected, wait=True)

    def index_fields(self, fields: dict[str, str]) -> None:
        """Index payload for filters; what is indexed so already stays as it is."""
        with refusals(self.name):
            there = self.client.get_collection(self.name).payload_schema
            for path, kind in fields.items():
                if path not in there or there[path].data_type != kind:
                    self.client.create_payload_index(self.name, path, field_schema=kind, wait=True)

    def finish(self) -> None:
        """The server indexes by itself."""

    def ask(self, requests: Sequence[dict[str, Any]]) -> list[list[tuple[Any, float]]]:
        """Pairs of a row's id and score, for each request in the form of Qdrant's REST interface."""
        made = [self._models.QueryRequest.model_validate(one) for one in requests]
        with refusals(self.name):
            answers = self.client.query_batch_points(self.name, made)
        return [[((one.payload or {}).get(ID, one.id), one.score) for one in answer.points] for answer in answers]


@contextlib.contextmanager
def writing(place: Collection, made: MadeBy) -> Iterator[Server]:
    """A collection to upload into, new or one that holds the like.

    Raises:
        InputError: it holds vectors of another model or space.
        FolderError: it is another's.
        OSError: no answer.
    """
    models, (client, name) = _models(), place
    with refusals(name):
        if not client.collection_exists(name):
            client.create_collection(
                name,
                sparse_vectors_config={
                    VECTOR: models.SparseVectorParams(index=models.SparseIndexParams(full_scan_threshold=1))
                },
                optimizers_config=models.OptimizersConfigDiff(indexing_threshold=1),
                metadata=made._asdict(),
            )
    uploaded.check_same(name, _made_by(place), made)
    yield Server(place)


@contextlib.contextmanager
def refusals(name: str) -> Iterator[None]:
    """What a server, or the way to it, says, as our error."""
    exceptions = uploaded.engine("qdrant_client.http.exceptions", "qdrant-client", "qdrant")
    try:
        yield
    except exceptions.UnexpectedResponse as error:
        if error.status_code and 400 <= error.status_code < 500:
            cure = "; give a smaller batch" if error.status_code == TOO_LARGE else ""
            raise InputError(f"Qdrant refused, of collection {name!r}: {error}{cure}") from None
        raise OSError(f"Qdrant failed, of collection {name!r}: {error}") from None
    except exceptions.ApiException as error:
        raise OSError(f"Qdrant does not answer, of collection {name!r}: {error}") from None


def _made_by(place: Collection) -> MadeBy:
    meta = place.client.get_collection(place.name).config.metadata or {}
    if not all(isinstance(meta.get(field), str) for field in MadeBy._fields):
        raise FolderError(
            f"{place.name} is a collection that `qdrant.upload` did not make, or on a server older than 1.16, which "
            "keeps no metadata; choose another name"
        )
    return MadeBy(*(meta[field] for field in MadeBy._fields))


def _models() -> Any:
    return uploaded.engine("qdrant_client.models", "qdrant-client", "qdrant")


def _sent(one: PointId) -> int | str:
    return one if isinstance(one, int) else str(one)


def _got(one: Any) -> PointId:
    return uuid.UUID(one) if isinstance(one, str) else one
