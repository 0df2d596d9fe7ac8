"""The slow truth of search: dense float64 scores and a stable sort."""

import numpy as np

from compressae_jax.codes.codes import Codes
from compressae_jax.codes.storage.packed import Packing, pack


def search(codes, row_scales, u, top):
    dense = codes.to_dense().astype(np.float64)
    scores = np.asarray(u, np.float64) @ dense.T * np.asarray(row_scales, np.float64)
    rows = np.argsort(-scores, axis=1, kind="stable")[:, :top]
    return np.take_along_axis(scores, rows, axis=1), rows


def integer_problem(n, q, h=37, k=5, values="float32", columns="uint16", seed=0):
    """Codes, row scales and expanded queries whose sums are exact in any order, full of ties and zero rows."""
    rng = np.random.default_rng(seed)
    where = rng.random((n, h)).argsort(axis=1)[:, :k].astype(columns)
    numbers = rng.integers(-3, 4, (n, k)).astype(values)
    numbers[::5] = 0
    row_scales = rng.choice([0.5, 1, 2], n).astype(np.float32) * numbers.any(axis=1)
    return Codes(numbers, where, h), row_scales, rng.integers(-2, 3, (q, h)).astype(np.float32)


def packed_problem(n, q, h=37, k=5, bits=3, seed=0):
    """The same with packed codes, and what they unpack to in their place."""
    codes, row_scales, u = integer_problem(n, q, h, k, seed=seed)
    codes.values[codes.values == 0] = 4
    codes.values[::5] = 0
    packed = pack(codes, Packing(h, k, bits, tuple(float(i) for i in range(1, 2 ** (bits - 1) + 1))))
    return (packed, row_scales, u), (packed.unpack(), row_scales, u)
