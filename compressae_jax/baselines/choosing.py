"""Which form of a baseline is the better one for some vectors: rows held out of them ask, never anybody's queries."""

from collections.abc import Callable, Sequence

import numpy as np

from compressae_jax.baselines import dense
from compressae_jax.baselines.flat import Flat
from compressae_jax.baselines.units import Vectors

HELD, TOP = 256, 100  # rows held out, and the neighbours of each
ROWS = 16_384  # that forms are fitted to and searched in, at most
LEAST = 1024  # vectors from which on held-out rows can tell forms apart

Fit = Callable[[Vectors], Flat]


def best(vectors: Vectors, forms: Sequence[Fit], seed: int = 0) -> Fit:
    """The form that finds most; of equals, and where there are too few vectors to tell, the first."""
    if len(forms) == 1 or len(vectors) < LEAST:
        return forms[0]
    hits = trial(vectors, seed)
    return max(forms, key=hits)


def trial(vectors: Vectors, seed: int = 0) -> Callable[[Fit], int]:
    """How many of the dense neighbours of held-out rows a form finds that is fitted to the others."""
    drawn = np.random.default_rng(seed).permutation(len(vectors))
    held = min(HELD, len(vectors) // 8)
    asked, rest = vectors[drawn[:held]], vectors[np.sort(drawn[held : held + ROWS])]
    top = min(TOP, len(rest))
    truth = dense.fit(rest).add(rest).search(asked, top)[1]

    def hits(form: Fit) -> int:
        found = form(rest).add(rest).search(asked, top)[1]
        return sum(len(np.intersect1d(*pair)) for pair in zip(found, truth, strict=True))

    return hits
