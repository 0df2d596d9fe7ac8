"""DuckDB over the files of `parquet`: exact in all spaces, no server, every query a scan (extra `[duckdb]`)."""

from __future__ import annotations

import os
from typing import Any

from compressae_jax.notation import InputError
from compressae_jax.retrieval.queries import Expander
from compressae_jax.serving import parquet, uploaded
from compressae_jax.serving.uploaded import Answers


def statement(table: str, where: str | None = None) -> str:
    """The query as text, for a table or what stands for one; `$u` are the h numbers of u, `$top` the rows wanted."""
    only = f" where ({where})" if where else ""
    score = "list_inner_product(vals, list_select($u::float[], columns))"
    return f"select id, {score} as score from {table}{only} order by score desc, id limit $top"


class Engine:
    """A folder that `parquet.upload` wrote, opened for queries of one space.

    Raises:
        InputError: vectors of another model or space; no duckdb.
        FolderError: no such folder, or a damaged one.
    """

    def __init__(self, folder: str | os.PathLike, expander: Expander) -> None:
        self._duckdb = uploaded.engine("duckdb", "DuckDB", "duckdb")
        self.folder, self.expander = os.fspath(folder), expander
        uploaded.check_expander(self.folder, parquet.read(folder).made_by, expander)
        self._connection = self._duckdb.connect()

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
            InputError: queries that `Expander.expand` refuses, `terms` or `rescored`, a condition that DuckDB refuses.
        """
        uploaded.check_whole("DuckDB", terms, rescored)
        uploaded.check_where(where)
        u = uploaded.expanded(self.expander, queries, top)
        table = parquet.read(self.folder)
        uploaded.check_expander(self.folder, table.made_by, self.expander)
        if not table.rows:
            return uploaded.collected([], len(u), top, u)
        text = statement("read_parquet($files)", where)
        named = {"files": [str(path) for path in table.files], "top": top}
        cursor = self._connection.cursor()  # of this thread
        try:
            found = [cursor.execute(text, {**named, "u": one.tolist()}).fetchall() for one in u]
        except self._duckdb.IOException:
            if parquet.read(self.folder) == table:
                raise
            return self.search(queries, top, where)  # an upload took the files away
        except (self._duckdb.ProgrammingError, self._duckdb.DataError) as error:
            raise InputError(f"DuckDB refused the query, where={where!r}: {error}") from None
        return uploaded.collected(found, len(u), top, u)
