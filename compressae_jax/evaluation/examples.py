"""A few held-out items with their nearest neighbours by name, before and after compression."""

from collections.abc import Sequence

import numpy as np

from compressae_jax.evaluation.contenders import Contender
from compressae_jax.evaluation.protocols import Neighbours

ITEMS, NEAREST = 3, 5


def neighbour_examples(
    names: Sequence[str], protocol: Neighbours, contenders: Sequence[Contender], nearest: int = NEAREST
) -> list[dict]:
    """Some held-out items, evenly spread: {'item': name, 'neighbours': {contender: [names, nearest first]}}."""
    nearest = min(nearest, len(protocol.corpus))
    chosen = np.unique(np.linspace(0, len(protocol.queries) - 1, ITEMS + 2)[1:-1].astype(int))
    found = {c.name: c.search(protocol.corpus, protocol.queries[chosen], nearest)[1] for c in contenders}
    return [
        {
            "item": names[protocol.query_rows[item]],
            "neighbours": {name: _names(names, protocol, rows[i]) for name, rows in found.items()},
        }
        for i, item in enumerate(chosen)
    ]


def _names(names: Sequence[str], protocol: Neighbours, rows: np.ndarray) -> list[str]:
    return [names[row] for row in protocol.corpus.rows[rows[rows >= 0]]]
