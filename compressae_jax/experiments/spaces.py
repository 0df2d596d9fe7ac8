"""How well a model's one-pass codes find neighbours, in each space."""

import time
from collections.abc import Callable, Iterable

import numpy as np
from jaxtyping import Float

from compressae_jax import compression
from compressae_jax.baselines import dense
from compressae_jax.baselines.units import unit_rows
from compressae_jax.codes import on_device
from compressae_jax.evaluation import measures, neighbours
from compressae_jax.experiments.bench import DEEPEST, Rows
from compressae_jax.model.weights import Weights
from compressae_jax.retrieval.index import Index

SPACES = ("sparse", "reconstructed", "dense_query")


def recalls(weights: Weights, rows: Rows, ks: Iterable[int] = ()) -> dict[str, Float[np.ndarray, " q"]]:
    """'recall@100 SPACE k=K' and the same at 10, one number a query; the model's own k, and others by prefix."""
    codes = compression.encode(weights, rows.searched)
    index = Index(codes, weights, "sparse")
    found = {}
    for k in sorted({*ks} or {weights.k}, reverse=True):
        own = index if k == weights.k else index.prefix(k)
        for space in SPACES:
            _, near = own.in_space(space).search(rows.queries, DEEPEST)
            for metric, values in neighbours.per_query(near, rows.truth).items():
                found[f"{metric} {space} k={k}"] = values
    return found


def cosines(weights: Weights, vectors: Float[np.ndarray, "n d"]) -> Float[np.ndarray, " n"]:
    """cos(x, z) of every vector and its reconstruction."""
    codes = compression.encode(weights, vectors)
    restored = np.asarray(on_device.reconstruct(codes, weights.params["decoder_w"]))
    return (unit_rows(vectors) * unit_rows(restored)).sum(axis=1)


def dead(weights: Weights, vectors: Float[np.ndarray, "n d"]) -> float:
    """The share of latents that no vector's code uses."""
    return float((measures.usage(compression.encode(weights, vectors), weights.k) == 0).mean())


def validator(rows: Rows, most: int) -> Callable[[Weights], dict[str, float]]:
    """From weights to the validation rows' cosine, their recall@100 among `most` rows, and the seconds it took."""
    searched = rows.searched[:most]
    queries = rows.validation
    _, truth = dense.fit(searched).add(searched).search(queries, DEEPEST)
    own = Rows(rows.training, rows.validation, searched, queries, truth)

    def validate(weights: Weights) -> dict[str, float]:
        start = time.perf_counter()
        scores = {"cosine": float(cosines(weights, queries).mean())}
        for name, values in recalls(weights, own).items():
            metric, space, _ = name.split()
            if metric == f"recall@{DEEPEST}":
                scores[f"{metric} {space}"] = float(values.mean())
        return {**scores, "seconds": time.perf_counter() - start}

    return validate
