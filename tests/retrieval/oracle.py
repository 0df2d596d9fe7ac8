"""The slow truth of search: dense float64 scores and a stable sort."""

import dataclasses

import numpy as np

from compressae_jax.codes.codes import Codes
from compressae_jax.codes.storage import kinds
from compressae_jax.codes.storage.packed import pack


def search(rows, space, u, top, allowed=None, without=None):
    dense = rows.to_dense().astype(np.float64)
    lengths = 1 / np.maximum(np.linalg.norm(dense, axis=1), 1e-300) * dense.any(axis=1)
    scales = rows.scales(space)
    scores = np.asarray(u, np.float64) @ dense.T * (lengths if scales is None else np.asarray(scales, np.float64))
    scores[:, slice(0) if allowed is None else ~allowed] = -np.inf
    for i, taken in enumerate([] if without is None else np.split(without.rows, without.indptr[1:-1])):
        scores[i, taken] = -np.inf
    scores = np.pad(scores, ((0, 0), (0, top)), constant_values=-np.inf)  # whatever is left
    rows = np.argsort(-scores, axis=1, kind="stable")[:, :top]
    scores = np.take_along_axis(scores, rows, axis=1)
    return scores, np.where(np.isneginf(scores), -1, rows)


def integer_problem(n, q, h=37, k=5, values="float32", columns="uint16", seed=0):
    """Rows, a space and expanded queries whose sums are exact in any order, full of ties and zero rows."""
    rng = np.random.default_rng(seed)
    where = rng.random((n, h)).argsort(axis=1)[:, :k].astype(columns)
    numbers = rng.integers(-3, 4, (n, k)).astype(values)
    numbers[::5] = 0
    norms = rng.choice([0.5, 1, 2], (n, 1)).astype(np.float32) * numbers.any(axis=1)[:, None]
    rows = Codes(numbers, where, h, np.repeat(norms, 2, axis=1), verified=True)
    return rows, "reconstructed", rng.integers(-2, 3, (q, h)).astype(np.float32)


def replaced(rows, **fields):
    return dataclasses.replace(rows, **fields)


def packed_problem(n, q, h=37, k=5, storage="packed3", seed=0):
    """The same with packed rows."""
    levels = [float(i) for i in range(1, 2 ** (kinds.storage_bits(storage) - 1) + 1)]
    codes, space, u = integer_problem(n, q, h, k, seed=seed)
    codes.values[codes.values == 0] = 4
    codes.values[::5] = 0
    return pack(codes, kinds.packing(storage, h, k, levels)), space, u
