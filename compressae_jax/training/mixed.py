"""A dictionary for several sets of vectors at once: each round looks at a sample of every one, none drowns the others.

It is meant to be carried to sets that it was not learned from; `refine` has the rounds of a single one.
"""

import sys
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float, Int

from compressae_jax.base import progress
from compressae_jax.codes.on_host import unit_rows
from compressae_jax.data.sources import Source
from compressae_jax.notation import InputError, check_range
from compressae_jax.training import refine

Sets = Mapping[str, Source]


def learn(
    sets: Sets, h: int, ks: Sequence[int], rows: int, share: float = 0.0, seed: int = 0, shown: bool = True
) -> tuple[refine.Dictionary, list[float]]:
    """h unit rows after one round for each of `ks`, its nonzeros a row, and the mean cosine that each round found.

    A round looks at `rows` rows, drawn anew; `shares` says how many of each set. Of what the rounds before it told,
    `share` still counts (less in the first ones, whose codes are soon old): see `refine.improved_after`.

    Raises:
        InputError: sets of different widths, none at all, fewer rows than latents, a share that is none.
    """
    widths = {name: one.width for name, one in sets.items()}
    if len(set(widths.values())) != 1:
        raise InputError(f"sets must be of one width, and are of {widths or 'no set at all'}")
    check_range("h", h, 1, sum(map(len, sets.values())))
    check_range("rows", rows, 1, sys.maxsize)
    if not 0 <= share < 1:
        raise InputError(f"share must be at least 0 and below 1, not {share}")
    rng = np.random.default_rng(seed)
    decoder_w = drawn(sets, h, rng)
    cosines: list[float] = []
    moments = None
    with progress.bar(len(ks), "refine", "rounds", 0, shown) as bar:
        for k in ks:
            counts = min(share, len(cosines) / (len(cosines) + 2))
            decoder_w, told, moments = refine.improved_after(moments, counts, decoder_w, k, drawn(sets, rows, rng))
            cosines.append(told["cosine"])
            bar.update()
    return decoder_w, cosines


def drawn(sets: Sets, rows: int, rng: np.random.Generator) -> Float[np.ndarray, "m d"]:
    """Unit rows, some of every set, in no order."""
    counts = shares([len(one) for one in sets.values()], rows)
    taken = [
        one.take(np.sort(rng.choice(len(one), count, replace=False)))
        for one, count in zip(sets.values(), counts, strict=True)
    ]
    return rng.permutation(unit_rows(np.concatenate(taken)))


def shares(sizes: Sequence[int], rows: int) -> Int[np.ndarray, " sets"]:
    """How many of `rows` each set gives: as the roots of their sizes are to each other, but no more than it has.

    What a small set cannot give is left to the others.
    """
    sizes_of, counts = np.asarray(sizes), np.zeros(len(sizes), np.int64)
    rows = min(rows, int(sizes_of.sum()))
    while (left := rows - int(counts.sum())) > 0:
        weights = np.sqrt(sizes_of) * (counts < sizes_of)
        more = np.floor(left * weights / weights.sum()).astype(np.int64)
        if not more.any():
            more[np.argmax(weights)] = 1
        counts = np.minimum(counts + more, sizes_of)
    return counts
