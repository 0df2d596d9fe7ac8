"""The reconstructed space beside the sparse one: the decoder's work must help, or the decoder is wrong."""

import numpy as np

from compressae_jax.baselines import dense
from compressae_jax.diagnosis.finding import BAD, LOOK, OK, UNSEEN, Finding
from compressae_jax.diagnosis.seen import Seen
from compressae_jax.evaluation import intervals, neighbours
from compressae_jax.retrieval.index import Index

QUERIES = 300  # rows that ask the others; half of the interval of a difference is then some .01
DEPTH = 10
LEAST_ROWS = 200
FAR = -0.05  # of recall: a decoder with a few wrong rows loses less


def look(seen: Seen) -> Finding:
    """recall@10 of the exact neighbours in both spaces, queries compressed, with the interval of the difference."""
    rows = len(seen.vectors)
    if rows < LEAST_ROWS:
        return Finding("reconstructed worse than sparse", UNSEEN, f"{rows:,} rows, {LEAST_ROWS} are needed", {})
    asking = np.zeros(rows, bool)
    asking[np.linspace(0, rows - 1, min(QUERIES, rows // 4)).astype(int)] = True
    queries = seen.vectors[asking]
    others = seen.vectors[~asking]
    truth = dense.fit(others).add(others).search(queries, DEPTH)[1]
    index = Index(seen.codes[np.flatnonzero(~asking)], seen.weights, encoder=seen.weights.encoder)
    found = {
        space: neighbours.overlap(index.in_space(space).search(queries, DEPTH)[1], truth)
        for space in ("sparse", "reconstructed")
    }
    difference = intervals.difference(found["reconstructed"], found["sparse"], seed=seen.seed)
    figure = (
        f"recall@{DEPTH} {found['reconstructed'].mean():.3f} reconstructed, {found['sparse'].mean():.3f} sparse: "
        f"{difference.mean:+.3f} (95 % interval {difference.low:+.3f} to {difference.high:+.3f}; look where surely "
        f"below 0, bad below {FAR:g})"
    )
    numbers = {"reconstructed": float(found["reconstructed"].mean()), "sparse": float(found["sparse"].mean())}
    numbers |= difference._asdict()
    level = OK if difference.high >= 0 else BAD if difference.mean < FAR else LOOK
    if level == OK:
        return Finding("reconstructed worse than sparse", level, figure, numbers)
    return Finding(
        "reconstructed worse than sparse",
        level,
        figure,
        numbers,
        "a decoder that does not belong to this encoder, whose rows are in another order or not of unit length, a "
        "kernel of it that was changed; or vectors of another kind than those of the training (see drift)",
        "copy the model folder anew, or train again; with --config.train.weight_pairs above 0, which serves the sparse "
        "space, leave it out; until then search with --space=sparse",
    )
