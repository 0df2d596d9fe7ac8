"""From contenders and protocols to numbers: scores per query, means with intervals; configs are `report`'s matter."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from compressae_jax.base import progress as bars
from compressae_jax.codes.rows import Rows
from compressae_jax.evaluation import intervals
from compressae_jax.evaluation.contenders import Contender
from compressae_jax.evaluation.intervals import Interval
from compressae_jax.evaluation.protocols import Protocol
from compressae_jax.evaluation.rankings import PerQuery

Scores = dict[str, dict[str, dict[str, PerQuery]]]  # [protocol][contender][metric]
PIECE = 2**20  # rows of codes that are counted at once


def ask(asked: Sequence[Protocol], compared: Sequence[Contender], progress: bool) -> Scores:
    """Every contender's scores in every protocol, one a query."""
    scores: Scores = {protocol.name: {} for protocol in asked}
    with bars.bar(len(asked) * len(compared), "evaluate", "searches", shown=progress) as bar:
        for protocol in asked:
            for one in compared:
                bar.set_postfix_str(f"{protocol.name}: {one.name}")
                scores[protocol.name][one.name] = protocol.ask(one.on(protocol.corpus))
                bar.update()
    return scores


def described(asked: Sequence[Protocol], scores: Scores) -> dict[str, dict[str, Any]]:
    """What was asked of how many, by protocol, as JSON has it."""
    return {
        one.name: {
            "headline": one.headline,
            "metrics": list(next(iter(scores[one.name].values()))),
            "scored": one.scored,
            "unit": one.unit,
            "rows": len(one.corpus),
            "cut": list(one.cut),
        }
        for one in asked
    }


def measured(compared: Sequence[Contender], scores: Scores, d: int, resamples: int, seed: int) -> list[dict[str, Any]]:
    """Bytes, means with intervals, and paired differences to the first contender, as JSON has them."""
    base = compared[0].name
    return [
        {
            "name": one.name,
            "kind": one.kind,
            "space": one.space,
            "k": one.k,
            "of": one.of,
            "codes": one.codes,
            "bytes_per_vector": one.bytes_per_vector,
            "bytes_as_published": one.bytes_as_published,
            "budget": one.budget,
            "ratio": 4 * d / one.bytes_per_vector,
            "scores": {
                protocol: {
                    metric: _summary(values, of[base][metric], resamples, seed)
                    for metric, values in of[one.name].items()
                }
                for protocol, of in scores.items()
            },
        }
        for one in compared
    ]


def usage(codes: Rows, k: int) -> Float[np.ndarray, " h"]:
    """The share of rows that each latent is nonzero in, among a row's k largest."""
    counts = np.zeros(codes.h, np.int64)
    for start in range(0, len(codes), PIECE):
        some = codes[start : start + PIECE]
        some = some.codes() if some.levels is not None else some.codes().prefix(min(k, some.k))
        counts += np.bincount(np.asarray(some.columns)[np.asarray(some.values) != 0], minlength=codes.h)
    return counts / len(codes)


def _summary(values: PerQuery, base: PerQuery, resamples: int, seed: int) -> dict[str, Any]:
    difference = intervals.difference(values, base, resamples, seed)
    return {**_plain(intervals.interval(values, resamples, seed)), "difference": _plain(difference)}


def _plain(interval: Interval) -> dict[str, float]:
    return {name: round(value, 6) for name, value in interval._asdict().items()}
