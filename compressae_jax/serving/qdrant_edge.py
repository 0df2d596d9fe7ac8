"""A folder that Qdrant Edge, the server's core in this process, holds: one process at a time, any number of threads."""

from __future__ import annotations

import contextlib
import os
import shutil
import threading
import weakref
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from compressae_jax.base import files, sealed
from compressae_jax.notation import BusyError, FolderError, InputError
from compressae_jax.serving import uploaded
from compressae_jax.serving.qdrant_points import DIGEST, ID, VECTOR, Point, PointId
from compressae_jax.serving.uploaded import MadeBy

FORMAT_VERSION = 1
META, SHARD = "qdrant.json", "shard"
PAGE = 10_000  # ids read at once
REMEDY = "remove it and upload the index again"
ROOM = 2**27  # bytes on the disk without which nothing is opened or written: where they end, Edge ends the process


class Edge:
    """A folder that is there, opened; what an upload changes is seen at once by all who have it open in this process.

    Raises:
        InputError: no qdrant-edge-py.
        FolderError: no such folder, another one, or a damaged one.
        BusyError: another process has it open.
    """

    def __init__(self, folder: str | os.PathLike) -> None:
        self._edge = _module()
        self.folder = Path(os.path.expanduser(os.fspath(folder)))
        if not self.folder.is_dir():
            raise FolderError(f"{self.folder} is no folder; upload the index again")
        self.name, self.made_by = os.fspath(folder), _made_by(self.folder)
        if not (self.folder / SHARD).is_dir():
            raise FolderError(f"the upload into {self.folder} did not end; upload the index again")
        self._held: _Held | _Closed = _held(self._edge, self.folder)

    def close(self) -> None:
        """Let another process have the folder, once nobody else in this one has it open."""
        self._held = _Closed(self.folder)

    def digests(self, ids: list[PointId]) -> dict[PointId, str]:
        """Of the points that are there."""
        with _refusals(self.folder):
            records = self._held.shard.retrieve(ids, [DIGEST], False)
        return {record.id: (record.payload or {}).get(DIGEST, "") for record in records}

    def put(self, points: list[Point]) -> None:
        """Write points, in the place of those of the same ids."""
        edge = self._edge
        _check_room(self.folder)
        made = [
            edge.Point(point.id, {VECTOR: edge.SparseVector(point.columns, point.values)}, _numbered(point.payload))
            for point in points
        ]
        self._update(edge.UpdateOperation.upsert_points(made))

    def pages(self) -> Iterator[list[PointId]]:
        """The ids that are there, some at a time."""
        start = None
        while True:
            asked = self._edge.ScrollRequest(offset=start, limit=PAGE, with_payload=False, with_vector=False)
            with _refusals(self.folder):
                records, start = self._held.shard.scroll(asked)
            yield [record.id for record in records]
            if start is None:
                return

    def take_out(self, ids: list[PointId]) -> None:
        """Delete points."""
        self._update(self._edge.UpdateOperation.delete_points(ids))

    def index_fields(self, fields: dict[str, str]) -> None:
        """Index payload for filters; what is indexed so already stays as it is."""
        kinds = self._edge.PayloadSchemaType
        there = self._held.shard.info().payload_schema
        for path, name in fields.items():
            kind = getattr(kinds, "Integer" if name == "bool" else name.capitalize())
            if path not in there or there[path].data_type != kind:
                self._update(self._edge.UpdateOperation.create_field_index(path, kind))

    def finish(self) -> None:
        """Wait until all is on the disk, and indexed."""
        blocks = sum(path.stat().st_blocks for path in (self.folder / SHARD).rglob("*"))
        _check_room(self.folder, 512 * blocks)  # segments are written anew
        with _refusals(self.folder):
            self._held.shard.optimize()
            self._held.shard.flush()

    def ask(self, requests: Sequence[dict[str, Any]]) -> list[list[tuple[Any, float]]]:
        """Pairs of a row's id and score, for each request in the form of Qdrant's REST interface."""
        made = [self._request(one) for one in requests]
        with _panics(self.folder):
            answers = self._held.shard.query_batch(self._edge.QueryBatchRequest(made))
        return [[((one.payload or {}).get(ID, one.id), one.score) for one in answer] for answer in answers]

    def _update(self, operation: Any) -> None:
        with _refusals(self.folder):
            self._held.shard.update(operation)

    def _request(self, given: dict[str, Any]) -> Any:
        edge = self._edge
        only = condition(edge, given["filter"]) if given.get("filter") is not None else None

        def nearest(terms: dict[str, Any]) -> Any:
            return edge.Query.Nearest(edge.SparseVector(terms["indices"], terms["values"]), using=VECTOR)

        parts = given.get("prefetch", [])
        before = [edge.Prefetch(part["limit"], query=nearest(part["query"]), filter=only) for part in parts]
        return edge.QueryRequest(
            given["limit"], query=nearest(given["query"]), prefetches=before, filter=only, with_payload=[ID]
        )


@contextlib.contextmanager
def writing(folder: str | os.PathLike, made: MadeBy) -> Iterator[Edge]:
    """A folder to upload into, new or one that holds the like; nobody else writes it meanwhile.

    Raises:
        InputError: it holds vectors of another model or space.
        FolderError: something else stands at that name.
        BusyError: another process has it open.
    """
    edge, folder = _module(), files.check_out(folder)
    with files.locked(folder):
        if (folder / META).is_file():
            uploaded.check_same(str(folder), _made_by(folder), made)
        elif folder.is_dir() and any(not path.name.startswith(files.PREFIX) for path in folder.iterdir()):
            raise FolderError(f"{folder} holds other files; choose another name")
        else:
            folder.mkdir(exist_ok=True)
            sealed.replace(folder / META, {"format_version": FORMAT_VERSION, **made._asdict()})
        _check_room(folder)
        if not (folder / SHARD).is_dir():
            with files.replacing(folder / SHARD) as aside, _refusals(folder):
                aside.mkdir(exist_ok=True)
                edge.EdgeShard.create(str(aside), _config(edge)).close()
        store = Edge(folder)
        try:
            yield store
        finally:
            store.close()  # at once, whoever still holds it: another process may wait for the folder


def condition(edge: Any, given: Any) -> Any:
    """A filter in the JSON form of Qdrant's REST interface as the objects of Edge, which may be given, too.

    Raises:
        InputError: a condition that is neither.
    """
    if not isinstance(given, dict):
        if isinstance(given, edge.Filter):
            return given
        raise InputError(f"filter must be a dict as in Qdrant's REST interface, or a Filter, not {given!r:.100}")
    kinds = {"must", "should", "must_not"}
    if not given or given.keys() - kinds:
        raise InputError(f"filter: a dict must have some of {sorted(kinds)} and nothing else, not {sorted(given)}")
    return edge.Filter(
        **{
            name: [_one(edge, one) for one in (some if isinstance(some, (list, tuple)) else [some])]
            for name, some in given.items()
        }
    )


def _one(edge: Any, given: Any) -> Any:
    if not isinstance(given, dict):
        return given  # an object of Edge, as it stands
    if given.keys() & {"must", "should", "must_not"}:
        return condition(edge, given)
    given = dict(given)
    if "has_id" in given:
        made = edge.HasIdCondition(set(given.pop("has_id")))
    elif isinstance(given.get("is_empty"), dict):
        made = edge.IsEmptyCondition(given.pop("is_empty")["key"])
    elif isinstance(given.get("is_null"), dict):
        made = edge.IsNullCondition(given.pop("is_null")["key"])
    else:
        options: dict[str, Any] = {}
        if "match" in given:
            ((kind, value),) = given.pop("match").items()
            options["match"] = getattr(edge, MATCHES[kind])(_numbered(value))
        if "range" in given:
            bounds = given.pop("range")
            texts = any(isinstance(one, str) for one in bounds.values())
            options["range"] = (edge.RangeDateTime if texts else edge.RangeFloat)(**bounds)
        if not options:
            raise InputError(f"filter: a condition must have a match, a range or one of Qdrant's others, not {given}")
        made = edge.FieldCondition(given.pop("key"), **options)
    if given:
        raise InputError(f"filter: {sorted(given)} in a dict are not understood; give objects of qdrant_edge")
    return made


MATCHES = {
    "value": "MatchValue",
    "any": "MatchAny",
    "except": "MatchExcept",
    "text": "MatchText",
    "text_any": "MatchTextAny",
    "phrase": "MatchPhrase",
    "prefix": "MatchPrefix",
}


def _numbered(value: Any) -> Any:
    """Payload with 1 and 0 for booleans: the filters of Edge take a boolean for its number, and so would find none."""
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, list):
        return [_numbered(one) for one in value]
    return {name: _numbered(one) for name, one in value.items()} if isinstance(value, dict) else value


class _Held:
    """A shard that this process has open; it is closed with the last one who holds it."""

    def __init__(self, shard: Any, folder: Path) -> None:
        self._shard, self._folder, self._process = shard, folder, os.getpid()

    @property
    def shard(self) -> Any:
        self.check()
        return self._shard

    def check(self) -> None:
        """Refuse what a forked process inherits: it has lost its threads, and would wait for them for ever."""
        if os.getpid() != self._process:
            raise BusyError(f"{self._folder} is open in the process that this one was forked from: close it before")

    def __del__(self) -> None:
        with contextlib.suppress(Exception):  # at the end of a process, too
            if os.getpid() == self._process:
                self._shard.close()


class _Closed:
    """In the place of a shard that was closed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @property
    def shard(self) -> Any:
        raise FolderError(f"{self._folder} was closed: open it anew")


_opened: weakref.WeakValueDictionary[tuple[int, int], _Held] = weakref.WeakValueDictionary()
_opening = threading.Lock()


def _held(edge: Any, folder: Path) -> _Held:
    """The shard of a folder: Edge opens each only once."""
    there = (folder / SHARD).stat()
    key = there.st_dev, there.st_ino  # not its name: another folder may have that now
    with _opening:
        held = _opened.get(key)
        if held is None:
            _check_room(folder)
            with _refusals(folder):
                held = _opened[key] = _Held(edge.EdgeShard.load(str(folder / SHARD)), folder)
        held.check()
        return held


def _check_room(folder: Path, more: int = 0) -> None:
    """Raise OSError where the disk is nearly full."""
    free = shutil.disk_usage(folder).free
    if free < ROOM + more:
        raise OSError(
            f"{folder}: Qdrant Edge needs {(ROOM + more) >> 20:,} MiB on the disk, where {free >> 20:,} are free; make "
            "room, and the same again goes on"
        )


def _config(edge: Any) -> Any:
    return edge.EdgeConfig(
        sparse_vectors={VECTOR: edge.EdgeSparseVectorParams(full_scan_threshold=1)},  # else filters scan
        optimizers=edge.EdgeOptimizersConfig(indexing_threshold=1),  # else small shards have no index
    )


def _made_by(folder: Path) -> MadeBy:
    meta = sealed.read(folder / META, FORMAT_VERSION, f"it is none that `qdrant.upload` wrote, or damaged: {REMEDY}")
    return MadeBy(*(str(meta.get(field)) for field in MadeBy._fields))


@contextlib.contextmanager
def _refusals(folder: Path) -> Iterator[None]:
    """What Edge says of a folder, as our error."""
    try:
        with _panics(folder):
            yield
    except Exception as error:
        if type(error) is not Exception:
            raise
        told = str(error)
        if "WouldBlock" in told:
            raise BusyError(f"{folder} is open in another process, and Qdrant Edge lets one have it: {told}") from None
        if any(word in told for word in ("No space left", "Permission denied", "Read-only")):
            raise OSError(f"{folder}: {told}") from None
        raise FolderError(f"{folder}: {told:.600}; {REMEDY}") from None


@contextlib.contextmanager
def _panics(folder: Path) -> Iterator[None]:
    """What Rust raises, which is no Exception, as our error."""
    try:
        yield
    except BaseException as error:
        if type(error).__name__ != "PanicException":
            raise
        raise FolderError(f"{folder}: {error!s:.600}; {REMEDY}") from None


def _module() -> Any:
    return uploaded.engine("qdrant_edge", "qdrant-edge-py", "qdrant")
