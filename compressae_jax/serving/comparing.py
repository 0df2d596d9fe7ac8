"""The judge of an engine's answers: our exact search of the same rows."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from compressae_jax.notation import Expanded, InputError
from compressae_jax.retrieval.index import Index
from compressae_jax.serving import rescoring

DEPTHS = (10, 100)
TIE = 1e-5  # how far below our last score, or its share of one above 1, a row's may lie and still be as good


class Compared(NamedTuple):
    """An engine's answers beside ours, by depth: means over the queries that find something.

    `recall`: the share of our best rows that it has among as many. `with_ties`: the same, where a row that scores as
    high as our last one, but for rounding, counts as found. `short`: queries with fewer answers than ours, `unknown`:
    answers that the index does not have.
    """

    recall: dict[int, float]
    with_ties: dict[int, float]
    short: int
    unknown: int


def compare(index: Index, found: Any, queries: Any) -> Compared:
    """Answers `found` to `queries`, ids (q, top) best first with None or -1 for none, or what has such `.ids`.

    Depths are 10 and 100, as far as the answers go; answers of an index without ids are row numbers.

    Raises:
        InputError: answers to another number of queries, or of less than one row.
    """
    given = getattr(found, "ids", found)
    ids = np.asarray(found.rows if given is None else given)
    u = index.expander.expand(queries)
    if ids.ndim != 2 or len(ids) != len(u) or not ids.size:
        raise InputError(f"found must be ids (q, top) of {len(u)} queries, not of shape {ids.shape}")
    top = ids.shape[1]
    ours = index.search_expanded(u, top)
    theirs = np.stack([rescoring.numbers_of(index, one) for one in ids])
    scores = _scores(index, u, theirs)
    answers = theirs >= 0
    unknown = ~answers & ~np.array([[one is None or rescoring.is_minus_one(one) for one in row] for row in ids], bool)
    depths = [depth for depth in DEPTHS if depth <= top] or [top]
    recall, with_ties = {}, {}
    for depth in depths:
        exact, ties = [], []
        for mine, best, its, of_its in zip(ours.rows, ours.scores, theirs, scores, strict=True):
            wanted = mine[:depth][mine[:depth] >= 0]
            if not len(wanted):
                continue
            its, of_its = its[:depth], of_its[:depth]
            _, first = np.unique(its, return_index=True)  # an answer that comes twice counts once
            once = np.zeros(len(its), bool)
            once[first] = True
            once &= its >= 0
            exact.append(np.isin(its[once], wanted).sum() / len(wanted))
            last = best[len(wanted) - 1]
            ties.append(min(1.0, (of_its[once] >= last - TIE * max(1, abs(last))).sum() / len(wanted)))
        recall[depth] = float(np.mean(exact)) if exact else float("nan")
        with_ties[depth] = float(np.mean(ties)) if ties else float("nan")
    short = int(((answers | unknown).sum(axis=1) < (ours.rows >= 0).sum(axis=1)).sum())
    return Compared(recall, with_ties, short, int(unknown.sum()))


def _scores(index: Index, u: Expanded, rows: Int[np.ndarray, "q r"]) -> Float[np.ndarray, "q r"]:
    """The exact score of every answer, -inf of none."""
    scores = np.full(rows.shape, -np.inf, np.float32)
    for one, numbers, out in zip(u, rows, scores, strict=True):
        distinct, places = np.unique(numbers[numbers >= 0], return_inverse=True)
        if len(distinct):
            out[numbers >= 0] = rescoring.scores_of(index, one, distinct)[places]
    return scores
