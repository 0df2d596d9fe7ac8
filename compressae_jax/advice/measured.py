"""A method on a sample: what it finds, its bytes, rows encoded a second, milliseconds a query; advice is elsewhere."""

import time
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from compressae_jax.advice import methods
from compressae_jax.advice.methods import Fitted, Method, Vectors
from compressae_jax.advice.sample import Sample
from compressae_jax.baselines import dense
from compressae_jax.baselines.quantisers import Parts, load_faiss
from compressae_jax.evaluation import judgements, neighbours

SCANNED = 200_000  # rows that a query is timed on, at most, the sample's again and again
TIMED = 15  # queries asked one by one, whose median counts
WARM = 64  # rows that are encoded once before time counts

PerQuery = Float[np.ndarray, " q"]


class Speed(NamedTuple):
    """Milliseconds of one query, the median, on so many rows; `by`: whose scan it is."""

    ms: float
    rows: int
    by: str


class Measured(NamedTuple):
    """One method at one budget; `scores` by metric has one number a query, the same queries for every method."""

    name: str
    label: str
    kind: str  # 'dense', 'code' or 'baseline'
    budget: int | None
    bytes_per_vector: float
    scores: Mapping[str, PerQuery]
    about: Mapping[str, Any]
    fit_seconds: float
    encoded_a_second: float
    speed: Speed | None

    @property
    def ours(self) -> bool:
        """Whether these are codes of this program."""
        return self.kind == "code"


def of(method: Method, sample: Sample, truth: np.ndarray, total: int, seed: int) -> Measured:
    """Fit, encode what is searched, ask; `total`: rows of the whole set, which a query is timed on as far as it goes.

    Raises:
        InputError: too few rows, or a form that the method does not have.
    """
    start = time.perf_counter()
    fitted = method.fit(sample.fitted, seed)
    fit_seconds = time.perf_counter() - start
    fitted.encode(sample.searched[:WARM])
    start = time.perf_counter()
    stored = fitted.encode(sample.searched)
    encoded = len(sample.searched) / max(time.perf_counter() - start, 1e-9)
    return Measured(
        method.name,
        fitted.label,
        method.kind,
        method.budget,
        fitted.bytes_per_vector,
        _scores(fitted, stored, sample, truth),
        fitted.about,
        round(fit_seconds, 2),
        round(encoded),
        _speed(method, fitted, stored, sample, total),
    )


def truth_of(sample: Sample) -> np.ndarray:
    """The nearest of the rows searched by exact cosine (q, at most 100)."""
    depth = min(max(neighbours.DEPTHS), len(sample.searched))
    return dense.fit(sample.searched).add(sample.searched).search(sample.queries, depth)[1]


def _scores(fitted: Fitted, stored: Any, sample: Sample, truth: np.ndarray) -> dict[str, PerQuery]:
    n = len(sample.searched)
    found = fitted.search(stored, sample.queries, truth.shape[1])[1]
    scores = {metric: of for metric, of in neighbours.per_query(found, truth).items() if int(metric.split("@")[1]) < n}
    if sample.judged is not None:
        asked, wanted = sample.judged.queries, sample.judged.wanted

        def search(queries: Vectors, top: int) -> methods.Found:
            return fitted.search(stored, queries, top)

        scores["nDCG@10"] = judgements.per_query(search, asked, wanted, n=n, names=("nDCG@10",))["nDCG@10"]
    return scores


def _speed(method: Method, fitted: Fitted, stored: Any, sample: Sample, total: int) -> Speed | None:
    """Of our scan, faiss's of PQ codes, or a product with dense rows; None of peers whose rows are decoded here."""
    n = min(total, SCANNED)
    again = np.resize(np.arange(len(sample.searched)), n)
    if fitted.indexed is not None:
        index = fitted.indexed(stored[again])
        return Speed(_median(lambda query: index.search(query, 10), sample.queries), n, "this program")
    if method.kind == "dense":
        rows = np.ascontiguousarray(stored[again])
        return Speed(_median(lambda query: fitted.search(rows, query, 10), sample.queries), n, "NumPy")
    if method.name == "pq" and fitted.flat is not None:
        quantisers = fitted.flat.storage
        if isinstance(quantisers, Parts) and len(quantisers.quantisers) == 1:
            pq = _faiss_pq(quantisers, stored[again])
            return Speed(_median(lambda query: pq.search(query, 10), sample.queries), n, "faiss")
    return None


def _faiss_pq(quantisers: Parts, codes: np.ndarray) -> Any:
    """faiss's own index over codes that are there."""
    faiss, (quantiser,) = load_faiss("PQ"), quantisers.quantisers
    index = faiss.IndexPQ(quantiser.d, quantiser.M, quantiser.nbits, faiss.METRIC_INNER_PRODUCT)
    index.pq, index.is_trained = quantiser, True
    faiss.copy_array_to_vector(np.ascontiguousarray(codes).reshape(-1), index.codes)
    index.ntotal = len(codes)
    return index


def _median(search: Any, queries: Vectors) -> float:
    search(queries[:1])
    taken = []
    for i in range(min(TIMED, len(queries))):
        start = time.perf_counter()
        search(queries[i : i + 1])
        taken.append(time.perf_counter() - start)
    return round(1000 * float(np.median(taken)), 4)
