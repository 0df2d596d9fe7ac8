"""Rows of an index as Qdrant's points, which `qdrant` sends: an id that it takes, a sparse vector, payload as JSON."""

from __future__ import annotations

import datetime
import json
import math
import uuid
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import xxhash

from compressae_jax.notation import InputError
from compressae_jax.serving import uploaded
from compressae_jax.serving.stored import Stored

VECTOR = "code"  # the name of the sparse vector
ID, DIGEST = "id", "digest"  # payload of our own
FIELDS = {bool: "bool", int: "integer", float: "float", str: "keyword"}  # how a payload column of one kind is indexed

PointId = int | uuid.UUID


class Point(NamedTuple):
    """One row."""

    id: PointId
    columns: list[int]
    values: list[float]
    payload: dict[str, Any]


def point_id(one: Any) -> PointId:
    """The id of a row's point: the number itself where it has 64 bits and no sign, else UUID 5 of its text among OIDs.

    Raises:
        InputError: a text that is no UTF-8.
    """
    one = uploaded.plain(one)
    if isinstance(one, int) and 0 <= one < 2**64:
        return one
    try:
        return uuid.uuid5(uuid.NAMESPACE_OID, str(one))
    except UnicodeEncodeError as error:
        raise InputError(f"ids must be texts that Qdrant holds, UTF-8: {error}") from None


def points(some: Stored, payload: dict[str, Any]) -> Iterator[Point]:
    """Rows with their payload, which has a digest of all that a point is."""
    starts, columns, values = some.starts.tolist(), some.columns.tolist(), some.values.tolist()
    for i, (name, place) in enumerate(zip(some.ids, some.places.tolist(), strict=True)):
        here = slice(starts[i], starts[i + 1])
        beside = {key: _json(of_all[place], key, name) for key, of_all in payload.items()}
        of = point_id(name)
        if not isinstance(of, int):
            beside[ID] = uploaded.plain(name)
        blob = some.columns[here].tobytes() + some.values[here].tobytes() + json.dumps(beside).encode()
        yield Point(of, columns[here], values[here], {**beside, DIGEST: xxhash.xxh3_64_hexdigest(blob)})


def fields(payload: dict[str, Any]) -> dict[str, str]:
    """How to index the payload columns whose values are of one kind, by their path as Qdrant writes it."""
    found = {}
    for name, values in payload.items():
        kinds = {type(uploaded.plain(one)) for one in values} - {type(None)}
        kind = float if kinds == {int, float} else kinds.pop() if len(kinds) == 1 else None
        if kind in FIELDS:
            found[path(name)] = FIELDS[kind]
        elif kind is not None and issubclass(kind, datetime.date):
            found[path(name)] = "datetime"
    return found


def path(name: str) -> str:
    """A payload column in the language of Qdrant's filters, where a dot leads into an object."""
    return name if name.replace("_", "a").replace("-", "a").isalnum() and name.isascii() else f'"{name}"'


def check_names(payload: dict[str, Any]) -> None:
    """Raise InputError for payload columns that Qdrant, or what is ours, cannot name."""
    for name in payload:
        if name.lower() == DIGEST or "\\" in name:
            raise InputError(f"payload: a column must have a name without \\, other than {DIGEST}, not {name!r}")


def _json(value: Any, key: str, name: Any) -> Any:
    """A payload value as what JSON holds."""
    value = value.tolist() if isinstance(value, np.ndarray) else uploaded.plain(value)
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str) and value.encode("utf-8", "replace").decode() == value:
        return value
    if isinstance(value, int) and -(2**63) <= value < 2**64:
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    if isinstance(value, datetime.date):
        return value.isoformat()
    if isinstance(value, (list, tuple)):
        return [_json(one, key, name) for one in value]
    if isinstance(value, dict) and all(isinstance(one, str) for one in value):
        return {one: _json(its, key, name) for one, its in value.items()}
    raise InputError(
        f"payload: {key!r} of id {uploaded.plain(name)!r:.60} must be what JSON holds (None, a bool, 64-bit integer, "
        f"finite float, text or date, or a list or dict of these), not {value!r:.60}"
    )
