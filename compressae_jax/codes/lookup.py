"""Rows by their ids: a binary search of sorted integers, or of sorted hashes of texts, which are then compared."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from jaxtyping import Int, Shaped

from compressae_jax.codes.ids import Ids, TextIds, as_ids
from compressae_jax.notation import InputError


class Lookup:
    """Where ids stand; it takes 16 bytes an id, made at the first question."""

    def __init__(self, ids: Ids) -> None:
        self._ids = ids

    def find(self, asked: Ids) -> tuple[Int[np.ndarray, " m"], Int[np.ndarray, " m"]]:
        """Which of the asked ids are here, and at which rows, by rising place; an id that stands twice is there twice.

        `asked` are of the kind of the ids: see `of_kind`.
        """
        keys, order = self._sorted
        wanted = _keys(asked)
        first, end = np.searchsorted(keys, wanted, "left"), np.searchsorted(keys, wanted, "right")
        counts = end - first
        which = np.repeat(np.arange(len(wanted)), counts)
        rows = order[np.arange(len(which)) + np.repeat(first - (np.cumsum(counts) - counts), counts)]
        if isinstance(self._ids, TextIds) and isinstance(asked, TextIds):
            kept = _same(self._ids, rows, asked, which)
            which, rows = which[kept], rows[kept]
        return which, rows

    def repeated(self) -> tuple[int, int] | None:
        """Two rows of one id, the first such pair of the sorted ids; None where every id is alone."""
        keys, order = self._sorted
        equal = np.flatnonzero(keys[1:] == keys[:-1])
        if not isinstance(self._ids, TextIds):
            return (int(order[equal[0]]), int(order[equal[0] + 1])) if len(equal) else None
        seen: dict[str, int] = {}
        for row in np.unique(np.concatenate([order[equal], order[equal + 1]])).tolist():
            text = self._ids[row]
            if seen.setdefault(text, row) != row:
                return seen[text], row
        return None

    @functools.cached_property
    def _sorted(self) -> tuple[Shaped[np.ndarray, " n"], Int[np.ndarray, " n"]]:
        keys = _keys(self._ids)
        order = np.argsort(keys, kind="stable")
        return keys[order], order


def check_unique(ids: Ids) -> None:
    """Raise InputError for an id that two rows bear; the message names it and them."""
    if pair := Lookup(ids).repeated():
        raise InputError(f"ids must be unique: rows {pair[0]} and {pair[1]} are both {ids[pair[0]]!r}")


def of_kind(asked: Any, like: Ids, argument: str = "ids") -> tuple[Int[np.ndarray, " m"], Ids]:
    """What is asked in the kind of other ids, and the places of it; numbers that this kind does not have are left out.

    Raises:
        InputError: texts where ids are integers, or the reverse, or neither.
    """
    if not isinstance(asked, (np.ndarray, TextIds)):
        asked = asked.to_numpy() if hasattr(asked, "to_numpy") else list(asked)
    if not len(asked):
        return np.empty(0, np.int64), like[:0]
    given = as_ids(asked, len(asked))
    if isinstance(given, TextIds) != isinstance(like, TextIds):
        kinds = "texts, not integers" if isinstance(like, TextIds) else "integers, not texts"
        raise InputError(f"{argument} must be of the kind that the index has: {kinds}")
    if isinstance(given, TextIds) or isinstance(like, TextIds) or given.dtype == like.dtype:
        return np.arange(len(given)), given
    fits = np.flatnonzero(given <= np.iinfo(np.int64).max if given.dtype == np.uint64 else given >= 0)
    return fits, given[fits].astype(like.dtype)


def _keys(ids: Ids) -> Shaped[np.ndarray, " n"]:
    if not isinstance(ids, TextIds):
        return np.asarray(ids)
    from compressae_jax.codes import id_kernels

    ids.files.check()
    keys = np.empty(len(ids), np.uint64)
    id_kernels.hashes(_plain(ids.offsets), _plain(ids.utf8), keys)
    return keys


def _same(ids: TextIds, rows: np.ndarray, others: TextIds, other_rows: np.ndarray) -> np.ndarray:
    from compressae_jax.codes import id_kernels

    kept = np.empty(len(rows), np.bool_)
    texts, other_texts = (_plain(ids.offsets), _plain(ids.utf8)), (_plain(others.offsets), _plain(others.utf8))
    id_kernels.same(*texts, rows, *other_texts, other_rows, kept)
    return kept


def _plain(array: np.ndarray) -> np.ndarray:
    """A view that loops are compiled once for, of memory maps and of arrays."""
    view = np.ascontiguousarray(array).view()
    view.flags.writeable = False
    return view
