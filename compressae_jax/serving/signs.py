"""Signed vectors for engines that know no negative number: 2h columns, 2j for positive and 2j + 1 for negative values.

With queries `signed` the scores are those of the signed vectors. An engine that takes no negative query either gets the
positive side alone: products of opposite signs are lost, a tenth of the answers in the accurate spaces, which
`rescoring` some hundred of the best brings back.
"""

import numpy as np
from jaxtyping import Float, Integer


def split(
    columns: Integer[np.ndarray, " m"], values: Float[np.ndarray, " m"]
) -> tuple[Integer[np.ndarray, " m"], Float[np.ndarray, " m"]]:
    """Columns out of 2h and magnitudes, in the order given, of nonzeros of rows."""
    return _sided(columns, values < 0), np.abs(values)


def split_query(
    columns: Integer[np.ndarray, " m"], weights: Float[np.ndarray, " m"], signed: bool
) -> tuple[Integer[np.ndarray, " t"], Float[np.ndarray, " t"]]:
    """Columns out of 2h and weights of a query's terms: two a term, of both signs, or the positive one alone."""
    same, magnitudes = split(columns, weights)
    if not signed:
        return same, magnitudes
    opposite = _sided(columns, weights >= 0)
    return np.stack([same, opposite], axis=-1).reshape(-1), np.stack([magnitudes, -magnitudes], axis=-1).reshape(-1)


def _sided(columns: Integer[np.ndarray, " m"], negative: np.ndarray) -> Integer[np.ndarray, " m"]:
    return 2 * columns.astype(np.int64) + negative
