"""A direction that all vectors share: the square of the mean's length is the cosine of two rows of chance."""

import numpy as np

from compressae_jax.diagnosis.finding import OK, Finding, graded
from compressae_jax.diagnosis.seen import Seen

# Of the cosine of two rows of chance. Encoders of sentences: .00 to .1; trained at a low temperature (E5 and its
# like): .7 to .8, where a code spends what it has on what all rows share.
LOOK, BAD = 0.4, 0.6


def look(seen: Seen) -> Finding:
    """The squared length of the mean of unit rows."""
    mean = seen.units.mean(axis=0, dtype=np.float64)
    shared = float(mean @ mean)
    figure = f"two rows of chance have a cosine of {shared:.3f} (look from {LOOK:g}, bad from {BAD:g})"
    level = graded(shared, LOOK, BAD)
    if level == OK:
        return Finding("common mean", level, figure, {"cosine": shared})
    return Finding(
        "common mean",
        level,
        figure,
        {"cosine": shared},
        "an encoder whose vectors lie in a narrow cone (trained at a low temperature), or features that are never "
        "negative",
        "subtract the mean of the vectors from rows and queries before training and search: rankings by cosine change "
        "little, and codes keep what tells rows apart",
    )
