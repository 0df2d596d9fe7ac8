"""SQLite, which every Python has: rows by column in one file, for some ten thousand rows and no installation.

A query reads the rows of its columns: in 'sparse' few. In the accurate spaces u has all columns, so the best rows by
its largest terms are scored again with all of them. A row without a column of these terms cannot be found, so answers
may be short.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import xxhash

from compressae_jax.base import files
from compressae_jax.base.progress import bar as progress_bar
from compressae_jax.notation import BusyError, FolderError, InputError, check_range
from compressae_jax.retrieval.index import Index
from compressae_jax.retrieval.queries import Expander
from compressae_jax.serving import terms as terms_of
from compressae_jax.serving import uploaded
from compressae_jax.serving.stored import Stored, stored
from compressae_jax.serving.uploaded import Answers, MadeBy

APPLICATION = 0x43535131  # of a file that is ours, and its format
PIECE = 2**12  # rows a transaction
WAIT = 60  # seconds for another connection's transaction
SUFFIXES = (".sqlite", ".db")
REMEDY = "upload the index again"

SCHEMA = """
create table made_by (fingerprint text, encoder text, kind text, similarity text);
create table items (item integer primary key, id unique not null, digest text not null, columns blob not null,
    vals blob not null{payload});
create table postings (col integer, item integer, val real, primary key (col, item)) without rowid;
"""


def statement(where: str | None = None) -> str:
    """The query as text; table `temp.u (col, weight)` are the terms of u, `:top` the rows wanted."""
    only = f" where p.item in (select item from items where ({where}))" if where else ""
    return (
        "select p.item, sum(p.val * u.weight) as score from temp.u cross join postings as p on p.col = u.col"
        f"{only} group by p.item order by score desc, p.item limit :top"
    )


def upload(
    index: Index,
    path: str | os.PathLike,
    payload: Mapping[str, Any] | None = None,
    zero_rows: str = "stop",
    batch: int = PIECE,
    progress: bool = True,
) -> None:
    """Make the rows of a .sqlite file those of the index in its space, with columns of `payload` beside them.

    Again after `add` and `remove`, only rows that changed are written; what was interrupted goes on. A batch is written
    whole or not at all; searches meanwhile see some. `payload` has one value a row, in the order of `index.ids`:
    numbers, texts, bytes or None; its columns are always those of the first upload.

    Raises:
        InputError: rows that `stored` refuses, ids beyond 64 signed bits, payload of another length or of other columns
            than there are, vectors of another model or space.
        FolderError: another file stands at that name.
        BusyError: another process uploads into it, or reads it for a minute.
    """
    check_range("batch", batch, 1, 2**24)
    payload = uploaded.checked_payload(payload, len(index))
    if taken := [name for name in payload if name.lower() in ("item", "digest")]:
        raise InputError(f"payload: {taken[0]!r} is the name of a column that every table has")
    path, made = files.check_out(path, SUFFIXES, folder=False), uploaded.made_by(index)
    with files.locked(path), _refusals(path), contextlib.closing(_connect(path)) as connection:
        _prepare(connection, path, made, payload)
        connection.execute("create temp table wanted (id primary key) without rowid")
        with progress_bar(len(index), "upload", shown=progress) as bar:
            for some in stored(index, zero_rows, batch):
                with _transaction(connection):
                    _put(connection, some, payload)
                bar.update(len(some))
        with _transaction(connection):
            gone = connection.execute("select item from items where id not in (select id from wanted)").fetchall()
            for (item,) in gone:
                _take_out(connection, item)


class Engine:
    """A file that `upload` wrote, opened for queries of one space.

    Raises:
        InputError: vectors of another model or space.
        FolderError: no such file, or another one.
    """

    def __init__(self, path: str | os.PathLike, expander: Expander) -> None:
        self.path, self.expander = Path(os.path.expanduser(os.fspath(path))), expander
        with self._opened() as connection:
            uploaded.check_expander(os.fspath(path), _made_by(connection, self.path), expander)

    def search(
        self,
        queries: Any,
        top: int = 10,
        where: str | None = None,
        terms: int | None = None,
        rescored: int | None = None,
    ) -> Answers:
        """The best rows of each query; `where` is a condition of SQL on the payload.

        The best `rescored` (default: 500, or `top` if that is more) by the `terms` largest (default: 256) of u are
        scored again with all of u. Where a query has no more terms than that, as in 'sparse', answers are exact.

        Raises:
            InputError: queries that `Expander.expand` refuses, `terms` out of range, `rescored` below `top`, a
                condition that SQLite refuses.
        """
        uploaded.check_where(where)
        u = uploaded.expanded(self.expander, queries, top)
        rescored = max(top, terms_of.RESCORED) if rescored is None else rescored
        terms_of.check_rescored(rescored, top)
        parts = terms_of.largest(u, min(terms_of.TERMS, u.shape[1]) if terms is None else terms)
        with self._opened() as connection:
            connection.execute("create temp table u (col integer primary key, weight real)")
            found = [self._asked(connection, *pair, top, where, rescored) for pair in zip(u, parts, strict=True)]
        return uploaded.collected(found, len(u), top, u)

    def _asked(
        self,
        connection: sqlite3.Connection,
        one: np.ndarray,
        part: terms_of.Terms,
        top: int,
        where: str | None,
        rescored: int,
    ) -> list[tuple[Any, float]]:
        connection.execute("delete from temp.u")
        pairs = zip(part.columns.tolist(), part.weights.tolist(), strict=True)
        connection.executemany("insert into temp.u values (?, ?)", pairs)
        try:
            candidates = connection.execute(statement(where), {"top": rescored}).fetchall()
        except sqlite3.Error as error:
            raise InputError(f"SQLite refused the query, where={where!r}: {error}") from None
        scored = []
        for item, _ in candidates:
            name, columns, vals = connection.execute(
                "select id, columns, vals from items where item = ?", (item,)
            ).fetchone()
            score = float(np.frombuffer(vals, "<f4") @ one[np.frombuffer(columns, "<i4")])
            scored.append((name, score, item))
        scored.sort(key=lambda row: (-row[1], row[2]))
        return [(name, score) for name, score, _ in scored[:top]]

    @contextlib.contextmanager
    def _opened(self) -> Iterator[sqlite3.Connection]:
        """A connection in one state of the file, whatever is uploaded meanwhile."""
        if not self.path.is_file():
            raise FolderError(f"{self.path} is no file; {REMEDY}")
        with _refusals(self.path), contextlib.closing(_connect(self.path)) as connection:
            _made_by(connection, self.path)
            with _transaction(connection):
                yield connection


def _connect(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(path, timeout=WAIT, isolation_level=None)  # transactions are ours


@contextlib.contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    connection.execute("begin")
    try:
        yield
        connection.execute("commit")
    except BaseException:
        connection.execute("rollback")
        raise


@contextlib.contextmanager
def _refusals(path: Path) -> Iterator[None]:
    """What SQLite says of a file that is none of its, or damaged, as our error."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # those of Python's own have none
        if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            raise BusyError(f"{path} is held by another process for more than {WAIT} s: {error}") from None
        if code in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_READONLY):
            raise OSError(f"{path}: {error}") from None  # no fault of the file
        raise FolderError(f"{path}: {error}; {REMEDY}, under another name if this file is not ours") from None


def _made_by(connection: sqlite3.Connection, path: Path) -> MadeBy:
    if connection.execute("pragma application_id").fetchone()[0] != APPLICATION:
        raise FolderError(f"{path} holds something else; choose another name")
    return MadeBy(*connection.execute("select * from made_by").fetchone())


def _prepare(connection: sqlite3.Connection, path: Path, made: MadeBy, payload: dict[str, Any]) -> None:
    """Tables, where the file is new; else see that it holds the like."""
    if not connection.execute("select count(*) from sqlite_master").fetchone()[0]:
        more = "".join(f', "{name}"' for name in payload)
        script = f"begin; {SCHEMA.format(payload=more)} pragma application_id = {APPLICATION};"
        connection.executescript(script)
        connection.execute("insert into made_by values (?, ?, ?, ?)", made)
        connection.execute("commit")
        return
    uploaded.check_same(str(path), _made_by(connection, path), made)
    there = [row[1] for row in connection.execute("pragma table_info(items)")][5:]
    if there != list(payload):
        raise InputError(f"payload must have the columns that {path} has, {there}, not {list(payload)}")


def _put(connection: sqlite3.Connection, some: Stored, payload: dict[str, Any]) -> None:
    """Rows that are not there as they are now."""
    beside = [[uploaded.plain(values[place]) for values in payload.values()] for place in some.places.tolist()]
    marks = ", ".join("?" * (4 + len(payload)))
    names = "".join(f', "{name}"' for name in payload)
    for i, one in enumerate(some.ids):
        name, here = uploaded.plain(one), slice(some.starts[i], some.starts[i + 1])
        columns, vals = some.columns[here], some.values[here]
        blobs = columns.astype("<i4").tobytes(), vals.astype("<f4").tobytes()
        digest = xxhash.xxh3_128_hexdigest(b"".join([*blobs, repr(beside[i]).encode("utf-8", "surrogatepass")]))
        try:
            connection.execute("insert or ignore into wanted values (?)", (name,))
            there = connection.execute("select item, digest from items where id = ?", (name,)).fetchone()
            if there is not None and there[1] == digest:
                continue
            if there is not None:
                _take_out(connection, there[0])
            row = (name, digest, *blobs, *beside[i])
            done = connection.execute(f"insert into items (id, digest, columns, vals{names}) values ({marks})", row)
        except (OverflowError, UnicodeEncodeError, sqlite3.InterfaceError, sqlite3.ProgrammingError) as error:
            raise InputError(f"SQLite cannot hold id {name!r:.60} or its payload {beside[i]!r:.200}: {error}") from None
        rows = zip(columns.tolist(), [done.lastrowid] * len(columns), vals.tolist(), strict=True)
        connection.executemany("insert into postings values (?, ?, ?)", rows)


def _take_out(connection: sqlite3.Connection, item: int) -> None:
    (columns,) = connection.execute("select columns from items where item = ?", (item,)).fetchone()
    pairs = [(column, item) for column in np.frombuffer(columns, "<i4").tolist()]
    connection.executemany("delete from postings where col = ? and item = ?", pairs)
    connection.execute("delete from items where item = ?", (item,))
