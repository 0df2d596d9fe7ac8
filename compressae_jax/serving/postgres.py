"""PostgreSQL: exact scans in all spaces, with pgvector or on plain arrays, or pgvector's graph (extra `[postgres]`).

A place is the address of a database and the name of a table: `postgresql://me@host/shop#items`, or `#schema.items`.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import xxhash

from compressae_jax.base.progress import bar as progress_bar
from compressae_jax.notation import InputError, check_choice, check_range
from compressae_jax.retrieval.index import Index
from compressae_jax.retrieval.queries import Expander
from compressae_jax.serving import postgres_tables as tables
from compressae_jax.serving import terms as terms_of
from compressae_jax.serving import uploaded
from compressae_jax.serving.postgres_tables import Table
from compressae_jax.serving.stored import Stored, stored
from compressae_jax.serving.uploaded import Answers

FORMS = ("auto", "pgvector", "arrays")
LINKED = 1_000  # nonzeros of a row in pgvector's graph, and the greatest ef
PIECE = 2**12  # rows a transaction
WANTED, STAGING = "compressae_wanted", "compressae_staging"  # temporary tables of an upload


def statement(
    table: str, where: str | None = None, form: str = "pgvector", terms: bool = False, approximate: bool = False
) -> str:
    """The query as text: `%(u)s` is u as `text_of` writes it, `%(top)s` the rows wanted.

    With `terms`, the best `%(rescored)s` rows by `%(part)s` are scored again with all of u. Where it is `approximate`,
    `hnsw.ef_search` has to be set, which is 40 otherwise: a query finds no more rows.
    """
    only = f"\nwhere (\n{where.replace('%', '%%')}\n)" if where else ""
    if form == "arrays":
        score = "(select sum(val::float8 * (%(u)s::real[])[col]) from unnest(columns, vals) as t(col, val))"
        return f"select id, {score} as score from {table}{only} order by score desc, id limit %(top)s"

    # The graph answers to `order by v <#> …` alone: with a minus before it PostgreSQL has to read all rows.
    def best(u: str, rows: str, what: str, source: str) -> str:
        score = f"-(v <#> {u}::sparsevec)"
        order = f"v <#> {u}::sparsevec" if approximate and source != "best" else f"{score} desc, id"
        return f"select id, {what.format(score)} from {source} order by {order} limit {rows}"

    if not terms:
        return best("%(u)s", "%(top)s", "{} as score", f"{table}{only}")
    candidates = best("%(part)s", "%(rescored)s", "v", f"{table}{only}")
    return f"with best as materialized ({candidates})\n" + best("%(u)s", "%(top)s", "{} as score", "best")


def text_of(some: terms_of.Terms, h: int, form: str = "pgvector") -> str:
    """Terms as PostgreSQL reads them: a sparsevec, or an array of all h numbers."""
    if form == "arrays":
        whole = np.zeros(h, np.float32)
        whole[some.columns] = some.weights
        return "{" + ",".join([f"{one:.9g}" for one in whole.tolist()]) + "}"
    return _sparse(some.columns.tolist(), some.weights.tolist(), h)


def upload(
    index: Index,
    place: str,
    payload: Mapping[str, Any] | None = None,
    zero_rows: str = "stop",
    batch: int = PIECE,
    progress: bool = True,
    form: str = "auto",
    approximate: bool = False,
) -> None:
    """Make the rows of a table those of the index in its space, with columns of `payload` beside them.

    Again after `add` and `remove`, only rows that changed are written; what was interrupted goes on. A batch is one
    transaction; searches meanwhile see some. `payload` has one value a row, in the order of `index.ids`, of one kind:
    numbers, texts, bytes, dates or None; its columns are always those of the first upload.

    Of the two `form`s, 'pgvector' needs the extension, which is made where it can be, and 'arrays' nothing; 'auto' is
    the first where it serves (h to 16,000). `approximate` adds pgvector's graph, which later uploads keep up to date.

    Raises:
        InputError: rows that `stored` refuses, ids or payload that PostgreSQL does not hold, payload of another length
            or of other columns than there are, vectors of another model, space or form, no pgvector, too many nonzeros
            for it, no psycopg.
        FolderError: another table of that name.
        BusyError: another process uploads into it.
        OSError: the server does not answer, or gives no rights; the same again goes on.
    """
    check_range("batch", batch, 1, 2**24)
    check_choice("form", form, FORMS)
    payload, made = uploaded.checked_payload(payload, len(index)), uploaded.made_by(index)
    tables.check_names(payload)
    if approximate and (form == "arrays" or index.codes.k > LINKED):
        raise InputError(
            f"approximate is pgvector's graph, of rows of {LINKED:,} nonzeros at most, not of form {form!r} and "
            f"k={index.codes.k:,}: leave it out, and searches scan"
        )
    address, name = tables.parsed(place)
    with tables.connected(address) as connection, tables.locked(connection, name):
        wanted = (made, index.weights.h, tables.type_of(index.ids))
        table = tables.prepared(connection, name, form, wanted, payload)
        if approximate and table.form == "arrays":
            raise InputError(f"approximate: {name} has form 'arrays', which has no graph; leave it out")
        into = _Into(connection, tables.quoted(name), table, list(payload))
        into.begin()
        with progress_bar(len(index), "upload", shown=progress) as bar:
            for some in stored(index, zero_rows, batch):
                with connection.transaction():
                    _put(into, some, payload)
                bar.update(len(some))
        into.end(f"{name.split('.')[-1]}_hnsw" if approximate else None)


class Engine:
    """A table that `upload` wrote, opened for queries of one space.

    Raises:
        InputError: vectors of another model or space; no psycopg.
        FolderError: no such table, or another's.
        OSError: the server does not answer, or gives no rights.
    """

    def __init__(self, place: str, expander: Expander) -> None:
        self._address, self.name = tables.parsed(place)
        self.expander, self._using = expander, threading.Lock()
        self._connection: Any = None
        self._process = os.getpid()
        with self._reading():
            pass

    def close(self) -> None:
        """End the connection; a later search makes another one."""
        with self._using:
            if self._connection is not None:
                self._connection.close()

    def search(
        self,
        queries: Any,
        top: int = 10,
        where: str | None = None,
        terms: int | None = None,
        rescored: int | None = None,
        ef: int | None = None,
    ) -> Answers:
        """The best rows of each query, ties by rising id; `where` is a condition of SQL on the payload.

        All rows are scored with all terms of u. With `terms`, the best `rescored` (default: 500, or `top` if that is
        more) by so many of the largest are scored again with all of u, in a tenth of the time. With `ef`, up to 1,000,
        rows come from the graph of an upload that was `approximate`: the greater, the more of the best are found.

        Raises:
            InputError: queries that `Expander.expand` refuses, `terms` out of range, `rescored` below `top` or without
                `terms`, an `ef` below the rows wanted or of a table without graph, more terms than pgvector takes, a
                condition that PostgreSQL refuses.
            OSError: the server does not answer.
        """
        uploaded.check_where(where)
        u = uploaded.expanded(self.expander, queries, top)
        rescored = terms_of.check_both(terms, rescored, top)
        wholes = terms_of.largest(u)
        parts = wholes if terms is None else terms_of.largest(u, terms)
        psycopg = tables.driver()
        refused = psycopg.ProgrammingError, psycopg.DataError, psycopg.NotSupportedError
        with self._reading() as (connection, table):
            if table.form == "arrays":
                uploaded.check_whole("PostgreSQL without pgvector", terms, None)
            elif most := [len(one.columns) for one in wholes if len(one.columns) > tables.MOST]:
                raise InputError(
                    f"a query has {most[0]:,} terms, and pgvector takes {tables.MOST:,}: upload with form='arrays', or "
                    "search in 'sparse'"
                )
            if ef is not None:
                self._approximate(connection, table, ef, top if terms is None else rescored)
            text = statement(tables.quoted(self.name), where, table.form, terms is not None, ef is not None)
            found: list[list[tuple[Any, float]]] = []
            for whole, part in zip(wholes, parts, strict=True):
                given = {"u": text_of(whole, table.h, table.form), "top": top}
                if terms is not None:
                    given |= {"part": text_of(part, table.h), "rescored": rescored}
                try:
                    pairs = connection.execute(text, given).fetchall() if len(whole.columns) else []
                except refused as error:
                    raise InputError(f"PostgreSQL refused the query, where={where!r}: {error!s:.600}") from None
                found.append([(int(one) if table.ids != tables.TEXT else one, score) for one, score in pairs])
        return uploaded.collected(found, len(u), top, u)

    def _approximate(self, connection: Any, table: Table, ef: int, rows: int) -> None:
        check_range("ef", ef, 1, LINKED)
        if ef < rows:
            told = f"ef must be at least the rows wanted of the graph, {rows:,}, not {ef}"
            raise InputError(f"{told}; more than {LINKED:,} are had by a scan, without ef" if rows > LINKED else told)
        there = connection.execute(
            "select count(*) from pg_index where indrelid = to_regclass(%s) and indisvalid "
            "and pg_get_indexdef(indexrelid) like '%%sparsevec_ip_ops%%'",
            (tables.quoted(self.name),),
        ).fetchone()[0]
        if table.form == "arrays" or not there:
            raise InputError(f"{self.name} has no graph for ef: upload with approximate=True, or leave ef out")
        connection.execute(f"set local hnsw.ef_search = {int(ef)}")
        connection.execute("set local hnsw.iterative_scan = strict_order")  # else a filter leaves few of the ef rows

    @contextlib.contextmanager
    def _reading(self) -> Iterator[tuple[Any, Table]]:
        """The table in one state, whatever is uploaded meanwhile."""
        with self._using, tables.refusals(self.name):
            connection = self._connected()
            with connection.transaction():
                table = tables.read(connection, self.name)
                uploaded.check_expander(self.name, table.made_by, self.expander)
                yield connection, table

    def _connected(self) -> Any:
        """The connection, made anew where it broke."""
        psycopg = tables.driver()
        if self._process != os.getpid():  # forked: the connection is the other process's
            self._connection, self._process = None, os.getpid()
        if self._connection is not None and not self._connection.closed:
            try:
                self._connection.execute("select")
                self._connection.rollback()
                return self._connection
            except psycopg.OperationalError:
                if not self._connection.closed:
                    raise
        self._connection = tables.connect(self._address)
        self._connection.read_only = True
        self._connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        return self._connection


class _Into(NamedTuple):
    """A table that is filled, by two temporary ones: of all ids and digests, and of the rows that are to be written."""

    connection: Any
    name: str  # as SQL
    table: Table
    payload: list[str]

    @property
    def columns(self) -> str:
        return ", ".join(f'"{one}"' for one in (*self.table.own, *self.payload))

    def begin(self) -> None:
        """Make the temporary tables."""
        self.connection.execute(
            f"create temp table {WANTED} (id {self.table.ids} primary key, digest bigint, place bigint)"
        )
        like = f"select {self.columns} from {self.name} limit 0"
        self.connection.execute(f"create temp table {STAGING} on commit delete rows as {like}")

    def changed(self, first: int) -> list[int]:
        """Places, from the first on, of rows that are not there as they are wanted."""
        found = self.connection.execute(
            f"select w.place from {WANTED} as w left join {self.name} as t on t.id = w.id "
            "where w.place >= %s and t.digest is distinct from w.digest order by w.place",
            (first,),
        )
        return [place for (place,) in found.fetchall()]

    def merge(self) -> None:
        """Write the rows that were staged."""
        new = ", ".join(f'"{one}" = excluded."{one}"' for one in (*self.table.own[1:], *self.payload))
        rows = f"select {self.columns} from {STAGING}"
        self.connection.execute(f"insert into {self.name} ({self.columns}) {rows} on conflict (id) do update set {new}")

    def end(self, graph: str | None) -> None:
        """Take out what is gone, and make the graph of that name."""
        still = f"select from {WANTED} as w where w.id = t.id"
        self.connection.execute(f"delete from {self.name} as t where not exists ({still})")
        if graph is not None:
            of = f"{self.name} using hnsw (v sparsevec_ip_ops)"
            self.connection.execute(f"create index if not exists {tables.quoted(graph)} on {of}")
        self.connection.execute(f"analyze {self.name}")


def _put(into: _Into, some: Stored, payload: dict[str, Any]) -> None:
    """Rows that are not there as they are now."""
    ids = [uploaded.plain(one) for one in some.ids]
    places = some.places.tolist()
    beside = [[uploaded.plain(values[place]) for values in payload.values()] for place in places]
    digests = [_digest(some, i, beside[i]) for i in range(len(some))]
    cursor = into.connection.cursor()
    with _held(into.name, ids), cursor.copy(f"copy {WANTED} from stdin") as copy:
        for row in zip(ids, digests, places, strict=True):
            copy.write_row(row)
    sent = np.searchsorted(some.places, into.changed(places[0])).tolist()
    if not sent:
        return
    starts, columns, values = some.starts.tolist(), some.columns.tolist(), some.values.tolist()
    with _held(into.name, ids):
        with cursor.copy(f"copy {STAGING} ({into.columns}) from stdin") as copy:
            for i in sent:
                here = slice(starts[i], starts[i + 1])
                vector = _vector(columns[here], values[here], into.table)
                copy.write_row((ids[i], digests[i], *vector, *beside[i]))
        into.merge()


@contextlib.contextmanager
def _held(name: str, ids: list[Any]) -> Iterator[None]:
    """What is no text for PostgreSQL, or of another type than the column, as our error."""
    psycopg = tables.driver()
    try:
        yield
    except (UnicodeEncodeError, psycopg.DataError, psycopg.ProgrammingError) as error:
        raise InputError(
            f"{name} cannot hold an id or payload of the rows from id {ids[0]!r:.60} to {ids[-1]!r:.60}: {error!s:.400}"
        ) from None


def _digest(some: Stored, i: int, beside: list[Any]) -> int:
    here = slice(some.starts[i], some.starts[i + 1])
    blob = some.columns[here].tobytes() + some.values[here].tobytes() + repr(beside).encode("utf-8", "surrogatepass")
    return xxhash.xxh3_64_intdigest(blob) - 2**63  # PostgreSQL has no unsigned numbers


def _vector(columns: list[int], values: list[float], table: Table) -> tuple[str, ...]:
    if table.form == "pgvector":
        return (_sparse(columns, values, table.h),)
    numbers = ",".join([str(column + 1) for column in columns]), ",".join([f"{value:.9g}" for value in values])
    return f"{{{numbers[0]}}}", f"{{{numbers[1]}}}"


def _sparse(columns: list[int], values: list[float], h: int) -> str:
    pairs = ",".join([f"{column + 1}:{value:.9g}" for column, value in zip(columns, values, strict=True)])
    return f"{{{pairs}}}/{h}"
