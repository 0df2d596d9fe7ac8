"""Lengths of the decoder's rows, which must be 1: scores divide by norms that follow from it."""

import numpy as np

from compressae_jax.diagnosis.finding import BAD, OK, Finding
from compressae_jax.diagnosis.seen import Seen
from compressae_jax.model.weights import UNIT_TOLERANCE


def look(seen: Seen) -> Finding:
    """How far the worst row is from unit length; a model folder beyond the tolerance is refused everywhere else."""
    lengths = np.linalg.norm(seen.weights.params["decoder_w"].astype(np.float64), axis=1)
    off = np.abs(lengths - 1)
    wrong, worst = int((off > UNIT_TOLERANCE).sum()), int(off.argmax())
    figure = (
        f"{wrong:,} of {len(lengths):,} rows are off unit length by more than {UNIT_TOLERANCE:g}; the worst, row "
        f"{worst}, has {lengths[worst]:.6g}"
    )
    numbers = {"wrong": wrong, "worst": float(off[worst])}
    if not wrong:
        return Finding("decoder rows", OK, figure, numbers)
    return Finding(
        "decoder rows",
        BAD,
        figure,
        numbers,
        "weights of another program, of an ablation, or averaged or rounded after the training; gradient steps bring "
        "them back to unit length each time",
        "divide each row of decoder_w by its length and write the folder anew (cs.load refuses it as it is), or train "
        "again with this program",
    )
