"""What is tried on a sample: our codes, dense vectors and every peer, behind one signature; timing is in `measured`."""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from compressae_jax import compression
from compressae_jax.baselines import dense
from compressae_jax.baselines.flat import Flat
from compressae_jax.baselines.quantisers import load_faiss
from compressae_jax.codes.storage.kinds import record_width, storage_bits
from compressae_jax.evaluation import contenders
from compressae_jax.evaluation.contenders import BASELINES
from compressae_jax.model.weights import ONE_PASS, PURSUIT, Weights
from compressae_jax.notation import InputError, check_choice
from compressae_jax.retrieval.index import Index
from compressae_jax.training import loop

Vectors = Float[np.ndarray, "n d"]
Found = tuple[Float[np.ndarray, "q r"], Int[np.ndarray, "q r"]]

DENSE, OURS, ONE = "dense", "pursuit", "one_pass"
# In this order, so that what time is short for are those that take long.
SLOW_PEERS = ("matryoshka_int8", "opq", "prq", "rq", "lsq")
PEERS = ("int8", "pq", "pca_int4", "pca_int8", "sq", "transform", "binary", "rabitq", "itq", "truncation", *SLOW_PEERS)
# Seconds to fit and encode, in those of PQ of as many bytes: the middle of all sets of results/frontier.
TIMES_PQ = {"opq": 30, "prq": 30, "rq": 20, "lsq": 130}
STEPS = 300  # of one-pass codes, a tenth of the recipe's
LEAST_ROWS = 1024  # fitted to, for one-pass codes: a batch
NONZERO, SCALE = 4, 4  # bytes of float16 rows of one-pass codes


class Fitted(NamedTuple):
    """A method fitted to some rows: `encode` gives what is stored of others, `search` finds in that."""

    label: str
    bytes_per_vector: float
    encode: Callable[[Vectors], Any]
    search: Callable[[Any, Vectors, int], Found]
    about: Mapping[str, Any]  # h, k and storage of codes
    flat: Flat | None = None  # of a peer
    indexed: Callable[[Any], Index] | None = None  # of codes


class Method(NamedTuple):
    """One method at one budget; `fit` takes rows and a seed.

    `budget` is what it is compared at, None for one of a size of its own.
    """

    name: str
    kind: str  # 'dense', 'code' or 'baseline'
    budget: int | None
    fit: Callable[[Vectors, int], Fitted]


def all_of(d: int, budgets: Sequence[int], peers: Sequence[str], one_pass: bool) -> tuple[list[Method], list[str]]:
    """Every method at every budget that it has a form of, the quick and likely ones first; and what is left out."""
    methods = [Method(DENSE, "dense", None, lambda rows, seed: _peer(dense.fit(rows)))]
    methods += [Method(OURS, "code", b, functools.partial(_pursuit, b)) for b in budgets]
    told, missing = [], []
    for name in (one for one in PEERS if one in peers):
        if name in contenders.OF_FAISS and not _has_faiss(name):
            missing.append(name)
            continue
        sizes = [size for _, size in contenders.sizes([name], budgets, d)]
        methods += [Method(name, "baseline", size, functools.partial(_baseline, name, size)) for size in sizes]
    if missing:
        told.append(f"{', '.join(missing)}: they need faiss (pip install 'compressae_jax[bench]')")
    if one_pass:
        place = next((i for i, one in enumerate(methods) if one.name in SLOW_PEERS), len(methods))
        methods[place:place] = [Method(ONE, "code", b, functools.partial(_one_pass, b)) for b in budgets if k_of(b) > 0]
    return methods, told


def check(peers: Sequence[str]) -> None:
    """Raise InputError for a peer of no such name."""
    for name in peers:
        check_choice("peers", name, PEERS)


def k_of(budget: int) -> int:
    """Nonzeros of one-pass codes in float16 rows of so many bytes."""
    return (budget - SCALE) // NONZERO


def _pursuit(budget: int, rows: Vectors, seed: int) -> Fitted:
    return of_codes(loop.fit(rows, seed=seed, progress=False, budget_bytes=budget, held_out=0), PURSUIT)


def _one_pass(budget: int, rows: Vectors, seed: int) -> Fitted:
    h = max(64, min(2048, 1 << (len(rows) // 4).bit_length() - 1))
    own: dict[str, Any] = {"h": h, "k": min(k_of(budget), h // 4), "steps": STEPS, "batch": min(1024, len(rows))}
    return of_codes(loop.fit(rows, seed=seed, progress=False, held_out=0, **own), ONE_PASS)


def of_codes(weights: Weights, label: str) -> Fitted:
    """A model's codes, by the encoder and storage that it is for, asked by dense queries."""

    def encode(rows: Vectors) -> Any:
        return compression.encode(weights, rows, weights.storage, encoder=weights.encoder)

    def indexed(rows: Any) -> Index:
        return Index(rows, weights)

    def search(rows: Any, queries: Vectors, top: int) -> Found:
        scores, found = indexed(rows).search(queries, top)
        return scores, found

    packed = storage_bits(weights.storage) is not None
    width = (
        record_width(weights.storage, weights.h, weights.k, weights.own_levels)
        if packed
        else NONZERO * weights.k + SCALE
    )
    about = {"h": weights.h, "k": weights.k, "storage": weights.storage, "encoder": weights.encoder}
    return Fitted(label, float(width), encode, search, about, indexed=indexed)


def _baseline(name: str, budget: int, rows: Vectors, seed: int) -> Fitted:
    some = rows[: contenders.BASELINE_ROWS]
    options = {"seed": seed} if "seed" in BASELINES[name].options else {}
    return _peer(BASELINES[name].fit(some, budget, **options))


def _peer(fitted: Flat) -> Fitted:
    def search(stored: Any, queries: Vectors, top: int) -> Found:
        return fitted.search_stored(queries, [stored], top)

    return Fitted(fitted.name, fitted.bytes_per_vector, fitted.encode, search, {}, flat=fitted)


def _has_faiss(name: str) -> bool:
    try:
        load_faiss(name)
    except InputError:
        return False
    return True
