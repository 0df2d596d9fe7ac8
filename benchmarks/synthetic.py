"""Random rows and queries, block by block, and the float64 oracle that results are held against."""

import dataclasses
import functools
from collections.abc import Iterator
from typing import Any

import numpy as np
import scipy.sparse

from compressae_jax.codes import levels
from compressae_jax.codes.codes import Codes, column_dtype
from compressae_jax.codes.storage.packed import Packed, Packing, pack
from compressae_jax.model.weights import Weights
from compressae_jax.retrieval.index import Index

BLOCK = 65_536  # rows that are made, scored or checked at a time
CHECKED = 64  # queries of the oracle, spread over all; a side that answers q of them is checked on those below q

Found = tuple[Any, Any]  # scores (q, r) and rows (q, r)


class Data:
    """Rows as unit vectors and as codes (two data sets of one length), and queries of each kind."""

    def __init__(self, dense: np.ndarray, codes: Codes, vectors: np.ndarray, u: np.ndarray, few: Codes, top: int):
        self.dense, self.vectors, self.u, self.few, self.top = dense, vectors, u, few, top
        if codes.norms is None:  # of z too: for times only
            own = np.linalg.norm(codes.values.astype(np.float32), axis=1)
            codes = dataclasses.replace(codes, norms=np.repeat(own[:, None], 2, axis=1))
        codes = codes.check()  # once, as an index does; rows that nobody checked are looked at in every search
        self.codes, self.row_scales = codes, codes.scales("sparse")
        self.dense_truth = Truth(dense, vectors, top)
        self.code_truth = Truth(self.csr, u, top)
        self.sparse_truth = Truth(self.csr, few.to_dense(), top)

    @staticmethod
    def drawn(*, n: int, q: int, d: int, h: int, k: int, values: str, top: int) -> "Data":
        """Random ones; `few` are queries of k nonzeros, as the space `sparse` compares them."""
        rng = np.random.default_rng(0)
        few = random_codes(rng, q, h, k, "float32")
        few = Codes(unit(few.values), few.columns, h)
        u = rng.standard_normal((q, h), np.float32)
        codes = random_codes(rng, n, h, k, values)
        return Data(unit_rows(rng, n, d), codes, unit_rows(rng, q, d), u, few, top)

    def head(self, n: int) -> "Data":
        """The first n rows and all queries."""
        return Data(self.dense[:n], self.codes[:n], self.vectors, self.u, self.few, self.top)

    @functools.cached_property
    def csr(self) -> scipy.sparse.csr_matrix:
        """Codes times their row scales, as the sparse peers take them: float32 values, int32 columns, in order."""
        values = self.codes.values.astype(np.float32) * self.row_scales[:, None]
        matrix = Codes(values, self.codes.columns, self.codes.h).to_csr()
        matrix.sort_indices()
        return matrix

    @functools.cached_property
    def few_csr(self) -> scipy.sparse.csr_matrix:
        """The sparse queries."""
        matrix = self.few.to_csr()
        matrix.sort_indices()
        return matrix

    @functools.cached_property
    def weights(self) -> Weights:
        """Random atoms: no time depends on what a model learnt."""
        d, h = self.dense.shape[1], self.codes.h
        decoder_w = unit_rows(np.random.default_rng(1), h, d)
        params = {"encoder_w": decoder_w.T.copy(), "encoder_b": np.zeros(h, np.float32), "decoder_w": decoder_w}
        return Weights(params, h, self.codes.k)

    def index(self, space: str) -> Index:
        """The codes as an index of the untrained model."""
        return Index(self.codes, self.weights, space)


class Truth:
    """The float64 oracle of rows (n, w), dense or CSR, and queries (q, w)."""

    def __init__(self, matrix: np.ndarray | scipy.sparse.csr_matrix, queries: np.ndarray, top: int):
        self.matrix, self.top = matrix, top
        self.sample = np.unique(np.linspace(0, len(queries) - 1, CHECKED).astype(int))
        self.queries = queries[self.sample].astype(np.float64)

    @functools.cached_property
    def wanted(self) -> np.ndarray:
        """The best scores of each query of the sample, best first."""
        scored = ((block.astype(np.float64) @ self.queries.T).T for _, block in blocks(self.matrix))
        return merged([best(scores, self.top) for scores in scored], self.top)[0]

    def judged(self, found: Found, q: int) -> tuple[bool, float]:
        """Whether the results of q queries are the oracle's, and their recall; equal scores are equally good."""
        scores, rows = (np.asarray(each) for each in found)
        here = self.sample[self.sample < q]
        if scores.shape != (q, self.top) or rows.shape != scores.shape:
            return False, 0.0
        scores, rows, wanted = scores[here], rows[here], self.wanted[: len(here)]
        if not all(some.min() >= 0 and some.max() < self.matrix.shape[0] for some in rows):
            return False, 0.0
        distinct = all(len(set(some)) == self.top for some in rows.tolist())
        exact = np.stack([self.matrix[some] @ one for some, one in zip(rows, self.queries, strict=False)])
        recall = float((exact >= wanted[:, -1:] - 1e-5).mean()) if distinct else 0.0
        right = distinct and all(np.allclose(some, wanted, rtol=1e-4, atol=1e-5) for some in (scores, exact))
        return right, recall


def random_codes(rng: np.random.Generator, n: int, h: int, k: int, values: str) -> Codes:
    """Normal values, sorted by falling magnitude, in columns that are distinct within a row."""
    numbers = rng.standard_normal((n, k), np.float32)
    # No value may round to zero: a packed row has all k.
    numbers = (numbers + np.copysign(np.float32(1e-4), numbers)).astype(values)
    columns = np.empty((n, k), column_dtype(h))
    for j, last in enumerate(range(h - k, h)):  # Floyd's sample, all rows at once
        drawn = rng.integers(0, last + 1, n, columns.dtype)
        columns[:, j] = np.where((columns[:, :j] == drawn[:, None]).any(axis=1), last, drawn)
    order = np.argsort(-np.abs(numbers), axis=1)
    return Codes(np.take_along_axis(numbers, order, axis=1), np.take_along_axis(columns, order, axis=1), h)


def packed_codes(codes: Codes, bits: int) -> Packed:
    """The rows packed, by levels that are learned from the first of them."""
    chosen = levels.learn(np.abs(codes.values[:5000]).reshape(-1), 2 ** (bits - 1)).astype(np.float16)
    return pack(codes, Packing(codes.h, codes.k, bits, tuple(chosen.astype(float).tolist())))


def unit(x: np.ndarray) -> np.ndarray:
    """Each row divided by its length."""
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def unit_rows(rng: np.random.Generator, n: int, d: int) -> np.ndarray:
    """Random directions, float32."""
    x = rng.standard_normal((n, d), np.float32)
    for _, block in blocks(x):
        block /= np.linalg.norm(block, axis=1, keepdims=True)
    return x


def blocks(matrix: Any, share: int = 1) -> Iterator[tuple[int, Any]]:
    """The first row and the rows of each block, or of each 1/`share` of one."""
    size = BLOCK // share
    return ((start, matrix[start : start + size]) for start in range(0, matrix.shape[0], size))


def best(scores: np.ndarray, top: int, first_row: int = 0) -> Found:
    """The best of scores (q, c), in no order, and their rows, numbered from `first_row`."""
    if scores.shape[1] <= top:
        return scores, np.broadcast_to(first_row + np.arange(scores.shape[1]), scores.shape)
    rows = np.argpartition(scores, scores.shape[1] - top, axis=1)[:, -top:]
    return np.take_along_axis(scores, rows, axis=1), first_row + rows


def merged(parts: list[Found], top: int) -> Found:
    """The best of several blocks, best first."""
    scores, rows = (np.concatenate(each, axis=1) for each in zip(*parts, strict=True))
    order = np.argsort(-scores, axis=1)[:, :top]
    return np.take_along_axis(scores, order, axis=1), np.take_along_axis(rows, order, axis=1)
