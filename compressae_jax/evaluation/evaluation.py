"""What rankings scored: means with intervals, and the scores of every query, to look at in a cell."""

from __future__ import annotations

import functools
import html
from collections.abc import Iterator, Mapping

import numpy as np
from jaxtyping import Float

from compressae_jax.codes.ids import Ids
from compressae_jax.evaluation import intervals, significance
from compressae_jax.evaluation.intervals import Interval
from compressae_jax.notation import InputError, check_choice


class Evaluation(Mapping[str, Interval]):
    """Metrics by name: `evaluation["nDCG@10"]` is their mean over queries with its 95 % bootstrap interval.

    `scores` has one number a query and metric, in the order of `query_ids`.
    """

    def __init__(
        self,
        name: str,
        scores: Mapping[str, Float[np.ndarray, " q"]],
        query_ids: Ids,
        unit: str = "judged queries",
        note: str = "",
        resamples: int = intervals.RESAMPLES,
        seed: int = 0,
    ) -> None:
        self.name, self.scores, self.query_ids, self.unit, self.note = name, dict(scores), query_ids, unit, note
        self._drawn = resamples, seed
        self._means: dict[str, Interval] = {}

    def __getitem__(self, metric: str) -> Interval:
        if metric not in self._means:
            check_choice("metric", metric, self.scores)
            self._means[metric] = intervals.interval(self.scores[metric], *self._drawn)
        return self._means[metric]

    def __iter__(self) -> Iterator[str]:
        return iter(self.scores)

    def __len__(self) -> int:
        return len(self.scores)

    def __contains__(self, metric: object) -> bool:
        return metric in self.scores

    def difference(self, base: Evaluation) -> dict[str, Interval]:
        """This less another one of the same queries, paired query by query, for the metrics that both have.

        Raises:
            InputError: another's queries are not these.
        """
        return {metric: intervals.difference(*both, *self._drawn) for metric, both in self._paired(base).items()}

    def p_values(self, base: Evaluation, resamples: int = significance.RESAMPLES) -> dict[str, float]:
        """Two-sided p of each difference, by exchanging the scores of both within queries; each by itself.

        Raises:
            InputError: another's queries are not these.
        """
        seed = self._drawn[1]
        return {
            metric: float(significance.permutation(*both, resamples, seed))
            for metric, both in self._paired(base).items()
        }

    def _paired(self, base: Evaluation) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """The scores of both, query by query, for the metrics that both have."""
        mine, its = (np.asarray(one.query_ids, object) for one in (self, base))
        order, other = np.argsort(mine, kind="stable"), np.argsort(its, kind="stable")
        if len(mine) != len(its) or not (mine[order] == its[other]).all():
            raise InputError(
                f"both must be scored on the same queries to be compared: {self.name} has {len(mine):,}, {base.name} "
                f"{len(its):,}, or others"
            )
        return {
            metric: (self.scores[metric][order], base.scores[metric][other])
            for metric in self.scores
            if metric in base.scores
        }

    @functools.cached_property
    def _rows(self) -> list[tuple[str, str, str]]:
        return [(name, f"{one.mean:.3f}", f"[{one.low:.3f}, {one.high:.3f}]") for name, one in self.items()]

    @property
    def _caption(self) -> str:
        return f"{self.name}: {len(self.query_ids):,} {self.unit}" + (f"; {self.note}" if self.note else "")

    def __repr__(self) -> str:
        widths = [max(map(len, column)) for column in zip(*self._rows, strict=True)]
        lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in self._rows]
        return "\n".join([f"{self._caption}; mean [95 % interval]", *("  " + line.rstrip() for line in lines)])

    def _repr_markdown_(self) -> str:
        rows = [("metric", "mean", "95 % interval"), ("---", "---", "---"), *self._rows]
        return "\n".join([*(f"| {' | '.join(row)} |" for row in rows), "", self._caption])

    def _repr_html_(self) -> str:
        heading = "".join(f"<th>{text}</th>" for text in ("metric", "mean", "95 % interval"))
        body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in self._rows)
        return f"<table><caption>{html.escape(self._caption)}</caption><tr>{heading}</tr>{body}</table>"
