"""A part of an expanded query: its largest terms, for engines whose time goes by the terms of a query.

Alone they lose a fifth of the answers and more; with the best `RESCORED` rows scored again with all of u it is a few
in a thousand. So no engine takes the one without the other.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Integer

from compressae_jax.notation import Expanded, InputError, check_range

TERMS, RESCORED = 256, 500  # of a query; rows that are scored again


class Terms(NamedTuple):
    """Nonzeros of one query, columns rising."""

    columns: Integer[np.ndarray, " m"]
    weights: Float[np.ndarray, " m"]


def largest(u: Expanded, terms: int | None = None) -> list[Terms]:
    """The `terms` largest magnitudes of each query, ties to the lower column; all that are not zero of None.

    Raises:
        InputError: `terms` below 1 or above h.
    """
    h = u.shape[1]
    check_range("terms", h if terms is None else terms, 1, h)
    found = []
    for one in np.asarray(u, np.float32):
        columns = np.flatnonzero(one)
        if terms is not None and terms < len(columns):
            columns = np.sort(columns[np.argsort(-np.abs(one[columns]), kind="stable")[:terms]])
        found.append(Terms(columns, one[columns]))
    return found


def check_rescored(rescored: int, top: int) -> None:
    """Raise InputError unless at least `top` rows are scored again."""
    if isinstance(rescored, bool) or not isinstance(rescored, (int, np.integer)) or rescored < top:
        raise InputError(f"rescored must be an integer of at least top={top}, not {rescored!r}")


def check_both(terms: int | None, rescored: int | None, top: int) -> int:
    """How many rows are scored again, for engines that ask all terms where none are named.

    Raises:
        InputError: `rescored` without `terms`, or below `top`.
    """
    if terms is None and rescored is not None:
        raise InputError("rescored is for answers by a part of the query: name terms, too, or leave it out")
    rescored = max(top, RESCORED) if rescored is None else rescored
    check_rescored(rescored, top)
    return rescored
