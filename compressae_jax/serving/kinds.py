"""The registry: all engines by name. A new one is a file beside this one and a line here."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from typing import Any, NamedTuple

from compressae_jax.notation import InputError, check_choice
from compressae_jax.retrieval.index import Index
from compressae_jax.serving import clickhouse, duckdb, elasticsearch, kannolo, parquet, postgres, qdrant, sqlite

SHARED = ("index", "payload", "zero_rows", "batch", "progress")  # arguments that every `upload` has


class Kind(NamedTuple):
    """An engine: how rows get there, what opens them for queries, and what a place of its is."""

    upload: Callable[..., None]
    engine: Callable[..., Any] | None  # of a place and an expander; None where others search what is uploaded
    place: str
    by_index: bool = False  # whether it opens with the index in the expander's place, to score answers again

    @property
    def options(self) -> dict[str, Any]:
        """What `upload` takes that not all engines have, and the defaults."""
        given = list(inspect.signature(self.upload).parameters.values())[2:]  # after the index and the place
        return {one.name: one.default for one in given if one.name not in SHARED}


_BULK = "a folder of files for _bulk; of queries, the url of an index"
ENGINES: dict[str, Kind] = {
    "clickhouse": Kind(parquet.upload, clickhouse.Engine, "a folder"),
    "duckdb": Kind(parquet.upload, duckdb.Engine, "a folder"),
    "elasticsearch": Kind(elasticsearch.upload, elasticsearch.Engine, _BULK, by_index=True),
    "kannolo": Kind(kannolo.upload, kannolo.Engine, "a folder"),
    "opensearch": Kind(elasticsearch.upload, elasticsearch.Engine, _BULK, by_index=True),
    "parquet": Kind(parquet.upload, None, "a folder, which duckdb and clickhouse search"),
    "postgres": Kind(postgres.upload, postgres.Engine, "a table, as postgresql://me@host/shop#items"),
    "qdrant": Kind(qdrant.upload, qdrant.Engine, "a folder, or a collection as http://localhost:6333#items"),
    "sqlite": Kind(sqlite.upload, sqlite.Engine, "a file that ends in .sqlite or .db"),
}


def of(name: str) -> Kind:
    """An engine by its name; raises InputError, with a close one suggested, of another name."""
    check_choice("engine", name, ENGINES)
    return ENGINES[name]


def opened(name: str, place: str, index: Index) -> Any:
    """An engine with the rows that were uploaded to a place, for queries in the space of the index.

    Raises:
        InputError: no such engine, or one that searches nothing, and what the engine finds.
    """
    kind = of(name)
    if kind.engine is None:
        raise InputError(f"engine {name!r} only holds rows: {shown(place)} is {kind.place}")
    return kind.engine(place, index if kind.by_index else index.expander)


def shown(place: str) -> str:
    """A place without the password of an url, to be printed or kept."""
    return re.sub(r"(://[^/:@]*):[^/@]*@", r"\1@", place)


def read_options(name: str, given: list[str]) -> dict[str, Any]:
    """Options of an upload, written name=value, as what their defaults are.

    Raises:
        InputError: one that the engine has not, or no value of its kind.
    """
    known, found = of(name).options, {}
    for one in given:
        option, equals, text = one.partition("=")
        if not equals or option not in known:
            names = ", ".join(f"{option}={default}" for option, default in known.items()) or "none"
            raise InputError(f"options of engine {name!r} are {names}, not {one!r}")
        found[option] = _as(option, known[option], text)
    return found


def _as(option: str, default: Any, text: str) -> Any:
    if isinstance(default, bool):
        check_choice(option, text.lower(), ("true", "false"))
        return text.lower() == "true"
    try:
        return int(text) if isinstance(default, int) else text
    except ValueError:
        raise InputError(f"option {option} must be a number like {default}, not {text!r}") from None
