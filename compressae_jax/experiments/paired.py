"""Two settings on the same queries: their difference over queries and, where there are several, over seeds."""

import numpy as np

from compressae_jax.evaluation import intervals, significance
from compressae_jax.evaluation.significance import Effect
from compressae_jax.experiments.cells import Results


def difference(own: Results, base: Results, metric: str) -> Effect | None:
    """The mean of `own` less `base`, with its 95 % interval and p; None where one lacks the metric.

    Seeds that both have are paired, since a seed decides first weights and batches for both, and stand for all seeds
    (`significance.over_paired_seeds`); of a single one the interval is over queries alone.
    """
    ours, theirs = (
        {one.spec.get("seed"): one.scores[metric] for one in some if metric in one.scores} for some in (own, base)
    )
    seeds = [seed for seed in ours if seed in theirs]
    if not seeds:
        return None
    table = np.stack([ours[seed].astype(np.float64) - theirs[seed] for seed in seeds])
    if len(seeds) > 1:
        return significance.over_paired_seeds(table)
    one = intervals.interval(table[0])
    p = float(significance.permutation(ours[seeds[0]], theirs[seeds[0]]))
    return Effect(one.mean, one.low, one.high, p, len(table[0]) - 1, 0.0, 0.0, 0.0)
