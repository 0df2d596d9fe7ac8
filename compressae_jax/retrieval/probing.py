"""How much of the exact answer probes find, measured on an index's own queries, and how many are enough."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from compressae_jax.base import bootstrap
from compressae_jax.base.bootstrap import RESAMPLES, Interval
from compressae_jax.notation import InputError


def recall(
    index: Any, queries: Any, top: int, probes: int | Sequence[int] | None, allow: Any = None
) -> Interval | dict[int, Interval]:
    """See `Index.recall`."""
    u = index.expander.expand(queries)
    if probes is None:
        probes = [2**power for power in range(index.cells.bit_length())]
    several = [probes] if isinstance(probes, int) else list(probes)
    if not several:
        raise InputError("probes must be a number of cells, or several, not an empty list")
    exact = _exact(index, u, top, allow)
    curve = {}
    for some in several:
        shares = _shares(exact, index.search_expanded(u, top, allow=allow, probes=some).rows)
        curve[some] = bootstrap.around(float(shares.mean()), bootstrap.means(shares, RESAMPLES, 0))
    return curve[several[0]] if isinstance(probes, int) else curve


def probes_for(index: Any, queries: Any, wanted: float, top: int, allow: Any = None) -> int:
    """See `Index.probes_for`: by bisection, since more probes find no less."""
    if isinstance(wanted, bool) or not 0 < wanted <= 1:
        raise InputError(f"recall must be above 0 and at most 1, not {wanted!r}")
    u = index.expander.expand(queries)
    below, enough = 0, index.cells
    exact = _exact(index, u, top, allow)
    while enough - below > 1:
        middle = min((below + enough) // 2, 2 * below + 1)  # few are fast
        if _shares(exact, index.search_expanded(u, top, allow=allow, probes=middle).rows).mean() >= wanted:
            enough = middle
        else:
            below = middle
    return enough


def _exact(index: Any, u: Any, top: int, allow: Any) -> Int[np.ndarray, "q r"]:
    """The rows that queries find which find any."""
    if not index.cells:
        raise InputError("recall of probes needs cells, which this index does not hold; index.with_cells() makes some")
    rows = index.search_expanded(u, top, allow=allow).rows
    if not (rows >= 0).any():
        raise InputError("recall needs a query that finds a row")
    return rows


def _shares(exact: Int[np.ndarray, "q r"], found: Int[np.ndarray, "q r"]) -> Float[np.ndarray, " q"]:
    """The share of each query's exact rows that was found; queries without any are left out."""
    pairs = [(set(one[one >= 0].tolist()), other) for one, other in zip(exact, found, strict=True) if one[0] >= 0]
    return np.array([len(one.intersection(other.tolist())) / len(one) for one, other in pairs])
