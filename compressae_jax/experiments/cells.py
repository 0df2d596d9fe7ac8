"""A cell of an experiment: what it measures, as JSON values, and what was found."""

import itertools
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import xxhash
from jaxtyping import Float

Spec = dict[str, Any]  # JSON values alone
Settings = Mapping[str, Any]  # of an experiment in one size: plain values


class Outcome(NamedTuple):
    """What a cell found: one number a query by metric, and whatever else is worth telling, as JSON values."""

    scores: dict[str, Float[np.ndarray, " q"]]
    told: dict[str, Any]


class Result(NamedTuple):
    """A measured cell."""

    spec: Spec
    scores: dict[str, Float[np.ndarray, " q"]]
    told: dict[str, Any]
    seconds: float
    made: dict[str, Any]  # commit, date, hardware, versions

    def mean(self, metric: str) -> float:
        """Over queries."""
        return float(self.scores[metric].mean())


class Results:
    """Measured cells, chosen by values of their specs."""

    def __init__(self, results: Iterable[Result]) -> None:
        self._all = list(results)

    def __iter__(self) -> Iterator[Result]:
        return iter(self._all)

    def __len__(self) -> int:
        return len(self._all)

    def where(self, **wanted: Any) -> "Results":
        """Those whose specs have these values; a field that a spec lacks is None."""
        return Results(
            one for one in self._all if all(one.spec.get(name) == _plain(value) for name, value in wanted.items())
        )

    def values(self, field: str) -> list[Any]:
        """The values of a field, in the order of the cells, each once."""
        found: list[Any] = []
        for one in self._all:
            value = one.spec.get(field)
            if value is not None and value not in found:
                found.append(value)
        return found

    def per_query(self, metric: str) -> Float[np.ndarray, " q"] | None:
        """The mean over these cells (seeds) of every query's score; None of no cells, or where one lacks the metric."""
        if not self._all or any(metric not in one.scores for one in self._all):
            return None
        return np.mean([one.scores[metric] for one in self._all], axis=0)

    def means(self, metric: str) -> list[float]:
        """Of every cell that has the metric, the mean over queries."""
        return [one.mean(metric) for one in self._all if metric in one.scores]


def product(**axes: Sequence[Any]) -> list[Spec]:
    """A spec for every combination, the last axis fastest."""
    return [dict(zip(axes, map(_plain, values), strict=True)) for values in itertools.product(*axes.values())]


def digest(spec: Mapping[str, Any]) -> str:
    """A name for a spec, the same for equal ones."""
    return xxhash.xxh3_64_hexdigest(json.dumps(spec, sort_keys=True).encode())


def _plain(value: Any) -> Any:
    """As JSON would give it back."""
    return json.loads(json.dumps(value))
