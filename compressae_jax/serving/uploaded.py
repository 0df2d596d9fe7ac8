"""What every engine's file shares: whose rows a table holds, payload beside them, and answers to queries."""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float32, Shaped

from compressae_jax.notation import Expanded, InputError, check_choice, check_range
from compressae_jax.retrieval.index import Index
from compressae_jax.retrieval.queries import Expander
from compressae_jax.serving.stored import kind

OWN = ("id", "columns", "vals")  # columns of every table; payload has other names
TOP = 2**16  # answers a query, at most
EXTRAS = ("clickhouse", "duckdb", "kannolo", "postgres", "qdrant", "sentence-transformers")


class MadeBy(NamedTuple):
    """What stored vectors come from; the vectors that queries are compared with must come from the same."""

    fingerprint: str
    encoder: str
    kind: str
    similarity: str


class Answers(NamedTuple):
    """What an engine found, best first: scores -inf and ids None in the places without a row."""

    scores: Float32[np.ndarray, "q r"]
    ids: Shaped[np.ndarray, "q r"]


def made_by(index: Index) -> MadeBy:
    """Whose rows an index holds, in its space."""
    return MadeBy(index.weights.fingerprint, index.encoder, kind(index.space), index.similarity)


def check_same(place: str, there: MadeBy, given: MadeBy) -> None:
    """Raise InputError unless an upload brings what is there already."""
    if there != given:
        raise InputError(
            f"{place} holds vectors of {_told(there)}; the index has {_told(given)}: choose another name for these"
        )


def check_expander(place: str, there: MadeBy, expander: Expander) -> None:
    """Raise InputError unless u of this expander is for the vectors that are there."""
    encoder = expander.encoder or expander.weights.encoder
    encoder = there.encoder if expander.space == "dense_query" else encoder  # which encodes no query
    given = MadeBy(expander.weights.fingerprint, encoder, kind(expander.space), expander.similarity)
    if there != given:
        raise InputError(f"{place} holds vectors of {_told(there)}; the expander is for {_told(given)}")


def _told(made: MadeBy) -> str:
    spaces = "'sparse'" if made.kind == "sparse" else "'reconstructed' and 'dense_query'"
    return f"model {made.fingerprint}, encoder {made.encoder!r}, space {spaces}, similarity {made.similarity!r}"


def checked_payload(payload: Mapping[str, Any] | None, n: int) -> dict[str, Any]:
    """Columns to be carried along, one value a row, in the order of `index.ids`.

    Raises:
        InputError: a name that every table has, or a column of another length.
    """
    given = dict(payload or {})
    columns = {name: values.to_numpy() if hasattr(values, "to_numpy") else values for name, values in given.items()}
    for name, values in columns.items():
        odd = not isinstance(name, str) or name.encode("utf-8", "replace").decode() != name  # no UTF-8
        if odd or not name or '"' in name or "\0" in name or name.lower() in OWN:
            raise InputError(f'payload: a column must have a name without ", other than {", ".join(OWN)}, not {name!r}')
        if not hasattr(values, "__len__") or len(values) != n:
            told = f"{len(values)} values" if hasattr(values, "__len__") else repr(values)[:60]
            raise InputError(f"payload: {name!r} must have {n} values, one a row of the index, not {told}")
    if len({name.lower() for name in columns}) < len(columns):
        raise InputError("payload: two columns have the same name but for capitals, which engines do not tell apart")
    return columns


def expanded(expander: Expander, queries: Any, top: int, most: int = TOP) -> Expanded:
    """u of the queries of a search; raises InputError as `Expander.expand` does, and for `top` outside 1 to `most`."""
    check_range("top", top, 1, most)
    return expander.expand(queries)


def check_where(where: Any) -> None:
    """Raise InputError unless a condition of SQL is a text."""
    if where is not None and not isinstance(where, str):
        raise InputError(f"where must be a condition of SQL, a text, not {where!r:.100}")


def plain(one: Any) -> Any:
    """A value of NumPy as one of Python; moments, however fine, as datetimes, and those that are none as None."""
    if isinstance(one, np.datetime64):
        return one.item() if one.dtype == np.dtype("M8[D]") else one.astype("M8[us]").item()
    return one.item() if isinstance(one, np.generic) else one


def check_whole(engine: str, terms: int | None, rescored: int | None) -> None:
    """Raise InputError where a scan, whose time does not go by the terms of a query, is to take a part of them."""
    if terms is not None or rescored is not None:
        raise InputError(
            f"{engine} reads every row whole, so that a part of the query would cost answers and save nothing: leave "
            "terms and rescored out"
        )


def collected(found: Iterable[Sequence[tuple[Any, float]]], q: int, top: int, u: Expanded) -> Answers:
    """Answers of what each query found, pairs of an id and a score; a zero query, which has no direction, none."""
    scores, ids = np.full((q, top), -np.inf, np.float32), np.full((q, top), None, object)
    for i, some in enumerate(found):
        if u[i].any():
            ids[i, : len(some)] = [one for one, _ in some]
            scores[i, : len(some)] = [score for _, score in some]
    return Answers(scores, ids)


def engine(module: str, package: str, extra: str) -> Any:
    """An engine's own module, imported now.

    Raises:
        InputError: it is not installed; the message says what to install.
    """
    check_choice("extra", extra, EXTRAS)
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise InputError(f"this needs {package}: pip install 'compressae_jax[{extra}]'") from error
