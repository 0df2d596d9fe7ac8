"""Vectors or rows that come to an index later, made to be of the kind of the rows that are there."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from compressae_jax import compression, data
from compressae_jax.codes import lookup
from compressae_jax.codes.ids import Ids, as_ids
from compressae_jax.codes.rows import Rows, check_made_by
from compressae_jax.codes.storage.kinds import levels_name
from compressae_jax.model.weights import Weights
from compressae_jax.notation import InputError


def rows_like(
    there: Rows,
    weights: Weights,
    encoder: str,
    given: Any,
    ids: Any = None,
    zero_rows: str = "stop",
    progress: bool = False,
) -> Rows:
    """Rows of vectors (n, d), in whatever holds them, or rows of the same model, as `there` are, with norms.

    `ids`, one a row, default to those that come with the rows or the source.

    Raises:
        InputError: vectors that compression would refuse, rows of another model, encoder, storage or similarity, ids
            that are missing or not wanted.
    """
    if isinstance(given, Rows):
        check_made_by(given, weights.fingerprint)
        made = encoder if given.made_by is None else given.made_by.encoder
        if made != encoder:
            raise InputError(f"rows were made by encoder {made!r}, those of the index by {encoder!r}")
        rows = given.check() if ids is None else given.check().with_ids(as_ids(ids, len(given)))
    else:
        rows = _encoded(there, weights, encoder, given, ids, zero_rows, progress)
    rows = rows.prefix(there.k) if rows.k > there.k else rows
    return _named(rows.with_norms(weights.params["decoder_w"]).with_origin(there.made_by), there)


def _encoded(there: Rows, weights: Weights, encoder: str, given: Any, ids: Any, zero_rows: str, progress: bool) -> Rows:
    source = data.open_source(given)
    ids = None if ids is None else as_ids(ids, len(source))
    if ids is not None and source.ids is not None and zero_rows == "drop":
        raise InputError(f"{source.name} has ids of its own, by which the rows left by zero_rows='drop' are told")
    if there.levels is not None:  # rows are joined only with those on the same levels
        weights = dataclasses.replace(
            weights, levels={**weights.levels, levels_name(encoder, there.storage, there.similarity): there.levels}
        )
    kind: dict[str, Any] = {"storage": there.storage, "similarity": there.similarity}
    rows = compression.in_memory(weights, source, encoder=encoder, zero_rows=zero_rows, progress=progress, **kind)
    if zero_rows == "drop" and source.ids is None:
        return rows.with_ids(None if ids is None else ids[np.asarray(rows.ids)])  # rows.ids: the numbers that are left
    return rows if ids is None else rows.with_ids(ids)


def check_names(ids: Ids | None, there: Ids | None) -> None:
    """Raise InputError where only one of the two is: rows of an index have ids all, or none."""
    if there is None and ids is not None:
        raise InputError("the index was made without ids, so its rows go by their numbers; add rows without ids")
    if there is not None and ids is None:
        raise InputError("the rows of the index have ids; give ids=…, one for each row that is added")


def _named(rows: Rows, there: Rows) -> Rows:
    """Rows with ids of the kind of those that are there, or with none."""
    check_names(rows.ids, there.ids)
    if there.ids is None or rows.ids is None:
        return rows
    which, ids = lookup.of_kind(rows.ids, there.ids)
    if len(which) < len(rows):
        lost = int(np.setdiff1d(np.arange(len(rows)), which)[0])
        raise InputError(f"ids must fit {there.ids.dtype}, as those of the index do, not {rows.ids[lost]}")  # type: ignore[union-attr]
    return rows.with_ids(ids)
