"""Who is compared at a budget of bytes: ours and peers, fitted to the same rows and ready to search others."""

import dataclasses
import functools
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import scipy.sparse
from jaxtyping import Float

from compressae_jax import compression
from compressae_jax.baselines import dense, matryoshka, pca
from compressae_jax.baselines.flat import Flat
from compressae_jax.evaluation.contenders import BASELINE_ROWS, BASELINES
from compressae_jax.evaluation.exclusion import Search
from compressae_jax.experiments.bench import Bench
from compressae_jax.model import budgets, encoders
from compressae_jax.model.weights import Weights
from compressae_jax.notation import InputError, Rows, Scores, check_choice
from compressae_jax.retrieval import filters
from compressae_jax.retrieval.index import Index

DENSE, OURS = "dense", "pursuit"
ENCODERS = (OURS, "shortlist", "refit")  # of one dictionary
NAMES = (DENSE, *ENCODERS, *BASELINES)
LOOKS = {  # a colour and a marker each
    "dense": ("#000000", ""),
    "pursuit": ("#0072B2", "o"),
    "shortlist": ("#56B4E9", "o"),
    "refit": ("#999999", "o"),
    "pq": ("#D55E00", "s"),
    "opq": ("#E69F00", "s"),
    "rq": ("#CC79A7", "D"),
    "lsq": ("#882255", "D"),
    "prq": ("#AA4499", "D"),
    "rabitq": ("#009E73", "^"),
    "binary": ("#117733", "v"),
    "sq": ("#999933", "v"),
    "pca": ("#BBBBBB", "x"),
    "pca_int8": ("#777777", "x"),
    "pca_int4": ("#444444", "x"),
    "transform": ("#661100", "P"),
    "itq": ("#6699CC", "P"),
    "int8": ("#44AA99", "*"),
    "truncation": ("#DDCC77", "+"),
    "matryoshka": ("#CC6677", "+"),
    "matryoshka_float16": ("#CC6677", "1"),
    "matryoshka_int8": ("#CC6677", "2"),
}


class Fitted(NamedTuple):
    """A method ready for rows: what a row costs, and the search of an array of them by dense queries."""

    bytes_per_vector: float
    over: Callable[[Float[np.ndarray, "n d"]], Search]


@dataclasses.dataclass(frozen=True, eq=False)
class Fitting:
    """Methods fitted to some rows of the set `name`; what several budgets of a peer share is made once.

    Models learn from all of the rows; peers do, too, up to as many as faiss takes, drawn by seed.
    """

    here: Bench
    name: str
    rows: Float[np.ndarray, "n d"]
    seed: int

    def fitted(self, method: str, budget: int) -> Fitted:
        """A method of at most so many bytes a vector; `dense`, of whatever it takes.

        Raises:
            InputError: an unknown method, or a budget that it has no form for.
        """
        check_choice("method", method, NAMES)
        if method == DENSE:
            return _flat(dense.fit(self.rows[:1]))
        if method in ENCODERS:
            weights = self._model(budget)
            some = encoders.rows_for_levels(len(self.rows))  # before codes of other rows could say the levels
            encoders.learn_levels(weights, method, weights.storage, lambda: self.rows[some])
            return _codes(weights, method)
        peer, d = BASELINES[method], self.rows.shape[1]
        if not peer.smallest <= budget <= peer.largest(d):
            sizes = f"{peer.smallest} to {peer.largest(d)}"
            raise InputError(f"{method} has no form of {budget} bytes for d={d}, only of {sizes}")
        shared: dict[str, Callable[[], object]] = {
            "basis": lambda: self._basis,
            "centred": lambda: self._centred,
            "projection": lambda: self._projection,
            "seed": lambda: self.seed,
        }
        return _flat(peer.fit(self._sample, budget, **{option: shared[option]() for option in peer.options}))

    @functools.cached_property
    def _sample(self) -> Float[np.ndarray, "m d"]:
        return self.rows[np.sort(np.random.default_rng(self.seed).permutation(len(self.rows))[:BASELINE_ROWS])]

    @functools.cached_property
    def _basis(self) -> Float[np.ndarray, "d d"]:
        return pca.directions(self._sample)

    @functools.cached_property
    def _centred(self) -> Float[np.ndarray, "d d"]:
        return pca.directions(self._sample, centred=True)

    @functools.cached_property
    def _projection(self) -> Float[np.ndarray, "d m"]:
        return matryoshka.learned(self._sample, self._basis, self.seed)

    def _model(self, budget: int) -> Weights:
        """The dictionary that a budget learns; its codes in the fewest bytes, as ranks."""
        weights = self.here.trained(self.name, self.rows, {"budget_bytes": budget}, "default", self.seed)
        if weights.storage == "fast4":
            k = min(budgets.largest_k(budget, weights.h, "packed4"), weights.d)
            weights = dataclasses.replace(weights.with_k(k), storage="packed4")
        return weights


def seeds(method: str, asked: tuple[int, ...]) -> tuple[int, ...]:
    """The seeds that matter to a method: one, where nothing is drawn."""
    drawn = method in ENCODERS or (method != DENSE and "seed" in BASELINES[method].options)
    return asked if drawn else asked[:1]


def _flat(peer: Flat) -> Fitted:
    def over(rows: Float[np.ndarray, "n d"]) -> Search:
        stored = [peer.encode(rows)]

        def search(
            queries: np.ndarray, top: int, exclude: scipy.sparse.csr_matrix | None = None
        ) -> tuple[Scores, Rows]:
            return peer.search_stored(queries, stored, top, filters.without(exclude, len(queries), len(rows)))

        return search

    return Fitted(peer.bytes_per_vector, over)


def _codes(weights: Weights, encoder: str) -> Fitted:
    def over(rows: Float[np.ndarray, "n d"]) -> Search:
        codes = compression.encode(weights, rows, weights.storage, encoder=encoder)
        return Index(codes, weights, encoder=encoder).search

    return Fitted(float(budgets.record_width(weights.storage, weights.h, weights.k, weights.own_levels)), over)
