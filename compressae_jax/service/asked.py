"""What clients send, as JSON, checked field by field before any work."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float32

from compressae_jax.notation import InputError, check_choice, check_range

Id = int | str


class Limits(NamedTuple):
    """What one request may ask for."""

    top: int = 1000
    queries: int = 1024
    body: int = 2**24  # bytes


@dataclasses.dataclass(frozen=True)
class Search:
    """One request's queries: `vectors` (q, d), or `ids` of items whose codes are the queries."""

    vectors: Float32[np.ndarray, "q d"] | None
    ids: tuple[Id, ...] | None
    top: int
    allow: tuple[Id, ...] | None
    where: Mapping[str, Any] | None
    exclude: list[list[Id]] | None
    fields: tuple[str, ...]
    probes: int | None = None

    def __len__(self) -> int:
        return len(self.ids) if self.vectors is None else len(self.vectors)  # type: ignore[arg-type]


class Change(NamedTuple):
    """Rows to add, vectors with ids where the index has ids, or, without vectors, ids to remove."""

    vectors: Float32[np.ndarray, "m d"] | None
    ids: list[Id] | None


def search(body: Any, limits: Limits) -> Search:
    """The fields `vectors` or `ids`, `top`, `allow`, `where`, `exclude`, `fields`, `probes`.

    Items asked by `ids` do not find themselves, unless `exclude` is given.

    Raises:
        InputError: a field that is unknown, missing, of another kind, or beyond the limits.
    """
    given = _fields(body, tuple(field.name for field in dataclasses.fields(Search)))
    vectors, ids = given.get("vectors"), given.get("ids")
    if (vectors is None) == (ids is None):
        raise InputError("give vectors, a list of lists of numbers, or ids of items: one of both")
    vectors = None if vectors is None else _vectors(vectors)
    ids = None if ids is None else tuple(_ids("ids", ids))
    top = given.get("top", 10)
    check_range("top", top, 1, limits.top)
    exclude = given.get("exclude")
    if exclude is not None:
        if not isinstance(exclude, list):
            raise InputError(f"exclude must be one list of ids a query, not {exclude!r:.80}")
        exclude = [_ids("exclude", one) for one in exclude]
    elif ids is not None:
        exclude = [[one] for one in ids]
    fields = given.get("fields", [])
    if not isinstance(fields, list) or not all(isinstance(name, str) for name in fields):
        raise InputError(f"fields must be a list of the payload's columns, not {fields!r:.80}")
    allow = given.get("allow")
    where = given.get("where")
    if where is not None and not isinstance(where, dict):
        raise InputError(f"where must be an object of columns and what they must be, not {where!r:.80}")
    allow = None if allow is None else tuple(_ids("allow", allow))
    probes = given.get("probes")
    if probes is not None:
        check_range("probes", probes, 1, 2**31 - 1)
    asked = Search(vectors, ids, top, allow, where, exclude, tuple(fields), probes)
    if len(asked) > limits.queries:
        raise InputError(f"a request may have {limits.queries} queries, not {len(asked)}")
    if exclude is not None and len(exclude) != len(asked):
        raise InputError(f"exclude must be one list of ids a query, {len(asked)}, not {len(exclude)}")
    return asked


def addition(body: Any) -> Change:
    """The fields `vectors` and, where the index has ids, `ids`; raises as `search`."""
    given = _fields(body, Change._fields)
    if given.get("vectors") is None:
        raise InputError("give vectors, a list of lists of numbers")
    ids = given.get("ids")
    return Change(_vectors(given["vectors"]), None if ids is None else _ids("ids", ids))


def removal(body: Any) -> Change:
    """The field `ids`; raises as `search`."""
    given = _fields(body, ("ids",))
    if given.get("ids") is None:
        raise InputError("give ids, of the rows to remove")
    return Change(None, _ids("ids", given["ids"]))


def _fields(body: Any, names: tuple[str, ...]) -> dict[str, Any]:
    if not isinstance(body, dict):
        raise InputError(f"the body must be an object of JSON with {', '.join(names)}, not {type(body).__name__}")
    for name in body:
        check_choice("a field", name, names)
    return body


def _vectors(given: Any) -> Float32[np.ndarray, "q d"]:
    if not isinstance(given, list) or not all(isinstance(one, list) for one in given):
        raise InputError("vectors must be a list of lists of numbers; for one query [[…]]")
    for row in given:  # before an array is made, in which each text would take the room of the longest
        if wrong := set(map(type, row)) - {int, float}:
            raise InputError(f"vectors must be lists of numbers, not of {wrong.pop().__name__}")
    if len(set(map(len, given))) > 1:
        raise InputError("vectors must be lists of one length")
    array = np.array(given, np.float64)
    with np.errstate(over="ignore"):  # what becomes infinite is refused with the rest
        return array.astype(np.float32).reshape(len(given), -1 if len(given) else 0)


def _ids(name: str, given: Any) -> list[Id]:
    if not isinstance(given, list) or not all(type(one) in (int, str) for one in given):
        raise InputError(f"{name} must be a list of ids, integers or texts, not {given!r:.80}")
    return given
