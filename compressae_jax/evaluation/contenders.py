"""Who is compared: codes by model, space and k, baselines at equal bytes; what they are asked is in `protocols`."""

import dataclasses
import functools
from collections.abc import Callable, Iterable, Sequence

import numpy as np
import scipy.sparse
from jaxtyping import Float, Int

from compressae_jax.baselines import (
    binary,
    dense,
    int8,
    itq,
    lsq,
    matryoshka,
    opq,
    pca,
    pq,
    prq,
    rabitq,
    rq,
    sq,
    transform,
    truncation,
)
from compressae_jax.baselines.flat import Flat
from compressae_jax.baselines.quantisers import load_faiss
from compressae_jax.codes import spaces
from compressae_jax.evaluation.corpus import Corpus
from compressae_jax.evaluation.exclusion import Search
from compressae_jax.model.weights import Weights
from compressae_jax.notation import InputError, check_choice, check_range
from compressae_jax.retrieval import filters

PUBLISHED_BYTES = 8  # of a nonzero: float32 value and int32 column, as the paper counts
BASELINE_ROWS = 65_536  # training rows that baselines are fitted to, at most: as many as faiss takes for 256 centroids

Found = tuple[Float[np.ndarray, "q r"], Int[np.ndarray, "q r"]]


@dataclasses.dataclass(frozen=True)
class Baseline:
    """How to fit one to a budget, and the bytes that it has forms of.

    `own_sizes` are run whatever the budgets; `options` are what `fit` takes of a shared `basis`, `centred` or
    `projection` and a `seed`.
    """

    fit: Callable[..., Flat]
    largest: Callable[[int], int]
    smallest: int = 1
    own_sizes: Callable[[int], Sequence[int]] | None = None
    options: tuple[str, ...] = ()


BASELINES = {
    "truncation": Baseline(truncation.fit, truncation.largest, smallest=4),
    "matryoshka": Baseline(matryoshka.fit, matryoshka.largest, smallest=4, options=("projection", "seed")),
    "matryoshka_float16": Baseline(
        matryoshka.fit_float16, matryoshka.largest_float16, smallest=2, options=("projection", "seed")
    ),
    "matryoshka_int8": Baseline(matryoshka.fit_int8, matryoshka.largest_int8, options=("projection", "seed")),
    "pca": Baseline(pca.fit, pca.largest, smallest=4, options=("basis", "centred")),
    "pca_int8": Baseline(pca.fit_int8, pca.largest_int8, options=("basis", "centred")),
    "pca_int4": Baseline(pca.fit_int4, pca.largest_int4, options=("basis", "centred")),
    "transform": Baseline(transform.fit, transform.largest, options=("basis", "centred")),
    "itq": Baseline(itq.fit, itq.largest, options=("basis", "centred", "seed")),
    "int8": Baseline(int8.fit, int8.largest, own_sizes=lambda d: [int8.largest(d)]),
    "sq": Baseline(sq.fit, sq.largest, own_sizes=sq.sizes),
    "binary": Baseline(binary.fit, binary.largest, options=("basis", "centred", "seed")),
    "rabitq": Baseline(rabitq.fit, rabitq.largest, rabitq.SMALLEST, options=("basis", "seed")),
    "pq": Baseline(pq.fit, pq.largest, options=("seed",)),
    "opq": Baseline(opq.fit, opq.largest, options=("seed",)),
    "rq": Baseline(rq.fit, rq.largest, options=("seed",)),
    "prq": Baseline(prq.fit, prq.largest, options=("seed",)),
    "lsq": Baseline(lsq.fit, lsq.largest, options=("seed",)),
}

OF_FAISS = ("sq", "pq", "opq", "rq", "prq", "lsq", "rabitq")


@dataclasses.dataclass(frozen=True)
class Contender:
    """One row of the tables. `find` searches a corpus for queries that have a direction.

    `budget` is the bytes of the code that a contender is compared with, None for one of a size of its own.
    """

    name: str
    kind: str  # 'dense', 'code' or 'baseline'
    bytes_per_vector: float
    find: Callable[[Corpus, np.ndarray, int, scipy.sparse.csr_matrix | None], Found]
    budget: int | None = None
    space: str | None = None
    k: int | None = None
    of: str | None = None  # the set of codes in the corpus
    codes: str | None = None  # what kind of codes these are

    @property
    def bytes_as_published(self) -> int | None:
        """Bytes of the code as the paper counts them, None for what is not a code."""
        return None if self.k is None else PUBLISHED_BYTES * self.k

    def on(self, corpus: Corpus) -> Search:
        """The search of one corpus."""
        return functools.partial(self.search, corpus)

    def search(
        self,
        corpus: Corpus,
        queries: Float[np.ndarray, "q d"],
        top: int,
        exclude: scipy.sparse.csr_matrix | None = None,
    ) -> Found:
        """The `top` best rows of a corpus for dense queries; a zero query, which has no direction, finds nothing.

        `exclude` (q, n) are the rows that each must not get.
        """
        asked = queries.any(axis=1)
        scores, rows = np.full((len(queries), top), -np.inf, np.float32), np.full((len(queries), top), -1, np.int64)
        if asked.any():
            exclude = None if exclude is None else exclude[asked]
            scores[asked], rows[asked] = self.find(corpus, queries[asked], top, exclude)
        return scores, rows


def check(names: Iterable[str], spaces_: Iterable[str], budgets: Sequence[int], d: int) -> None:
    """Raise InputError unless there are such baselines and spaces, and what the baselines need is installed."""
    for space in spaces_:
        check_choice("evaluation.spaces", space, spaces.SPACES)
    for name, _ in sizes(names, budgets, d):
        if name in OF_FAISS:
            load_faiss(name)


def peer(d: int) -> Contender:
    """Exact search of the dense vectors."""
    return _of_baseline(dense.fit(np.zeros((0, d), np.float32)), "dense", None)


def spaces_of(weights: Weights) -> tuple[str, ...]:
    """The spaces that a model's codes are meant for: values of least squares serve dense queries best."""
    return spaces.SPACES if weights.encoder == "topk" else ("dense_query",)


def codes(corpus: Corpus, of: str, spaces_: Iterable[str] | None, ks: Iterable[int], backend: str) -> list[Contender]:
    """One model's codes in every space (None: those that they are meant for), at their k and at smaller ones.

    Smaller ones are prefixes of the same codes.
    """
    weights, rows, budget = corpus.coded[of]
    own, kind = rows.k, weights.kind
    spaces_ = spaces_of(weights) if spaces_ is None else tuple(spaces_)
    for k in ks:
        check_range("evaluation.ks", k, 1, own)
    for space in spaces_:
        check_choice("evaluation.spaces", space, spaces.SPACES)
    found = []
    for k in sorted({own, *ks}, reverse=True):
        cost = corpus.index(of, "sparse", k).bytes_per_vector
        given = budget if budget is not None and k == own else int(cost)
        for space in spaces_:
            find = functools.partial(_find_codes, of, space, k, backend)
            found.append(Contender(f"{kind}, {space}, k={k}", "code", cost, find, given, space, k, of, kind))
    return found


def _find_codes(
    of: str,
    space: str,
    k: int,
    backend: str,
    corpus: Corpus,
    queries: np.ndarray,
    top: int,
    exclude: scipy.sparse.csr_matrix | None,
) -> Found:
    return corpus.index(of, space, k).search(queries, top, backend=backend, exclude=exclude)


def baselines(
    names: Iterable[str], budgets: Iterable[int], training: Float[np.ndarray, "n d"], seed: int = 0
) -> list[Contender]:
    """Baselines fitted to training rows, each at every budget (bytes a vector) that it has a form of.

    'name@bytes' asks for one budget of its own.

    Raises:
        InputError: an unknown name, a size that is no number, or faiss missing for those that need it.
    """
    d = training.shape[1]
    basis = functools.cache(lambda: pca.directions(training))
    projection = functools.cache(lambda: matryoshka.learned(training, basis(), seed))
    shared: dict[str, Callable[[], object]] = {
        "basis": basis,
        "centred": functools.cache(lambda: pca.directions(training, centred=True)),
        "projection": projection,
        "seed": lambda: seed,
    }
    found = []
    for name, budget in sizes(names, sorted(set(budgets), reverse=True), d):
        options = {option: shared[option]() for option in BASELINES[name].options}
        found.append(_of_baseline(BASELINES[name].fit(training, budget, **options), "baseline", budget))
    return list({one.name: one for one in reversed(found)}.values())[::-1]  # two budgets may buy the same size


def sizes(names: Iterable[str], budgets: Sequence[int], d: int) -> list[tuple[str, int]]:
    """Every baseline with every budget that it is run at, once.

    Raises:
        InputError: as `baselines`.
    """
    found = []
    for given in names:
        name, _, own = given.partition("@")
        check_choice("evaluation.baselines", name, BASELINES)
        if own and not own.isdecimal():
            raise InputError(f"evaluation.baselines: bytes after @ must be a number, not {given!r}")
        one = BASELINES[name]
        wanted = [int(own)] if own else one.own_sizes(d) if one.own_sizes else budgets
        most = min(one.largest(d), dense.largest(d) - 1)
        found += [(name, budget) for budget in wanted if one.smallest <= budget <= most]
    return list(dict.fromkeys(found))


def _of_baseline(fitted: Flat, kind: str, budget: int | None) -> Contender:
    def find(corpus: Corpus, queries: np.ndarray, top: int, exclude: scipy.sparse.csr_matrix | None) -> Found:
        check_range("top", top, 1, len(corpus))
        without = filters.without(exclude, len(queries), len(corpus))
        return fitted.search_stored(queries, map(fitted.encode, corpus.pieces()), top, without)

    size = int(fitted.bytes_per_vector)
    return Contender(
        fitted.name if kind == "dense" else f"{fitted.name}, {size} bytes", kind, float(size), find, budget
    )
