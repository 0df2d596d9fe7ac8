"""The neighbour protocol: how many of a held-out row's dense neighbours are found; reading rows is in `streams`."""

import functools
from collections.abc import Callable

import numpy as np
from jaxtyping import Float, Int

from compressae_jax import compression
from compressae_jax.baselines import dense
from compressae_jax.baselines.units import unit_rows
from compressae_jax.codes import on_device
from compressae_jax.data.sampling import VALIDATION, Rest, drawn_rows
from compressae_jax.data.sources import Source
from compressae_jax.evaluation import streams
from compressae_jax.evaluation.rankings import PerQuery
from compressae_jax.model.weights import Weights
from compressae_jax.notation import InputError, Rows, Scores
from compressae_jax.retrieval.index import Index

DEPTHS = (10, 100)
METRICS = tuple(f"recall@{depth}" for depth in DEPTHS)
SAMPLE = 20_000  # index rows that a validation searches


def per_query(found: Rows, truth: Int[np.ndarray, "q t"]) -> dict[str, PerQuery]:
    """Recall at every depth of `DEPTHS`: the share of the true neighbours that are found, as sets.

    A depth beyond the true neighbours at hand is cut there.
    """
    return {f"recall@{depth}": overlap(found[:, :depth], truth[:, :depth]) for depth in DEPTHS}


def overlap(found: Rows, truth: Int[np.ndarray, "q t"]) -> PerQuery:
    """Share of the rows of `truth` that stand anywhere in `found`; -1 in `found` is no row."""
    hits = np.array([len(np.intersect1d(some, wanted)) for some, wanted in zip(found, truth, strict=True)], np.float64)
    return hits / truth.shape[1]


def truth(source: Source, left_out: Int[np.ndarray, " rows"], queries: Float[np.ndarray, "q d"]) -> tuple[Scores, Rows]:
    """The 100 nearest rows (or all there are) by exact float32 cosine among the rows not left out, by blocks.

    Rows are numbered as they stand after the others were left out.
    """
    peer = dense.fit(queries)
    stored = (peer.encode(vectors) for _, vectors in streams.pieces(source, left_out))
    return peer.search_stored(queries, stored, min(max(DEPTHS), len(source) - len(left_out)))


def validator(
    source: Source,
    validation_rows: Int[np.ndarray, " validation"],
    index_rows: Rest,
    sample: int = SAMPLE,
    seed: int = 0,
    backend: str = "auto",
) -> Callable[[Weights], dict[str, float]]:
    """A function from weights to 'cosine' (mean cos(x, z) of the validation rows) and 'recall@100' (dense_query).

    It searches at most `sample` of the index rows, drawn once by `seed`, and no validation row; where these are no more
    than 100, all of which any model would find, there is no recall. Rows are read, and truth is computed, when it is
    first called. Zero rows have no direction and are not counted.
    """
    others = index_rows.without(validation_rows)
    if not len(validation_rows) or not len(others):
        raise InputError(
            f"validation needs rows to ask for and to search, not {len(validation_rows)} and {len(others)}"
        )
    depth = max(DEPTHS)

    @functools.cache
    def asked() -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        queries = streams.take(source, validation_rows)
        queries = queries[(queries != 0).any(axis=1)]
        if not len(queries):
            raise InputError(f"all {len(validation_rows)} validation rows of {source.name} are zero rows")
        drawn = np.sort(drawn_rows(len(others), seed, min(sample, len(others)), VALIDATION))
        vectors = streams.take(source, others[drawn])
        enough = len(vectors) > depth
        return queries, vectors, dense.fit(vectors).add(vectors).search(queries, depth)[1] if enough else None

    def validate(weights: Weights) -> dict[str, float]:
        queries, vectors, nearest = asked()
        scores = {"cosine": _cosine(weights, queries)}
        if nearest is not None:
            index = Index(compression.encode(weights, vectors), weights)
            _, found = index.search(queries, depth, backend=backend)
            scores[f"recall@{depth}"] = float(overlap(found, nearest).mean())
        return scores

    return validate


def _cosine(weights: Weights, vectors: Float[np.ndarray, "q d"]) -> float:
    codes = compression.encode(weights, vectors)
    restored = np.asarray(on_device.reconstruct(codes, weights.params["decoder_w"]))
    return float((unit_rows(vectors) * unit_rows(restored)).sum(axis=1).mean())
