"""RaBitQ by faiss: 1 to 9 bits a dimension after a random rotation, and the factors of an unbiased estimate."""

import bisect
import functools

import numpy as np
from jaxtyping import Float, UInt8

from compressae_jax.baselines import choosing, pca
from compressae_jax.baselines.flat import Flat
from compressae_jax.baselines.quantisers import in_blocks, load_faiss
from compressae_jax.baselines.rotation import random_rotation
from compressae_jax.baselines.units import Vectors, unit_rows
from compressae_jax.notation import check_range

BITS = range(1, 10)
SMALLEST = 9  # bytes of one sign and its factors

Basis = Float[np.ndarray, "d d"]
Bytes = UInt8[np.ndarray, "n m"]


def size(m: int, bits: int) -> int:
    """Bytes of m dimensions with their factors."""
    faiss = load_faiss("RaBitQ")
    return faiss.RaBitQuantizer(m, faiss.METRIC_INNER_PRODUCT, bits).code_size


def sizes(d: int) -> list[int]:
    """Bytes of the forms that keep all dimensions, by bits."""
    return [size(d, bits) for bits in BITS]


def largest(d: int) -> int:
    """Bytes of the largest form."""
    return sizes(d)[-1]


def fit(vectors: Vectors, budget: int | None = None, basis: Basis | None = None, seed: int = 0) -> Flat:
    """Keep all dimensions where `budget` is one of their sizes (default: the largest), else what finds most.

    Other budgets hold more bits of fewer principal directions, and held-out rows choose. `basis` is
    `pca.directions(vectors)` where the caller has it.

    Raises:
        InputError: faiss is missing, or a budget below one dimension or above the largest form.
    """
    d = vectors.shape[1]
    budget = largest(d) if budget is None else budget
    check_range("budget", budget, SMALLEST, largest(d))
    basis = pca.directions(vectors) if basis is None else basis
    if budget in sizes(d):
        return _of_form(vectors, d, 1 + sizes(d).index(budget), basis, seed)
    return _of_form(vectors, *_chosen(vectors, budget, basis, seed), basis, seed)


def _of_form(vectors: Vectors, m: int, bits: int, basis: Basis, seed: int) -> Flat:
    d = vectors.shape[1]
    turn = basis[:, :m] @ random_rotation(m, seed)

    def reduce(x: Vectors) -> Float[np.ndarray, "n p"]:
        return np.pad(unit_rows(x) @ turn, ((0, 0), (0, 1)), constant_values=1)

    return Flat("RaBitQ" if m == d else "PCA RaBitQ", d, reduce, Quantiser(reduce(vectors), bits))


def _chosen(vectors: Vectors, budget: int, basis: Basis, seed: int) -> tuple[int, int]:
    """The dimensions and bits whose recall of held-out rows' neighbours is the first to be followed by a lower one."""
    found = choosing.trial(vectors, seed)
    best, chosen = -1, (0, 0)
    for m, bits in forms(vectors.shape[1], budget):
        hits = found(functools.partial(_of_form, m=m, bits=bits, basis=basis, seed=seed))
        if hits <= best:
            break
        best, chosen = hits, (m, bits)
    return chosen


def forms(d: int, budget: int) -> list[tuple[int, int]]:
    """The most dimensions that a budget holds at each number of bits; all d dimensions only with the most bits."""
    most = [bisect.bisect(range(1, d + 1), budget, key=functools.partial(size, bits=bits)) for bits in BITS]
    return [(m, bits) for bits, m, of_next in zip(BITS, most, [*most[1:], 0], strict=True) if m and of_next < d]


class Quantiser:
    """faiss's codes of rows whose last column, always 1, is no dimension.

    The estimate is affine in the query, q·z + a: unpacked rows are z with a in the last column, so that their inner
    products are what faiss.IndexRaBitQ finds with a float query; its decoder leaves out all bits but the sign.
    """

    def __init__(self, training: Float[np.ndarray, "n p"], bits: int):
        faiss = load_faiss("RaBitQ")
        self._m, self._extra = training.shape[1] - 1, bits - 1
        self._index = faiss.IndexRaBitQ(self._m, faiss.METRIC_INNER_PRODUCT, bits)
        self._index.train(np.ascontiguousarray(training[:, :-1]))
        self._centre = faiss.vector_to_array(self._index.center)
        self.width = self._index.sa_code_size()

    def pack(self, reduced: Float[np.ndarray, "n p"]) -> Bytes:
        """Signs, extra bits and all factors that faiss keeps."""
        return in_blocks(lambda block: self._index.sa_encode(np.ascontiguousarray(block[:, :-1])), reduced, self.width)

    def unpack(self, stored: Bytes) -> Float[np.ndarray, "n p"]:
        """The centre with the scaled levels about it, and what the estimate adds whatever the query."""
        signs = _bits(stored, self._m)
        levels, scale, along_centre = self._levels(signs, stored[:, -(-self._m // 8) :])
        offsets = scale[:, None] * levels
        return np.hstack([self._centre + offsets, (along_centre - offsets @ self._centre)[:, None]])

    def _levels(self, signs: np.ndarray, rest: Bytes) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Levels by dimension, their scale by row, and the row's inner product with the centre, less the centre's."""
        if not self._extra:
            difference, scale = _floats(rest)  # ‖x - c‖² - ‖x‖²
            levels = (signs - np.float32(0.5)) * np.float32(2 / np.sqrt(self._m))
            return levels, scale, -(difference + self._centre @ self._centre) / 2
        rest = rest[:, 12:]  # factors of the estimate by signs alone
        bits = _bits(rest, self._m * self._extra).reshape(len(rest), self._m, self._extra)
        extra = sum(bits[:, :, place].astype(np.float32) * 2**place for place in range(self._extra))
        along_centre, scale = _floats(rest[:, -8:])
        return signs * np.float32(2**self._extra) + extra - np.float32(2**self._extra - 0.5), scale, along_centre


def _bits(stored: Bytes, count: int) -> UInt8[np.ndarray, "n bits"]:
    return np.unpackbits(stored[:, : -(-count // 8)], axis=1, count=count, bitorder="little")


def _floats(stored: UInt8[np.ndarray, "n 8"]) -> Float[np.ndarray, "2 n"]:
    return np.ascontiguousarray(stored).view("<f4").T
