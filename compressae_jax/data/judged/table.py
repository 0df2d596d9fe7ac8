"""Tables of judgements: columns for query, item and grade, as BEIR names them, as our own datasets do, or plainly."""

from pathlib import Path

from compressae_jax.data import tables
from compressae_jax.data.judged.judged import Judged, of_pairs
from compressae_jax.data.tables import Table

QUERY = ("query", "query_id", "query-id", "qid")
ITEM = ("item", "item_id", "doc_id", "corpus-id", "docno")
GRADE = ("grade", "score", "relevance", "label", "rel")
BY_ROW = ("query_row", "doc_row")  # of our own datasets: row numbers


def read(path: Path) -> Judged:
    """The judgements of a .csv, .tsv or .parquet."""
    return of_table(tables.of_file(path))


def of_table(table: Table) -> Judged:
    """The judgements of a table.

    Raises:
        InputError: a column that is not there, or two of them, and as `of_pairs`.
    """
    by_row = set(BY_ROW) <= set(table.names)
    query, item = BY_ROW if by_row else (table.pick("query", QUERY), table.pick("item", ITEM))
    grade = table.pick("grade", GRADE)
    return of_pairs(table.name, table.column(query), table.column(item), table.column(grade), by_row)
