"""What an engine stores of the rows of an index: sparse vectors values × ρ, whose inner products with u are the scores.

The spaces 'reconstructed' and 'dense_query' have the same ρ, so one stored vector serves both; 'sparse' has its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Int32, Int64

from compressae_jax.codes.ids import Ids
from compressae_jax.codes.rows import Rows
from compressae_jax.notation import InputError, check_choice
from compressae_jax.retrieval.index import Index

ZERO_ROWS = ("stop", "drop")
PIECE = 2**14  # rows at once


class Stored(NamedTuple):
    """Some rows as CSR: those of row i at `starts[i]:starts[i + 1]`, columns rising, no zero, none twice, all finite.

    `ids` name them, row numbers where the index has no ids; `places` are theirs among the rows that are there, in the
    order of `index.ids`.
    """

    ids: Ids
    places: Int64[np.ndarray, " m"]
    starts: Int64[np.ndarray, " m_and_1"]
    columns: Int32[np.ndarray, " nonzeros"]
    values: Float32[np.ndarray, " nonzeros"]

    def __len__(self) -> int:
        return len(self.starts) - 1


def kind(space: str) -> str:
    """What is stored for a space, by name: 'sparse', or 'reconstructed' for the two that share it."""
    return "sparse" if space == "sparse" else "reconstructed"


def stored(index: Index, zero_rows: str = "stop", size: int = PIECE) -> Iterator[Stored]:
    """The rows that are there, in the space of the index (`index.in_space` gives others), some at a time.

    A row without a nonzero, whose score is 0 with any query, cannot be had from an engine: 'drop' leaves it out.

    Raises:
        InputError: a number that is not finite, a column twice in a row or outside h; a row without a nonzero, under
            zero_rows='stop'.
    """
    check_choice("zero_rows", zero_rows, ZERO_ROWS)
    first = 0
    for numbers, rows in index.pieces(size):
        ids = numbers if rows.ids is None else rows.ids
        some = _of_rows(ids, np.arange(first, first + len(rows)), rows, index.space)
        first += len(rows)
        used = np.diff(some.starts) > 0
        if used.all():
            yield some
        elif zero_rows == "stop":
            raise InputError(
                f"the row of id {_plain(ids[int(used.argmin())])!r} has no nonzero, which no engine can find; "
                "zero_rows='drop' leaves such rows out"
            )
        elif used.any():
            starts = np.append(some.starts[:-1][used], some.starts[-1])
            yield Stored(ids[used], some.places[used], starts, some.columns, some.values)


def _of_rows(ids: Ids, places: Int64[np.ndarray, " m"], rows: Rows, space: str) -> Stored:
    values, columns, scales = rows.reader(space, len(rows))(slice(0, len(rows)))
    with np.errstate(over="ignore", invalid="ignore"):
        values = np.asarray(values, np.float32) * np.asarray(scales, np.float32)[:, None]
    if not (finite := np.isfinite(values).all(axis=1)).all():
        raise InputError(f"the row of id {_plain(ids[int(finite.argmin())])!r} has a number that is not finite")
    used = values != 0
    columns = np.where(used, np.asarray(columns, np.int64), rows.h)  # what is not used stands behind
    order = np.argsort(columns, axis=1, kind="stable")
    columns = np.take_along_axis(columns, order, axis=1)
    twice = ((columns[:, 1:] == columns[:, :-1]) & (columns[:, 1:] < rows.h)).any(axis=1)
    if twice.any():
        raise InputError(f"the row of id {_plain(ids[int(twice.argmax())])!r} has a column twice")
    there = columns < rows.h
    starts = np.zeros(len(rows) + 1, np.int64)
    np.cumsum(used.sum(axis=1), out=starts[1:])
    return Stored(
        ids, places, starts, columns[there].astype(np.int32), np.take_along_axis(values, order, axis=1)[there]
    )


def _plain(one: object) -> object:
    return one.item() if isinstance(one, np.generic) else one
