"""Elasticsearch and OpenSearch: files for their bulk interface, bodies of searches, and a client that sends both.

Their inverted index (Lucene's features) knows positive numbers of 9 bits. So signs are 2h columns, a query has its
positive side alone, by its largest terms, and the best few hundred rows are scored again by the index at the client.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import re
import secrets
import sqlite3
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import xxhash

from compressae_jax.base import files
from compressae_jax.base.progress import bar as progress_bar
from compressae_jax.codes.ids import TextIds
from compressae_jax.notation import BusyError, FolderError, InputError, check_choice, check_range
from compressae_jax.retrieval.index import Index
from compressae_jax.serving import elasticsearch_http as http
from compressae_jax.serving import rescoring, signs, uploaded
from compressae_jax.serving import terms as terms_of
from compressae_jax.serving.stored import Stored, stored
from compressae_jax.serving.uploaded import Answers, MadeBy

FORMAT_VERSION = 1
MAPPING, STATE = "mapping.json", "state.sqlite"
FIELD, META = "code", "compressae"  # of a document, of a mapping's _meta
FIELDS = ("rank_features", "sparse_vector")  # both engines have the first one
PIECE = 2**12  # rows a file: some megabytes, where servers take 100
CLAUSES = 1024  # of a query: terms, at most
WINDOW = 10_000  # rows of an answer, at most
LONGEST_ID = 512  # bytes
HEAVIEST = 64.0  # weight of a term
SMALLEST = np.finfo(np.float32).tiny  # a normal number
REMEDY = "upload the index again"

SCHEMA = f"""
begin;
create table made_by (version integer, fingerprint text, encoder text, kind text, similarity text, field text,
    ids text, columns text, folder text);
create table sent (id text primary key, digest text not null) without rowid;
create table bulk (number integer primary key, name text not null);
pragma application_id = {0x43535245};
"""


def upload(
    index: Index,
    folder: str | os.PathLike,
    payload: Mapping[str, Any] | None = None,
    zero_rows: str = "stop",
    batch: int = PIECE,
    progress: bool = True,
    field: str = "rank_features",
    url: str | None = None,
) -> None:
    """Write files that make the documents of a server those of the index in its space; with `url`, `send` them, too.

    `mapping.json` is the body that makes the server's index; `bulk-000001.ndjson` and so on are bodies of its _bulk, to
    be sent in the order of their names; to send all of them again does no harm. Again after `add` and `remove`, another
    file follows with what changed since, deletions of what is gone at its end; what was interrupted goes on. A file
    that was sent may be removed, but `state.sqlite` must stay. `payload` has one value a row, in the order of
    `index.ids`: numbers, texts, moments, booleans or None; its columns are always those of the first upload. `field` is
    the type of the codes: 'rank_features', or 'sparse_vector' of Elasticsearch alone.

    Raises:
        InputError: rows that `stored` refuses, ids that are empty or beyond 512 bytes, payload of another length, of
            mixed kinds or of other columns than there are, vectors of another model or space; what a server refuses.
        FolderError: something else stands at that name.
        BusyError: another process writes it.
        OSError: the server does not answer.
    """
    check_range("batch", batch, 1, 2**24)
    check_choice("field", field, FIELDS)
    payload = uploaded.checked_payload(payload, len(index))
    kinds = {name: _kind(name, values) for name, values in payload.items()}
    folder, made = files.check_out(folder), uploaded.made_by(index)
    with files.locked(folder):
        _check_ours(folder)
        ids = "texts" if isinstance(index.ids, TextIds) else "numbers"
        with contextlib.closing(_state(folder)) as state:
            _prepare(state, folder, made, field, ids, kinds)
            state.execute("create temp table wanted (id text primary key) without rowid")
            with progress_bar(len(index), "upload", shown=progress) as bar:
                for some in stored(index, zero_rows, batch):
                    _write(state, folder, _changed(state, some, payload))
                    bar.update(len(some))
            gone = state.execute("select id from sent where id not in (select id from wanted) order by id").fetchall()
            for start in range(0, len(gone), batch):
                _write(state, folder, [(one, None, "") for (one,) in gone[start : start + batch]])
    if url is not None:
        send(folder, url, progress)


def send(folder: str | os.PathLike, url: str, progress: bool = True) -> None:
    """Send a server what it lacks of the files that `upload` wrote; `url` names its index: http://localhost:9200/items.

    How far it has come is kept in the mapping there, so that a file is sent once and what was interrupted goes on.

    Raises:
        InputError: an index there that holds other vectors, or was sent from another folder; what the server refuses.
        FolderError: a folder that `upload` did not write, or a file that is gone and was not sent.
        OSError: the server does not answer.
    """
    folder = Path(os.path.expanduser(os.fspath(folder)))
    if not (folder / STATE).is_file():
        raise FolderError(f"{folder} is no folder that was uploaded to; {REMEDY}")
    place, mapping = http.Place(url), json.loads((folder / MAPPING).read_text(encoding="utf-8"))
    mine = mapping["mappings"]["_meta"][META]
    with files.locked(folder), contextlib.closing(_state(folder)) as state:
        bulk = state.execute("select number, name from bulk order by number").fetchall()
        there = place.meta(META)
        if there is None:
            place.asked("PUT", "", mapping)
            there = {**mine, "sent": 0}
        uploaded.check_same(place.name, _made_by(there), _made_by(mine))
        if there["folder"] != mine["folder"]:
            raise InputError(f"{place.name} was sent from another folder; send from that one, or choose another name")
        properties = mapping["mappings"]["properties"]
        place.asked("PUT", "/_mapping", {"properties": properties, "_meta": {META: {**mine, "sent": there["sent"]}}})
        with progress_bar(len(bulk), "send", unit="files", done=min(there["sent"], len(bulk)), shown=progress) as bar:
            for number, name in bulk:
                if number <= there["sent"]:
                    continue
                try:
                    content = (folder / name).read_bytes()
                except FileNotFoundError:
                    raise FolderError(f"{folder / name} is gone, and {place.name} has not got it") from None
                place.bulk(content, name)
                place.asked("PUT", "/_mapping", {"_meta": {META: {**mine, "sent": number}}})
                bar.update(1)
        place.asked("POST", "/_refresh")


def body(
    part: terms_of.Terms, size: int, where: Any = None, field: str = "rank_features", clauses: int = CLAUSES
) -> dict[str, Any]:
    """The body of a search for the best `size` rows by the positive side of some terms of u.

    `where` is a filter in the engines' form, as an object or a list of them. Nothing is pruned, `_id` is all that comes
    back. Scores are of that part alone: `rescoring.rescored` ranks what is found.

    Raises:
        InputError: more terms than `clauses`, a `size` beyond what an answer holds.
    """
    check_range("size", size, 1, WINDOW)
    check_range(f"terms of a query (the limit is the server's {_LIMIT})", len(part.columns), 1, clauses)
    columns, weights = signs.split_query(part.columns, np.asarray(part.weights, np.float64), signed=False)
    weights = weights * (HEAVIEST / weights.max())  # which changes no rank
    pairs = [(str(c), float(w)) for c, w in zip(columns.tolist(), weights.tolist(), strict=True) if w >= SMALLEST]
    query: dict[str, Any] = {"bool": {}}
    if field == "sparse_vector":
        query["bool"]["must"] = [{field: {"field": FIELD, "query_vector": dict(pairs), "prune": False}}]
    else:
        features = [{"rank_feature": {"field": f"{FIELD}.{c}", "linear": {}, "boost": w}} for c, w in pairs]
        query["bool"] |= {"should": features, "minimum_should_match": 1}
    if where is not None:
        query["bool"]["filter"] = where if isinstance(where, list) else [where]
    return {"size": int(size), "_source": False, "track_total_hits": False, "query": query}


_LIMIT = "indices.query.bool.max_clause_count"


class Engine:
    """An index of a server that `send` filled, opened for queries in the space of an index of ours.

    Unlike other engines' it needs the index, by whose rows answers are scored again: one that has ids since removed or
    changed leaves them out, or ranks them as they are now.

    Raises:
        InputError: vectors of another model or space, an url that is none.
        FolderError: no such index there, or one of somebody else's.
        OSError: the server does not answer.
    """

    def __init__(self, url: str, index: Index) -> None:
        self.place, self.index = http.Place(url), index
        self._field, self._numbers = "", False
        self._look()

    def search(
        self,
        queries: Any,
        top: int = 10,
        where: Any = None,
        terms: int | None = None,
        rescored: int | None = None,
    ) -> Answers:
        """The best rows of each query; `where` is a filter in the engines' form: {"range": {"price": {"lt": 50}}}.

        The best `rescored` (default: 500, or `top` if that is more) by the positive side of the `terms` largest
        (default: 256) of u are scored again with all of u. Who has no column of these terms with the same sign cannot
        be found, so answers may be short.

        Raises:
            InputError: queries that `Expander.expand` refuses, `terms` out of range, `rescored` below `top`, what the
                server refuses.
            OSError: the server does not answer, or only in part.
        """
        u = uploaded.expanded(self.index.expander, queries, top, WINDOW)
        rescored = max(top, terms_of.RESCORED) if rescored is None else rescored
        terms_of.check_rescored(rescored, top)
        check_range("rescored", rescored, 1, WINDOW)
        terms = min(terms_of.TERMS, u.shape[1]) if terms is None else terms
        check_range(f"terms (the limit is the server's {_LIMIT})", terms, 1, min(CLAUSES, u.shape[1]))
        self._look()
        candidates: list[list[Any]] = []
        for part in terms_of.largest(u, terms):
            found = self.place.found(body(part, rescored, where, self._field)) if len(part.columns) else []
            candidates.append(self._ids(found))
        best = rescoring.rescored(self.index, u, candidates, top)
        if best.ids is not None:
            return Answers(best.scores, best.ids)
        names = np.full(best.rows.shape, None, object)
        names[best.rows >= 0] = best.rows[best.rows >= 0]
        return Answers(best.scores, names)

    def _ids(self, names: list[str]) -> list[Any]:
        """Names of documents as ids of ours."""
        try:
            return [int(one) for one in names] if self._numbers else names
        except ValueError:
            raise FolderError(
                f"{self.place.name} has documents that `send` did not bring; choose another name"
            ) from None

    def _look(self) -> None:
        """See that what is there is what the expander is for."""
        there = self.place.meta(META)
        if there is None:
            raise FolderError(f"{self.place.name}: there is no such index; upload it with url={self.place.name}")
        uploaded.check_expander(self.place.name, _made_by(there), self.index.expander)
        self._field, self._numbers = there["field"], there["ids"] == "numbers"


def _made_by(fields: Mapping[str, Any]) -> MadeBy:
    return MadeBy(*(str(fields.get(name)) for name in MadeBy._fields))


def _kind(name: str, values: Any) -> str | None:
    """The engines' type of a column of payload, None of one without a value."""
    if name == FIELD or name.startswith("_") or "." in name:
        raise InputError(
            f"payload: {name!r} is no name for a field: one without a dot, a leading _, other than {FIELD}"
        )
    found = {_type(_checked(name, uploaded.plain(one))) for one in values} - {type(None)}
    if not found:
        return None
    for types, kind in _TYPES:
        if found <= types:
            return kind
    told = ", ".join(sorted(one.__name__ for one in found))
    raise InputError(f"payload: {name!r} must be numbers, texts, moments, booleans or None, of one kind, not {told}")


_TYPES: tuple[tuple[set[type], str], ...] = (
    ({bool}, "boolean"),
    ({int}, "long"),
    ({int, float}, "double"),
    ({str}, "keyword"),
    ({datetime.date}, "date"),
)


def _type(one: Any) -> type:
    return datetime.date if isinstance(one, datetime.date) else type(one)


def _check_ours(folder: Path) -> None:
    if not folder.is_dir():
        return
    there = [path.name for path in folder.iterdir() if not path.name.startswith((files.PREFIX, STATE))]
    foreign = sorted(name for name in there if name != MAPPING and not _NAME.fullmatch(name))
    if foreign or (there and not (folder / STATE).is_file()):
        raise FolderError(f"{folder} holds other files ({', '.join((foreign or there)[:3])}); choose another name")


_NAME = re.compile(r"bulk-\d{6,}\.ndjson")


def _state(folder: Path) -> sqlite3.Connection:
    folder.mkdir(exist_ok=True)
    return sqlite3.connect(folder / STATE, isolation_level=None)  # transactions are ours


def _prepare(
    state: sqlite3.Connection, folder: Path, made: MadeBy, field: str, ids: str, kinds: dict[str, str | None]
) -> None:
    """A new state, or the one of what is there, once it is seen to be the like; and what a kill left is put right."""
    try:
        if not state.execute("select count(*) from sqlite_master").fetchone()[0]:
            state.executescript(SCHEMA)
            row = (FORMAT_VERSION, *made, field, ids, json.dumps(kinds), secrets.token_hex(8))
            state.execute("insert into made_by values (?, ?, ?, ?, ?, ?, ?, ?, ?)", row)
            state.execute("commit")
        version, *there, old_field, old_ids, columns, name = state.execute("select * from made_by").fetchone()
    except (sqlite3.DatabaseError, TypeError, ValueError) as error:
        raise FolderError(f"{folder / STATE} is damaged: {error}; {REMEDY}, into another folder") from None
    if version > FORMAT_VERSION:
        raise FolderError(f"{folder} has format version {version}, this program reads up to {FORMAT_VERSION}")
    uploaded.check_same(str(folder), MadeBy(*there), made)
    if old_field != field or old_ids != ids:
        raise InputError(
            f"{folder} has field {old_field!r} and ids that are {old_ids}, not {field!r} and {ids}; choose another name"
        )
    kinds = _joined(folder, json.loads(columns), kinds)
    state.execute("update made_by set columns = ?", (json.dumps(kinds),))
    meta = {**made._asdict(), "field": field, "ids": ids, "folder": name, "sent": 0}
    properties = {FIELD: {"type": field}} | {column: {"type": kind} for column, kind in kinds.items() if kind}
    mapping = {"mappings": {"dynamic": "strict", "_meta": {META: meta}, "properties": properties}}
    files.write_bytes(folder / MAPPING, (json.dumps(mapping, indent=1) + "\n").encode())
    known = {name for (name,) in state.execute("select name from bulk")}
    for path in folder.glob(f"{files.PREFIX}bulk-*"):
        final = path.name.removeprefix(files.PREFIX)
        path.replace(folder / final) if final in known else path.unlink()


def _joined(folder: Path, before: dict[str, str | None], given: dict[str, str | None]) -> dict[str, str | None]:
    """The types that are known; a server keeps the first one, and cuts 1.5 to 1 where that has whole numbers."""
    if list(before) != list(given):
        raise InputError(f"payload must have the columns that {folder} has, {list(before)}, not {list(given)}")
    for name, kind in given.items():
        if kind and before[name] not in (None, kind) and (before[name], kind) != ("double", "long"):
            raise InputError(f"payload: {name!r} must be {before[name]}, as {folder} has it, not {kind}")
    return {name: before[name] or kind for name, kind in given.items()}


def _changed(state: sqlite3.Connection, some: Stored, payload: dict[str, Any]) -> Iterator[tuple[str, str | None, str]]:
    """Id, digest and document of the rows that were not sent as they are now."""
    columns, values = signs.split(some.columns, some.values)
    if len(values) and values.min() < SMALLEST:
        row = int(np.searchsorted(some.starts, values.argmin(), "right")) - 1
        raise InputError(
            f"the row of id {uploaded.plain(some.ids[row])!r:.60} has a value below {SMALLEST}, which Lucene does not "
            "hold: multiply all vectors with one number, which changes no order"
        )
    texts = [f'"{c}":{v:.9g}' for c, v in zip(columns.tolist(), values.tolist(), strict=True)]
    for i, place in enumerate(some.places.tolist()):
        name = _document_id(uploaded.plain(some.ids[i]))
        state.execute("insert or ignore into wanted values (?)", (name,))
        beside = {column: uploaded.plain(values[place]) for column, values in payload.items()}
        beside = {column: value for column, value in beside.items() if value is not None}
        more = json.dumps(beside, allow_nan=False, default=lambda one: one.isoformat())[1:-1]
        code = ",".join(texts[some.starts[i] : some.starts[i + 1]])
        document = f'{{"{FIELD}":{{{code}}}{", " + more if more else ""}}}'
        digest = xxhash.xxh3_128_hexdigest(document.encode())
        there = state.execute("select digest from sent where id = ?", (name,)).fetchone()
        if there is None or there[0] != digest:
            yield name, digest, document


def _document_id(one: Any) -> str:
    name = str(one)
    try:
        size = len(name.encode())
    except UnicodeEncodeError:
        raise InputError(f"ids must be texts in UTF-8, not {name!r:.60}") from None
    if not 1 <= size <= LONGEST_ID:
        raise InputError(
            f"the id {name!r:.60} has {size} bytes, a document's has 1 to {LONGEST_ID}: name rows by numbers, and "
            "carry the texts along as payload"
        )
    return name


def _checked(column: str, one: Any) -> Any:
    """A value of payload that JSON and the engines hold."""
    if one != one or (isinstance(one, float) and not np.isfinite(one)):
        raise InputError(f"payload: {column!r} has {one}, which JSON does not hold; None stands for no value")
    if isinstance(one, int) and not -(2**63) <= one < 2**63:
        raise InputError(f"payload: {column!r} has {one}, integers have 64 bits, with a sign")
    if isinstance(one, str):
        try:
            one.encode()
        except UnicodeEncodeError:
            raise InputError(f"payload: {column!r} must have texts in UTF-8, not {one!r:.60}") from None
    return one


def _write(state: sqlite3.Connection, folder: Path, changes: Any) -> None:
    """One more file of what changed, None a deletion; none of no change.

    It takes its name after the state says that it is there, and `_prepare` sees to it if a kill comes between.
    """
    state.execute("begin")
    try:
        lines = []
        for name, digest, document in changes:
            action = "index" if digest else "delete"
            lines.append(f'{{"{action}":{{"_id":{json.dumps(name)}}}}}\n{document}\n' if digest else "")
            if digest:
                state.execute("insert or replace into sent values (?, ?)", (name, digest))
            else:
                lines[-1] = f'{{"{action}":{{"_id":{json.dumps(name)}}}}}\n'
                state.execute("delete from sent where id = ?", (name,))
        if lines:
            last = state.execute("select max(number) from bulk").fetchone()[0] or 0
            final = f"bulk-{last + 1:06d}.ndjson"
            aside = folder / f"{files.PREFIX}{final}"
            aside.write_bytes("".join(lines).encode())
            files.sync(aside)
            state.execute("insert into bulk values (?, ?)", (last + 1, final))
        state.execute("commit")
    except BaseException as error:
        state.execute("rollback")
        if isinstance(error, sqlite3.OperationalError):
            raise BusyError(f"{folder / STATE}: {error}") from None
        raise
    if lines:
        aside.replace(folder / final)
        files.sync(folder)
