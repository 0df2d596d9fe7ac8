"""Judgements and purchases that a config names, placed on the rows of its source; None where it names none."""

from typing import Any, NamedTuple

import ml_collections
import numpy as np
import scipy.sparse
import xxhash
from jaxtyping import Float, Int

from compressae_jax import data
from compressae_jax.data import purchases as purchases_of
from compressae_jax.data.judged import open_judgements
from compressae_jax.data.sources import Source
from compressae_jax.evaluation import judging, placed
from compressae_jax.evaluation.placed import Bought, Placed, Side
from compressae_jax.notation import InputError

IDS = "name them by config.data.ids or ids_column"
QUERY_IDS = "name them by config.evaluation.query_ids or query_ids_column"


class Asked(NamedTuple):
    """Queries that people judged: where their vectors lie, what they want, and the rows that they are themselves."""

    queries: Source
    placed: Placed
    own_rows: Int[np.ndarray, " judged"] | None

    def vectors(self) -> Float[np.ndarray, "judged d"]:
        """Of the judged queries."""
        return judging.vectors(self.queries, self.placed)


def judgements(config: ml_collections.ConfigDict, source: Source) -> Asked | None:
    """Those of `config.evaluation.judgements`; without queries of their own they are of the rows themselves.

    Raises:
        InputError: judgements or queries that cannot be read, that are of others than the rows, or of another width;
            queries or ids without judgements.
    """
    wanted = config.evaluation
    split, unknown, ids, column = wanted.split, wanted.unknown, wanted.query_ids, wanted.query_ids_column
    if not wanted.judgements:
        for name, value in (("queries", wanted.queries), ("query_ids", ids), ("query_ids_column", column)):
            if value:
                raise InputError(f"evaluation.{name} is of judgements; give evaluation.judgements, too")
        return None
    judged = open_judgements(wanted.judgements, split)
    items = _rows(source)
    if not wanted.queries:
        if ids or column:
            raise InputError("evaluation.query_ids are of evaluation.queries; rows of the source have the source's ids")
        where = placed.place(judged, items._replace(what="queries"), items, unknown)
        return Asked(source, where, where.queries)
    queries = data.open_source(wanted.queries, ids_column=column, ids=ids)
    if queries.width != source.width:
        raise InputError(f"evaluation.queries have width {queries.width}, the vectors {source.width}")
    asked = placed.side("queries", queries.ids, len(queries), QUERY_IDS)
    return Asked(queries, placed.place(judged, asked, items, unknown), None)


def purchases(config: ml_collections.ConfigDict, source: Source) -> Bought | None:
    """Those of `config.evaluation.purchases`, a table.

    Raises:
        InputError: a table that cannot be read or split, or that is of others than the rows.
    """
    wanted = config.evaluation
    split, columns, unknown = wanted.purchase_split, tuple(wanted.purchase_columns), wanted.unknown
    if not wanted.purchases:
        return None
    return placed.of_purchases(purchases_of.read(wanted.purchases, split, columns), _rows(source), unknown)


def digest(config: ml_collections.ConfigDict, source: Source) -> dict[str, Any]:
    """What of both decides scores, for who asks whether they are still the same."""
    asked, bought = judgements(config, source), purchases(config, source)
    parts: dict[str, Any] = {}
    if asked is not None:
        parts["judgements"] = _hash(asked.placed.wanted, asked.placed.queries)
        parts["queries"] = {name: one for name, one in asked.queries.identity().items() if name != "modified"}
    if bought is not None:
        parts["purchases"] = [_hash(bought.train), _hash(bought.test)]
    return parts


def _rows(source: Source) -> Side:
    return placed.side("items", source.ids, len(source), IDS)


def _hash(matrix: scipy.sparse.csr_matrix, *others: np.ndarray) -> str:
    running = xxhash.xxh3_128()
    for one in (matrix.indptr, matrix.indices, matrix.data, *others):
        running.update(np.ascontiguousarray(one, np.int64))
    return running.hexdigest()
