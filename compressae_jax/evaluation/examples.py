"""A few held-out items with their nearest neighbours by name, before and after compression."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Int

from compressae_jax.evaluation import streams
from compressae_jax.evaluation.contenders import Contender
from compressae_jax.evaluation.protocols import Neighbours
from compressae_jax.notation import InputError

ITEMS, NEAREST = 3, 5


def neighbour_examples(
    names: Sequence[str],
    protocol: Neighbours,
    contenders: Sequence[Contender],
    wanted: Sequence[str] = (),
    nearest: int = NEAREST,
) -> list[dict]:
    """Items and their neighbours: {'item': name, 'neighbours': {contender: [names, nearest first]}}.

    `wanted` names them (`rows_named`); by default some held-out ones, evenly spread. An item is no neighbour of
    its own.
    """
    spread = np.unique(np.linspace(0, len(protocol.query_rows) - 1, ITEMS + 2)[1:-1].astype(int))
    chosen = rows_named(names, wanted) if wanted else protocol.query_rows[spread]
    vectors = streams.take(protocol.corpus.source, np.sort(chosen))[np.argsort(np.argsort(chosen))]
    top = min(nearest + 1, len(protocol.corpus))
    found = {one.name: protocol.corpus.rows[one.search(protocol.corpus, vectors, top)[1]] for one in contenders}
    return [
        {
            "item": names[row],
            "neighbours": {name: [names[o] for o in rows[i] if o != row][:nearest] for name, rows in found.items()},
        }
        for i, row in enumerate(chosen)
    ]


def rows_named(names: Sequence[str], wanted: Sequence[str]) -> Int[np.ndarray, " items"]:
    """The rows of items by name: all of a text, or what stands before its first ': '.

    Raises:
        InputError: no item has that name.
    """
    whole: dict[str, int] = {}
    short: dict[str, int] = {}
    for row, name in enumerate(names):
        whole.setdefault(name, row)
        short.setdefault(name.partition(": ")[0], row)
    rows = {**short, **whole}
    if missing := [one for one in wanted if one not in rows]:
        raise InputError(f"evaluation.examples: no item is named {missing[0]!r}")
    return np.array([rows[one] for one in wanted])
