"""What the learned quantisers of faiss share: bytes as a storage, blocks, seeds; needs the extra [bench]."""

import itertools
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

from compressae_jax.base import progress
from compressae_jax.baselines.units import Vectors, unit_rows
from compressae_jax.notation import InputError, check_range

CENTROIDS = 256  # of a codebook: one byte
BLOCK = 2048  # rows encoded at once: 100 MiB for 16 beams of width 768

Bytes = UInt8[np.ndarray, "n m"]


def largest(d: int) -> int:
    """Bytes of the largest form: a codebook for every dimension."""
    return d


class Parts:
    """Quantisers of consecutive dimensions, side by side.

    Decoded rows go back to unit length, so that scores are cosines: it takes no bytes, since a row's length follows
    from its code, and gives up to .03 of recall@100 over the inner product of what is decoded.
    """

    def __init__(self, quantisers: Iterable[Any]):
        self.quantisers = list(quantisers)
        self.width = sum(one.code_size for one in self.quantisers)
        self._dimensions = np.cumsum([one.d for one in self.quantisers])[:-1]
        self._bytes = np.cumsum([one.code_size for one in self.quantisers])[:-1]

    def train(self, units: Vectors) -> "Parts":
        """Train each on its own dimensions."""
        for one, part in zip(self.quantisers, np.split(units, self._dimensions, axis=1), strict=True):
            one.train(np.ascontiguousarray(part))
        return self

    def pack(self, reduced: Vectors) -> Bytes:
        """The codes of all parts."""
        return in_blocks(lambda block: self._each("compute_codes", block, self._dimensions), reduced, self.width)

    def unpack(self, stored: Bytes) -> Vectors:
        """The decoded parts, together of unit length."""
        return unit_rows(self._each("decode", stored, self._bytes))

    def _each(self, method: str, rows: np.ndarray, bounds: np.ndarray) -> np.ndarray:
        parts = np.split(rows, bounds, axis=1)
        calls = [getattr(one, method) for one in self.quantisers]
        return np.hstack([call(np.ascontiguousarray(part)) for call, part in zip(calls, parts, strict=True)])


def in_blocks(encode: Callable[[Vectors], Bytes], rows: Float[np.ndarray, "n d"], width: int) -> Bytes:
    """The codes of rows, `width` bytes each; a bar shows on a terminal where they take longer than a second."""
    codes = np.empty((len(rows), width), np.uint8)
    with progress.bar(len(rows), "encode") as bar:
        for start in range(0, len(rows), BLOCK):
            block = rows[start : start + BLOCK]
            codes[start : start + BLOCK] = encode(block)
            bar.update(len(block))
    return codes


def trainable(name: str, vectors: Vectors, budget: int | None, most: int | None = None) -> tuple[Vectors, int]:
    """Unit vectors and budget for a quantiser of one-byte codebooks (default: one for every eight dimensions).

    Raises:
        InputError: fewer than 256 vectors, or a budget outside 1..`most` (default: the width).
    """
    d = vectors.shape[1]
    budget = max(1, d // 8) if budget is None else budget
    check_range("budget", budget, 1, largest(d) if most is None else most)
    if len(vectors) < CENTROIDS:
        raise InputError(f"{name} must be trained on at least {CENTROIDS} vectors, not {len(vectors)}")
    return unit_rows(vectors), budget


def even(total: int, parts: int) -> list[int]:
    """A total as whole parts that differ by at most one."""
    bounds = [total * part // parts for part in range(parts + 1)]
    return [stop - start for start, stop in itertools.pairwise(bounds)]


def seed_k_means(clustering: Any, seed: int) -> None:
    """Seed a quantiser's k-means; 0 is faiss's own seed."""
    clustering.seed += seed
    clustering.min_points_per_centroid = 1  # faiss's advice on few rows, printed a thousand times, is not ours to give


def load_faiss(name: str) -> Any:
    """The module, which only these baselines need.

    Raises:
        InputError: it is not installed.
    """
    try:
        import faiss
    except ImportError as error:
        raise InputError(f"the baseline '{name.lower()}' needs faiss: pip install 'compressae_jax[bench]'") from error
    return faiss
