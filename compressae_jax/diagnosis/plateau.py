"""A loss that stops falling early, by the metrics that a run of gradient steps wrote."""

import numpy as np

from compressae_jax.diagnosis.finding import LEVELS, OK, UNSEEN, Finding, graded
from compressae_jax.diagnosis.seen import Seen

LEAST_LINES = 20
SHARE = 10  # a tenth of the lines is averaged: one batch's loss errs by more than late steps gain
# A rate that falls to zero gains some per cent in the second half; a rate that is too high gains nothing there.
LOOK, BAD = 0.02, 0.005  # of the loss at half-way, gained by the end: below them
# The first step's loss is that of rows of chance as a dictionary; a training takes a quarter of it away and more.
FALL_LOOK, FALL_BAD = 0.15, 0.05  # of that loss, gained by the end: below them


def look(seen: Seen) -> Finding:
    """What all steps gained of the first loss, and what the second half of them gained of the loss that was left."""
    losses = np.array([line["loss"] for line in seen.lines if "loss" in line], np.float64)
    if len(losses) < LEAST_LINES:
        told = f"{len(losses)} lines with a loss" if len(losses) else "no metrics of gradient steps beside the model"
        return Finding("loss on a plateau", UNSEEN, told, {})
    width = max(1, len(losses) // SHARE)
    half, last = (float(losses[at : at + width].mean()) for at in ((len(losses) - width) // 2, len(losses) - width))
    first = float(losses[0])
    gained, fallen = (half - last) / max(half, 1e-12), (first - last) / max(first, 1e-12)
    figure = (
        f"loss {first:.4f} at first, {half:.4f} half-way, {last:.4f} at the end: all steps gained {fallen:.1%} (look "
        f"below {FALL_LOOK:.0%}, bad below {FALL_BAD:.0%}), the second half {gained:.1%} (look below {LOOK:.1%}, bad "
        f"below {BAD:.1%})"
    )
    numbers = {"first": first, "half": half, "last": last, "gained": gained, "fallen": fallen}
    level = min(graded(-gained, -LOOK, -BAD), graded(-fallen, -FALL_LOOK, -FALL_BAD), key=LEVELS.index)
    if level == OK:
        return Finding("loss on a plateau", level, figure, numbers)
    return Finding(
        "loss on a plateau",
        level,
        figure,
        numbers,
        "a learning rate that is too high or does not fall, batches that are too small or too alike, or more steps "
        "than the data need",
        "--config.train.end_lr=0 (a rate that falls to zero), a third of --config.train.lr, a larger "
        "--config.train.batch; where the loss is as low as that of other runs, fewer --config.train.steps",
    )
