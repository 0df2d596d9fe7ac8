"""The texts that people know items by, one a row, read from a file; what is said with them is in `words`."""

from __future__ import annotations

import gzip
import json
import os
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from compressae_jax.codes.ids import Ids, TextIds
from compressae_jax.data import tables
from compressae_jax.notation import InputError
from compressae_jax.serving import payload

TABLES = (".parquet", ".csv", ".tsv")
LONGEST = 240  # characters of a text that are shown
HIDDEN = {code: " " for code in (*range(0x20), *range(0x7F, 0xA0))}  # which move a cursor and say nothing


def read(path: str | os.PathLike, ids: Ids | None, n: int, text: str = "text", named: str | None = None) -> list[str]:
    """The text of each of n rows, in their order.

    `.txt`: one a line. `.jsonl`: an object a line, its `text` (or `title`). `.parquet`, `.csv`, `.tsv`: the column
    `text`. All but tables also as `.gz`. Where rows have `ids` and the file the field or column `named` (default: 'id',
    if it is there), texts are looked up by it, and may be more than the rows; otherwise they are in the order of the
    rows.

    Raises:
        InputError: no such file, a damaged one, no such column, a number of texts that is not that of the rows, a row
            whose id the file lacks, an id that it has twice; a column of ids that was asked for and is not there.
    """
    if named is not None and ids is None:
        raise InputError(f"texts cannot be looked up by {named!r}: the rows have no ids")
    by = named or "id"
    path = Path(os.path.expanduser(os.fspath(path)))
    endings = [ending.lower() for ending in path.suffixes]
    if endings[-1:] and endings[-1] in TABLES:
        whole = payload.table(path, by)
        if text not in whole:
            raise InputError(f"{path} has no column {text!r}; it has {', '.join(whole) or 'none'}")
        found, keys = whole[text], whole.get(by)
    elif ".jsonl" in endings:
        found, keys = _of_objects(path, text, by)
    else:
        found, keys = _lines(path), None
    if keys is None and named is not None:
        raise InputError(f"{path} has no {named!r}, by which texts would be looked up")
    if keys is not None and ids is not None:
        return _looked_up(path, found, keys, ids)
    if len(found) != n:
        raise InputError(f"{path} has {len(found):,} texts, and there are {n:,} rows, which want one each")
    return [str("" if one is None else one) for one in found]


def shown(texts: Sequence[str]) -> list[str]:
    """Texts as they can be shown: on one line, without what is invisible, cut where they are long."""
    return [_shown(one) for one in texts]


def _shown(text: str) -> str:
    # A lone surrogate, of a file's name that is no UTF-8, is no letter that a page could hold.
    text = text[: 8 * LONGEST].encode("utf-8", "replace").decode("utf-8")
    text = " ".join(text.translate(HIDDEN).split())
    return text if len(text) <= LONGEST else text[: LONGEST - 1].rstrip() + "…"


def _looked_up(path: Path, found: Sequence[Any], keys: Sequence[Any], ids: Ids) -> list[str]:
    kind: Any = str if isinstance(ids, TextIds) else int
    places: dict[Any, int] = {}
    for place, key in enumerate(keys):
        try:
            one = kind(key)
        except (TypeError, ValueError):
            raise InputError(f"{path}: the id {key!r:.60} is no integer, as those of the rows are") from None
        if one in places:
            raise InputError(f"{path} has the id {one!r:.60} twice")
        places[one] = place
    wanted = [kind(one) for one in ids]
    if (missing := next((one for one in wanted if one not in places), None)) is not None:
        raise InputError(f"{path} has no text of the id {missing!r:.60}, which a row has")
    return [str("" if found[places[one]] is None else found[places[one]]) for one in wanted]


def _of_objects(path: Path, text: str, named: str) -> tuple[list[Any], list[Any] | None]:
    found: list[Any] = []
    keys: list[Any] = []
    for number, line in enumerate(_lines(path), 1):
        try:
            fields = json.loads(line)
            found.append(fields[text] if text in fields else fields["title"])
        except (ValueError, KeyError, TypeError, RecursionError):
            raise InputError(f"{path}, line {number}: must be an object with {text!r}, not {line[:60]!r}") from None
        if named in fields:
            keys.append(fields[named])
    if keys and len(keys) < len(found):
        raise InputError(f"{path}: {len(found) - len(keys):,} of {len(found):,} lines have no {named!r}, the others do")
    return found, keys or None


def _lines(path: Path) -> list[str]:
    """The lines of a text; a line may end as on Windows, the last one needs no end."""
    with tables.opened(path) as file:
        content = file.read()
    try:
        content = gzip.decompress(content) if path.suffix.lower() == ".gz" else content
        decoded = content.decode("utf-8-sig")
    except (gzip.BadGzipFile, zlib.error, EOFError) as error:
        raise InputError(f"{path} is not a whole .gz: {error}") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{path} must be UTF-8, but byte {error.start} is {error.object[error.start]:#x}") from None
    lines = decoded.split("\n")  # texts may hold what else can end a line
    return [line.removesuffix("\r") for line in (lines if lines[-1] else lines[:-1])]
