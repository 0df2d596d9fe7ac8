"""What an engine found by a part of the query, or by positive numbers alone, ranked anew by the exact scores."""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float, Int

from compressae_jax.codes.ids import TextIds
from compressae_jax.notation import Expanded, InputError, check_range
from compressae_jax.retrieval.found import NOTHING, Found
from compressae_jax.retrieval.index import Index


def rescored(index: Index, u: Expanded, ids: Any, top: int) -> Found:
    """The best `top` of each query's candidates, by u and the rows of the index, best first.

    `ids` (q, c), row numbers where the index has no ids; None or -1 in the place of none. An id that the index no
    longer has is left out. Ties go to the lower row number.

    Raises:
        InputError: candidates that are not one row a query.
    """
    check_range("top", top, 1, 2**31 - 1)
    if len(ids) != len(u):
        raise InputError(f"ids must be one row of candidates a query, {len(u)}, not {len(ids)}")
    scores = np.full((len(u), top), -np.inf, np.float32)
    best = np.full((len(u), top), NOTHING, np.int64)
    for i, (one, candidates) in enumerate(zip(u, ids, strict=True)):
        numbers = np.unique(numbers_of(index, candidates))
        numbers = numbers[numbers >= 0]
        if not len(numbers) or not one.any():
            continue
        found = scores_of(index, one, numbers)
        order = np.lexsort((numbers, -found))[:top]
        scores[i, : len(order)], best[i, : len(order)] = found[order], numbers[order]
    names = None
    if index.codes.ids is not None:
        names = np.full(best.shape, None, object)
        names[best >= 0] = np.asarray(index.codes.ids[best[best >= 0]], object)
    return Found(scores, best, names)


def scores_of(index: Index, one: Float[np.ndarray, " h"], numbers: Int[np.ndarray, " c"]) -> Float[np.ndarray, " c"]:
    """The exact scores of some rows, by their numbers, for one expanded query."""
    rows = index.codes[numbers]
    part = rows.reader(index.space, len(rows))(slice(0, len(rows)))
    return (np.asarray(part.values, np.float32) * one[part.columns]).sum(axis=1) * part.row_scales


def numbers_of(index: Index, ids: Any) -> Int[np.ndarray, " c"]:
    """The row numbers of one query's answers, in their order; -1 in the place of none, and of an id that is gone."""
    ids = list(ids)
    named = index.codes.ids
    minus_one_names = named is not None and not isinstance(named, TextIds)  # a row that is called so
    there = np.array([one is not None and (minus_one_names or not is_minus_one(one)) for one in ids], bool)
    numbers = np.full(len(ids), NOTHING, np.int64)
    if there.any():
        numbers[there] = index.where([one for one, given in zip(ids, there, strict=True) if given])
    return numbers


def is_minus_one(one: Any) -> bool:
    """Whether an answer is -1, which stands for none unless a row is called so."""
    return isinstance(one, (int, np.integer)) and int(one) == NOTHING
