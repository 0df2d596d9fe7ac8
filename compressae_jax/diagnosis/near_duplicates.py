"""Rows that stand in the source nearly twice: they fill each other's answers, and training sees them more often."""

import numpy as np

from compressae_jax.baselines.units import unit_rows
from compressae_jax.diagnosis.finding import OK, Finding, graded
from compressae_jax.diagnosis.seen import Seen
from compressae_jax.evaluation import streams

SAME = 0.999  # cosine from which two rows are one: codes of 128 bytes do not tell them apart
ASKED, AMONG = 512, 2**16  # rows that look for their twins, and rows that they look among
LOOK, BAD = 0.1, 0.5  # of rows that have one
BLOCK = 8192


def look(seen: Seen) -> Finding:
    """The share of rows whose nearest other row has a cosine of `SAME` or more."""
    n = len(seen.source)
    among = np.unique(np.linspace(0, n - 1, min(n, AMONG)).astype(np.int64))
    asked = among[np.unique(np.linspace(0, len(among) - 1, min(len(among), ASKED)).astype(np.int64))]
    x = unit_rows(streams.take(seen.source, asked))
    kept = x.any(axis=1)
    asked, x = asked[kept], x[kept]
    nearest = np.full(len(x), -1.0)
    for start in range(0, len(among), BLOCK):
        rows = among[start : start + BLOCK]
        cosines = x @ unit_rows(streams.take(seen.source, rows)).T
        itself = np.flatnonzero(np.isin(asked, rows))
        cosines[itself, np.searchsorted(rows, asked[itself])] = -1
        nearest = np.maximum(nearest, cosines.max(axis=1))
    share = float((nearest >= SAME).mean())
    figure = (
        f"{share:.1%} of {len(x):,} rows have another at a cosine of {SAME:g} or more among {len(among):,} of {n:,} "
        f"(look from {LOOK:.0%}, bad from {BAD:.0%})"
    )
    numbers = {"share": share, "asked": len(x), "among": len(among)}
    level = graded(share, LOOK, BAD)
    if level == OK:
        return Finding("near-duplicates", level, figure, numbers)
    return Finding(
        "near-duplicates",
        level,
        figure,
        numbers,
        "items that are listed twice, texts from one template, rows that were repeated to fill a file",
        "keep one of each before training and search, by a hash of the text or by its nearest row; rows held out have "
        "twins among those trained on, so read recalls of the run with care",
    )
