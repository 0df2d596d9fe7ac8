"""ClickHouse in this process (chdb) over the files of `parquet`, and the text for servers (extra `[clickhouse]`).

Exact in all spaces, every query a scan. On servers the same text asks a Distributed table, which shards and merges.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import numpy as np

from compressae_jax.notation import InputError
from compressae_jax.retrieval.queries import Expander
from compressae_jax.serving import parquet, uploaded
from compressae_jax.serving.uploaded import Answers

ATTEMPTS = 5  # at a whole answer
LONGEST_QUERY = 2**30  # bytes of a statement, which holds u


def statement(table: str, u: np.ndarray, top: int, where: str | None = None) -> str:
    """The query as text, for a table or a table function with `id`, `columns` (from 1) and `vals`."""
    only = f" where ({where})" if where else ""
    numbers = ",".join(map(repr, np.asarray(u, np.float32).tolist()))
    score = "arrayDotProduct(vals, arrayMap(c -> u[c], columns))"
    return (
        f"with [{numbers}]::Array(Float32) as u select id, {score} as score from {table}{only} "
        f"order by score desc, id limit {top}"
    )


class Engine:
    """A folder that `parquet.upload` wrote, opened for queries of one space.

    Raises:
        InputError: vectors of another model or space; no chdb; a path with letters that ClickHouse takes for a pattern.
        FolderError: no such folder, or a damaged one.
    """

    def __init__(self, folder: str | os.PathLike, expander: Expander) -> None:
        self._session: Any = uploaded.engine("chdb.session", "chdb", "clickhouse").Session()
        self.folder, self.expander = os.fspath(folder), expander
        uploaded.check_expander(self.folder, parquet.read(folder).made_by, expander)
        whole = os.fspath(Path(os.path.expanduser(self.folder)).resolve())
        if re.search(r"[*?{}'\\\n]", whole):
            raise InputError(f"folder {whole!r} has a letter that ClickHouse takes for a pattern; choose another name")
        self._session.query(f"set max_query_size = {LONGEST_QUERY}")

    def search(
        self,
        queries: Any,
        top: int = 10,
        where: str | None = None,
        terms: int | None = None,
        rescored: int | None = None,
    ) -> Answers:
        """The best rows of each query, ties by rising id; `where` is a condition of SQL on the payload.

        What an upload has changed since is seen by the next search.

        Raises:
            InputError: queries that `Expander.expand` refuses, `terms` or `rescored`, what ClickHouse refuses.
        """
        uploaded.check_whole("ClickHouse", terms, rescored)
        uploaded.check_where(where)
        u = uploaded.expanded(self.expander, queries, top)
        while True:
            table = parquet.read(self.folder)
            uploaded.check_expander(self.folder, table.made_by, self.expander)
            if not table.rows:
                return uploaded.collected([], len(u), top, u)
            try:
                found = [self._asked(_files(table), one, top, where) for one in u]
            except InputError:
                if parquet.read(self.folder) == table:
                    raise
                continue  # an upload took files away
            # Of several files ClickHouse passes over those that are gone, without a word.
            if all(path.exists() for path in table.files):
                return uploaded.collected(found, len(u), top, u)

    def _asked(self, files: str, one: np.ndarray, top: int, where: str | None) -> list[tuple[Any, float]]:
        text, broken = statement(files, one, top, where), 0
        while True:
            try:
                found = self._session.query(text, "ArrowTable")
                break
            except ValueError as error:  # an answer that broke off: its file went away, or chdb, which does that rarely
                broken += 1
                if broken == ATTEMPTS:
                    raise InputError(f"ClickHouse gave no whole answer, where={where!r}: {_short(error)}") from None
            except RuntimeError as error:
                raise InputError(f"ClickHouse refused the query, where={where!r}: {_short(error)}") from None
        return list(zip(found["id"].to_pylist(), found["score"].to_pylist(), strict=True))


def _files(table: parquet.Table) -> str:
    names = ",".join(path.name for path in table.files)
    names = f"{{{names}}}" if len(table.files) > 1 else names
    return f"file('{table.files[0].parent}/{names}', Parquet)"


def _short(error: Exception) -> str:
    """Without the numbers of u."""
    return re.sub(r"\[[^\]]{200,}\]", "[…]", str(error))[:600]
