"""Tables of PostgreSQL that hold an index's rows, as `postgres` fills and searches them: addresses, types, owners."""

from __future__ import annotations

import contextlib
import datetime
import json
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from compressae_jax.codes.ids import TextIds
from compressae_jax.notation import BusyError, FolderError, InputError
from compressae_jax.serving import uploaded
from compressae_jax.serving.uploaded import MadeBy

FORMAT_VERSION = 1
VECTORS = {"pgvector": {"v": "sparsevec({h})"}, "arrays": {"columns": "integer[]", "vals": "real[]"}}
MOST = 16_000  # nonzeros that pgvector holds
WAIT = 10  # seconds for another upload into the table
NAME = 63  # bytes of a name, which would be cut in silence
TEXT = 'text collate "C"'
KINDS = {
    bool: "boolean",
    int: "bigint",
    float: "double precision",
    str: "text",
    bytes: "bytea",
    datetime.date: "date",
    datetime.datetime: "timestamp without time zone",
}
WIDER = {("bigint", "double precision"), ("bigint", "numeric")}  # types that hold the first one's values, too
REMEDY = "upload the index again"
_NAME = re.compile(r"([A-Za-z_][A-Za-z0-9_]{0,49}\.)?[A-Za-z_][A-Za-z0-9_]{0,49}")


class Table(NamedTuple):
    """What the comment of a table of ours says."""

    made_by: MadeBy
    h: int
    ids: str  # their type
    form: str  # 'pgvector' or 'arrays'

    @property
    def own(self) -> tuple[str, ...]:
        """Its columns that are no payload."""
        return ("id", "digest", *VECTORS[self.form])


def parsed(place: str) -> tuple[str, str]:
    """Address and table."""
    address, _, name = str(place).rpartition("#")
    if not address.startswith(("postgresql://", "postgres://")) or not _NAME.fullmatch(name):
        raise InputError(
            "a place in PostgreSQL must be an address, # and a name of a table of at most 50 letters, digits and _, as "
            f"postgresql://me@host/shop#items, not {hidden(str(place))!r}"
        )
    return address, name


def hidden(place: str) -> str:
    """Without a password."""
    return re.sub(r"(://[^/@:]*):[^/@]*@", r"\1:…@", place)


def driver() -> Any:
    """The module psycopg; raises InputError where it is not installed."""
    return uploaded.engine("psycopg", "psycopg", "postgres")


def quoted(name: str) -> str:
    """A table's name as SQL."""
    return ".".join(f'"{part}"' for part in name.split("."))


def connect(address: str) -> Any:
    """A new connection, whose statements are never kept prepared: plans go by their numbers."""
    return driver().connect(address, prepare_threshold=None)


@contextlib.contextmanager
def connected(address: str) -> Iterator[Any]:
    """A connection whose statements are transactions of their own, unless they are put into one."""
    with refusals(hidden(address)), contextlib.closing(connect(address)) as connection:
        connection.autocommit = True
        yield connection


@contextlib.contextmanager
def locked(connection: Any, name: str) -> Iterator[None]:
    """Hold the one lock of a table's name, which ends with the connection."""
    connection.execute(f"set lock_timeout = '{WAIT}s'")
    schema, _, table = name.rpartition(".")
    try:
        connection.execute(
            "select pg_advisory_lock(hashtextextended("
            "concat('compressae_jax ', coalesce(nullif(%s, ''), current_schema()), '.', %s::text), 0))",
            (schema, table),
        )
    except driver().errors.LockNotAvailable:
        raise BusyError(f"{name}: another process has been uploading into it for more than {WAIT} s") from None
    connection.execute("reset lock_timeout")
    yield


@contextlib.contextmanager
def refusals(place: str) -> Iterator[None]:
    """What PostgreSQL, or the way to it, says, as our error."""
    psycopg = driver()
    try:
        yield
    except psycopg.errors.ProgramLimitExceeded as error:
        raise InputError(f"{place}: {error}; ids are texts of at most 2,700 bytes") from None
    except psycopg.errors.InsufficientPrivilege as error:
        raise PermissionError(f"{place}: {error}") from None
    except psycopg.OperationalError as error:
        raise OSError(f"{place}: {error}") from None
    except psycopg.Error as error:
        raise InputError(f"{place}: PostgreSQL refused: {error!s:.600}") from None


def read(connection: Any, name: str) -> Table:
    """What a table is; raises FolderError where it is none of ours."""
    there, comment = connection.execute(
        "select to_regclass(%(name)s) is not null, obj_description(to_regclass(%(name)s), 'pg_class')",
        {"name": quoted(name)},
    ).fetchone()
    if not there:
        raise FolderError(f"{name} is no table of this database; {REMEDY}")
    try:
        fields = json.loads(comment or "")
        made = MadeBy(*(str(fields[field]) for field in MadeBy._fields))
        table = Table(made, int(fields["h"]), str(fields["ids"]), str(fields["form"]))
        if fields["compressae_jax"] != FORMAT_VERSION or table.form not in VECTORS:
            raise FolderError(f"{name} is of a newer version than this program")
        return table
    except (KeyError, TypeError, ValueError) as error:
        if isinstance(error, FolderError):
            raise
        raise FolderError(f"{name} is a table that `postgres.upload` did not make; choose another name") from None


def prepared(connection: Any, name: str, form: str, wanted: tuple[MadeBy, int, str], payload: dict[str, Any]) -> Table:
    """The table, made where it is missing, once it is seen that it holds the like."""
    (there,) = connection.execute("select to_regclass(%s) is not null", (quoted(name),)).fetchone()
    if not there:
        made, h, ids = wanted
        table = Table(made, h, ids, _form(connection, form, h))
        _create(connection, name, table, payload)
        return table
    table = read(connection, name)
    uploaded.check_same(name, table.made_by, wanted[0])
    if table.ids != wanted[2]:
        raise InputError(f"{name} has ids of type {table.ids}, the index {wanted[2]}: choose another name for these")
    if form not in ("auto", table.form):
        raise InputError(f"{name} has form {table.form!r}, not {form!r}: choose another name for that")
    _fit(connection, name, table, payload)
    return table


def _fit(connection: Any, name: str, table: Table, payload: dict[str, Any]) -> None:
    """See that the payload columns that are there can hold these; where one holds nothing yet, it takes their type."""
    found = connection.execute(
        "select attname, format_type(atttypid, atttypmod) from pg_attribute "
        "where attrelid = to_regclass(%s) and attnum > 0 and not attisdropped order by attnum",
        (quoted(name),),
    ).fetchall()
    there = {column: kind for column, kind in found if column not in table.own}
    if list(there) != list(payload):
        raise InputError(f"payload must have the columns that {name} has, {list(there)}, not {list(payload)}")
    for column, values in payload.items():
        kind, has = _kind(column, values), there[column]
        if kind is None or has == kind or (kind, has) in WIDER:
            continue
        empty = f'select not exists (select from {quoted(name)} where "{column}" is not null)'
        if not connection.execute(empty).fetchone()[0]:
            raise InputError(f"payload: {column!r} is {has} in {name}, not {kind}: choose another name for these")
        connection.execute(f'alter table {quoted(name)} alter column "{column}" type {kind} using null')


def _form(connection: Any, form: str, h: int) -> str:
    """Where a new table has its vectors; makes the extension where it is missing and can be had."""
    if form == "arrays" or (form == "auto" and h > MOST):
        return "arrays"
    has = "select to_regtype('sparsevec') is not null"
    if connection.execute(has).fetchone()[0]:
        return "pgvector"
    if connection.execute("select count(*) from pg_available_extensions where name = 'vector'").fetchone()[0]:
        try:
            connection.execute("create extension if not exists vector")
        except driver().errors.InsufficientPrivilege as error:
            raise PermissionError(
                f"{error}: ask for `create extension vector` in this database, or upload with form='arrays'"
            ) from None
        if connection.execute(has).fetchone()[0]:
            return "pgvector"
    if form == "pgvector":
        raise InputError("this database has no pgvector of 0.7 or newer: install it, or upload with form='arrays'")
    return "arrays"


def _create(connection: Any, name: str, table: Table, payload: dict[str, Any]) -> None:
    columns = {"id": f"{table.ids} primary key", "digest": "bigint not null"}
    columns |= {column: kind.format(h=table.h) + " not null" for column, kind in VECTORS[table.form].items()}
    columns |= {column: _kind(column, values) or "text" for column, values in payload.items()}
    whole = ", ".join(f'"{column}" {kind}' for column, kind in columns.items())
    comment = {"compressae_jax": FORMAT_VERSION, **table.made_by._asdict()}
    comment |= {"h": table.h, "ids": table.ids, "form": table.form}
    with connection.transaction():
        connection.execute(f"create table {quoted(name)} ({whole})")
        literal = driver().sql.Literal(json.dumps(comment)).as_string(connection)
        connection.execute(f"comment on table {quoted(name)} is {literal}")


def type_of(ids: Any) -> str:
    """The type of a column of ids, which are row numbers where the index has none."""
    if ids is None:
        return "bigint"
    if isinstance(ids, TextIds) or ids.dtype.kind not in "iu":
        return TEXT
    return "numeric(20)" if ids.dtype == np.uint64 else "bigint"


def _kind(name: str, values: Any) -> str | None:
    """The type of a payload column; None of one that has nothing but None."""
    kinds = {_base(uploaded.plain(one)) for one in values} - {type(None)}
    if not kinds:
        return None
    kind = float if kinds == {int, float} else kinds.pop() if len(kinds) == 1 else None
    if kind not in KINDS:
        raise InputError(
            f"payload: {name!r} must be numbers, texts, bytes, dates or None, all of one kind, not "
            f"{sorted({type(uploaded.plain(one)).__name__ for one in values})}"
        )
    if kind is int and not all(one is None or -(2**63) <= int(one) < 2**63 for one in values):
        return "numeric"
    if kind is datetime.datetime:
        zoned = {uploaded.plain(one).tzinfo is not None for one in values if uploaded.plain(one) is not None}
        if len(zoned) > 1:
            raise InputError(f"payload: {name!r} must be moments with a time zone, or moments without one, not both")
        return "timestamp with time zone" if True in zoned else KINDS[kind]
    return KINDS[kind]


def _base(one: Any) -> type:
    """Which of `KINDS` a value is of, also where its class is a further one, such as a moment of pandas."""
    return next((kind for kind in reversed(KINDS) if isinstance(one, kind) and type(one) is not bool), type(one))


def check_names(payload: dict[str, Any]) -> None:
    """Raise InputError for payload columns that PostgreSQL, or what is ours, cannot name."""
    for name in payload:
        if name.lower() in ("digest", "v") or len(name.encode("utf-8", "replace")) > NAME or "%" in name:
            raise InputError(
                f"payload: a column must have a name of at most {NAME} bytes, without %, other than digest and v, not "
                f"{name!r}"
            )
