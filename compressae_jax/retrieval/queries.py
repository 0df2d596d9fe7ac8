"""Queries of one model in one space: checked, encoded, expanded to u; it knows no rows. `index` scores rows with u."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from compressae_jax import data
from compressae_jax.base import devices, products
from compressae_jax.base.arrays import padded
from compressae_jax.codes import lengths, on_host, spaces
from compressae_jax.codes.codes import Codes
from compressae_jax.codes.rows import SIMILARITIES, Rows, check_made_by
from compressae_jax.codes.storage.kinds import OWN
from compressae_jax.model import encoders
from compressae_jax.model.encoders import Encoder
from compressae_jax.model.weights import Weights
from compressae_jax.notation import Expanded, InputError, check_choice


@dataclasses.dataclass(frozen=True, eq=False)
class Expander:
    """What turns queries into u (q, h) for one space. It can be pickled, so a client needs a model and no index.

    On a CPU it calls nothing of JAX: any number of threads may share it, and a forked process, too, may use it.

    `encoder` made the rows that are searched; queries that the space compares as codes go through it, too, their values
    rounded as `storage` does and with the rows' budget `k` (both default to the model's); in the sparse space vectors
    have `query_times` as many nonzeros, where one pass makes them. Under `similarity` 'dot' u
    has the query's length; a code stands for a unit vector unless it has a length of its own.
    """

    weights: Weights
    space: str
    encoder: str | None = None
    storage: str | None = None
    k: int | None = None
    similarity: str = "cosine"

    def __post_init__(self) -> None:
        check_choice("space", self.space, spaces.SPACES)
        check_choice("similarity", self.similarity, SIMILARITIES)
        encoders.check(self.encoder or self.weights.encoder, self.weights.activation, rounded=False)

    def expand(self, queries: Any) -> Expanded:
        """u of queries, vectors (q, d) or rows of codes, one row each; u of a zero query is zero.

        In `dense_query` codes stand for their reconstructions.

        Raises:
            InputError: queries of another width or another model's codes, not 2-d, not floats, not finite.
        """
        return self.of_checked(self.checked(queries))

    def checked(self, queries: Any) -> Float[np.ndarray, "q d"] | Codes:
        """The queries as float32 or as codes in memory, once they can be answered; raises as `expand`."""
        if isinstance(queries, Rows):
            if queries.h != self.weights.h:
                raise InputError(f"queries are codes of width h={queries.h}, the index has h={self.weights.h}")
            check_made_by(queries, self.weights.fingerprint)
            return queries.check().codes()
        vectors = data.at_hand("queries", queries)
        if vectors.size == 0 and vectors.ndim < 2:
            vectors = np.empty((0, self.weights.d), np.float32)
        self._check_vectors(vectors)
        return np.ascontiguousarray(vectors, np.float32)

    def of_checked(self, queries: Float[np.ndarray, "q d"] | Codes) -> Expanded:
        """u of what `checked` gives."""
        if not len(queries):
            return np.empty((0, self.weights.h), np.float32)
        expand = self._on_host if devices.on_cpu() else self._on_device
        u = expand(queries)
        of_queries = self._lengths(queries)
        return u if of_queries is None else u * of_queries[:, None]

    def _lengths(self, queries: Float[np.ndarray, "q d"] | Codes) -> Float[np.ndarray, " q"] | None:
        """What u is multiplied by."""
        if self.similarity == "cosine":
            return None
        of_queries = queries.lengths if isinstance(queries, Rows) else lengths.of(queries)
        if of_queries is None:
            return None
        of_queries = np.asarray(of_queries, np.float32)
        if (beyond := lengths.fault(of_queries)) is not None:
            raise InputError(f"queries: row {beyond[0]} {beyond[1]}")
        return of_queries

    def _on_host(self, queries: Float[np.ndarray, "q d"] | Codes) -> Expanded:
        """By NumPy and compiled loops, the same bits in any company."""
        decoder_w = np.asarray(self.weights.params["decoder_w"])
        if self.space != "dense_query" and not isinstance(queries, Rows):
            queries = self._cut(self._encoder(queries))
        if not isinstance(queries, Rows):
            vectors = queries
        elif self.space == "sparse":
            values = on_host.unit_rows(np.asarray(queries.values, np.float32))
            return Codes(values, np.asarray(queries.columns), queries.h).to_dense()
        else:
            vectors = on_host.reconstruct(queries, decoder_w)
        units, atoms = on_host.unit_rows(vectors), encoders.strips_of(self.weights, "decoder_w")
        return products.by_all_cores(units, atoms)

    def _on_device(self, queries: Float[np.ndarray, "q d"] | Codes) -> Expanded:
        """By jitted calls for a power of two of queries, so that any number of them costs few compilations."""
        from compressae_jax.codes import on_device as expanding
        from compressae_jax.model import on_device

        q, decoder_w = len(queries), on_device.params_on(self.weights, devices.first())["decoder_w"]
        size = 1 << (q - 1).bit_length()
        if isinstance(queries, Rows):
            values, columns = padded(queries.values, size), padded(queries.columns, size)
            return np.asarray(expanding.expand_codes(Codes(values, columns, queries.h), decoder_w, self.space))[:q]
        whole = padded(queries, size)
        if self.space == "dense_query":
            return np.asarray(expanding.expand_vectors(whole, decoder_w))[:q]
        return np.asarray(expanding.expand_codes(self._cut(self._encoder(whole)), decoder_w, self.space))[:q]

    @functools.cached_property
    def _encoder(self) -> Encoder:
        """What makes codes of vectors, in float16 where the rows' are, on levels where a model makes no others."""
        storage = self.storage or self.weights.storage
        kind = storage if storage in ("float16", *OWN) else "float32"
        encoder = self.encoder or self.weights.encoder
        if (times := self._times) == 1:
            return Encoder(self.weights, encoder, kind)
        return Encoder(self.weights, encoder, kind, nonzeros=min(times * self.weights.k, self.weights.h))

    @property
    def _times(self) -> int:
        """Nonzeros of a query for each of a row."""
        one_pass = (self.encoder or self.weights.encoder) == "topk"
        return self.weights.query_times if self.space == "sparse" and one_pass else 1

    def _cut(self, codes: Codes) -> Codes:
        return codes.prefix(min(codes.k, self._times * self.k if self.k else codes.k))

    def _check_vectors(self, vectors: np.ndarray) -> None:
        d = self.weights.d
        if vectors.ndim != 2:
            hint = "; for one query pass query[None]" if vectors.ndim == 1 else ""
            raise InputError(f"queries must have shape (q, {d}), not {vectors.shape}{hint}")
        if vectors.shape[1] != d:
            raise InputError(
                f"queries have width {vectors.shape[1]}, the model was trained on {d} "
                f"(fingerprint {self.weights.fingerprint})"
            )
        if vectors.dtype.kind != "f" and vectors.dtype.name != "bfloat16":
            raise InputError(f"queries must be floats, not {vectors.dtype}")
        finite = np.isfinite(vectors.astype(np.float32, copy=False)).all(axis=1)
        if not finite.all():
            raise InputError(f"queries hold a value that is not finite, first in row {int(finite.argmin())}")


def without_direction(u: Expanded) -> Bool[np.ndarray, " q"]:
    """Which queries are zero in their space: they find nothing."""
    return np.logical_not(np.asarray(u).any(axis=1))
