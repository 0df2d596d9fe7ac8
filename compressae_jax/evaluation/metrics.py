"""Metrics by name, `nDCG@10`, and the depths that suit a number of rows; what they compute lives in `rankings`."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import scipy.sparse
from jaxtyping import Float

from compressae_jax.evaluation import rankings
from compressae_jax.evaluation.rankings import PerQuery
from compressae_jax.notation import InputError, Rows, check_choice

KINDS: dict[str, Callable[..., PerQuery]] = {
    "nDCG": rankings.ndcg,
    "recall": rankings.recall,
    "MRR": rankings.reciprocal_rank,
    "MAP": rankings.average_precision,
    "precision": rankings.precision,
}
DEPTHS = (100, 20, 10, 5, 1)
DEEPEST = 10_000


class Metric(NamedTuple):
    """One number a query, of its first `depth` results."""

    name: str
    kind: str
    depth: int


def named(names: Sequence[str]) -> list[Metric]:
    """The metrics of names like 'nDCG@10', 'recall@100', 'MRR@10', 'MAP@100', 'precision@5'.

    Raises:
        InputError: no name, another kind, a depth that is no number from 1 to 10,000.
    """
    if isinstance(names, str):
        names = (names,)
    if not names:
        raise InputError(f"metrics must name at least one, of {', '.join(KINDS)}, each with its depth: nDCG@10")
    return [_named(name) for name in names]


def suited(names: Sequence[str], n: int) -> tuple[str, ...]:
    """The names, each recall at the deepest of `DEPTHS` that is below n rows: as deep as all rows it says nothing."""
    return tuple(_suited(name, n) if name.startswith("recall@") else name for name in names)


def of_ranking(
    metrics: Sequence[Metric], rows: Rows, wanted: scipy.sparse.csr_matrix
) -> dict[str, Float[np.ndarray, " q"]]:
    """The metrics of ranked rows, -1 where nothing was found; queries that want nothing score 0."""
    gained = rankings.gains(rows, wanted)
    return {one.name: KINDS[one.kind](gained, wanted, one.depth) for one in metrics}


def deepest(metrics: Sequence[Metric]) -> int:
    """As many results as the deepest of them looks at."""
    return max(one.depth for one in metrics)


def _named(name: str) -> Metric:
    kind, at, depth = str(name).partition("@")
    check_choice(f"metrics ({name!r}): what stands before @", kind, KINDS)
    if not (at and depth.isascii() and depth.isdecimal() and 1 <= int(depth) <= DEEPEST):
        raise InputError(f"metrics: {name!r} needs a depth from 1 to {DEEPEST:,}, as in {kind}@10")
    return Metric(f"{kind}@{int(depth)}", kind, int(depth))


def _suited(name: str, n: int) -> str:
    wanted = int(name.partition("@")[2])
    return f"recall@{next((depth for depth in (wanted, *DEPTHS) if depth <= wanted and depth < n), 1)}"
