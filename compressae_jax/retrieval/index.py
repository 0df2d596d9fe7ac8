"""An exact search index: codes, row scales in one space, and the model that expands queries; backends score."""

from __future__ import annotations

import copy
import functools
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import Float, Int

from compressae_jax.codes import disk, spaces
from compressae_jax.codes import folder as codes_folder
from compressae_jax.codes.codes import Codes, checked
from compressae_jax.codes.storage.packed import Packed
from compressae_jax.data.sources import Source
from compressae_jax.model import encoders
from compressae_jax.model import weights as model_weights
from compressae_jax.model.weights import Weights
from compressae_jax.notation import AnyArray, Expanded, FolderError, InputError, check_choice, check_range
from compressae_jax.retrieval import compress
from compressae_jax.retrieval.backends import bcoo, host, lists, scan

BACKENDS = {"host": host.search, "scan": scan.search, "bcoo": bcoo.search}
LISTS = "lists"  # a backend, too, of an index `with_lists`
FORMAT_VERSION = 1
CODES, MODEL, META = "codes", "model", "index.json"
QUERIES = 1024  # searched at a time: bounds the expanded queries
QUERY_BLOCKS = (8, 64)  # queries are expanded in blocks of one of two shapes, so that their number compiles nothing


class Index:
    """Codes that one model made, searched exactly in one of the three spaces of `codes.spaces`.

    `norms` (n, 2) are those of `compress`, None for packed codes, whose values were multiplied with their row's scale.
    `ids`, if any, name the rows; results are row numbers. `encoder` made the codes (default: the one that the model was
    trained for); queries that are compared as codes go through it, too.
    """

    def __init__(
        self,
        codes: Codes | Packed,
        norms: Float[AnyArray, "n 2"] | None,
        space: str,
        weights: Weights,
        ids: Sequence[Any] | np.ndarray | None = None,
        encoder: str | None = None,
    ) -> None:
        check_choice("space", space, spaces.SPACES)
        if codes.h != weights.h:
            raise InputError(f"codes have width h={codes.h}, the model {weights.h} (fingerprint {weights.fingerprint})")
        for name, each in (("norms", norms), ("ids", ids)):
            if each is not None and len(each) != len(codes):
                raise InputError(f"{name} must be {len(codes)}, one a row of codes, not {len(each)}")
        _check_rows(codes, norms)
        self.codes, self.norms, self.space, self.weights, self.ids = codes, norms, space, weights, ids
        self.row_scales = _row_scales(codes, norms, space)
        self.lists: lists.Lists | None = None
        self.encoder = encoder or weights.encoder
        encoders.check(self.encoder, weights, rounded=False)

    def __len__(self) -> int:
        return len(self.codes)

    @property
    def nbytes(self) -> int:
        """Bytes in memory that search needs for the rows: values, columns and row scales, or packed records alone.

        Lists, which only some indexes hold, come on top.
        """
        if isinstance(self.codes, Packed) or self.row_scales is None:
            return self.codes.nbytes
        return self.codes.nbytes + self.row_scales.nbytes + (self.lists.nbytes if self.lists else 0)

    @property
    def bytes_per_vector(self) -> float:
        """Bytes a row, scales and lists included."""
        return self.nbytes / len(self)

    @property
    def name(self) -> str:
        """How tables call it."""
        return f"CompresSAE k={self.codes.k}, {self.space}"

    def search(
        self,
        queries: AnyArray | Codes | Packed | Sequence,
        top: int = 10,
        backend: str = "auto",
        chunk: int | None = None,
    ) -> tuple[Float[np.ndarray, "q r"], Int[np.ndarray, "q r"]]:
        """Cosines and row numbers of the `top` best rows of each query, best first; ties go to the lower row number.

        Queries are vectors (q, d) or codes; codes in `dense_query` stand for their reconstructions. Where the space
        compares codes, vectors are encoded as the rows were. `backend` 'auto' is 'scan' on an accelerator, on a CPU
        'lists' where the index holds them (`with_lists`) and the queries are at most 8 and sparse, else 'host'.
        `chunk` is the rows that a backend takes at a time, but for 'lists', whose blocks are fixed.

        Raises:
            InputError: queries of another width, not 2-d, not finite or zero; `top` above the number of rows;
                'lists' of an index without them.
        """
        check_choice("backend", backend, ("auto", *BACKENDS, LISTS))
        check_range("top", top, 1, len(self))
        if backend == LISTS and self.lists is None:
            raise InputError(
                "backend is 'lists', which this index does not hold; index.with_lists() makes one that does"
            )
        queries = self._checked(queries)
        parts = []
        for start in range(0, len(queries), QUERIES):
            u = self._expanded(queries[start : start + QUERIES])
            chosen = self._fastest(u, len(queries)) if backend == "auto" else backend
            parts.append(self._score(u, top, chosen, chunk))
        return np.concatenate([scores for scores, _ in parts]), np.concatenate([rows for _, rows in parts])

    def with_lists(self) -> Index:
        """The same codes with inverted lists beside them (see `lists`): faster for few queries in the space 'sparse'.

        They take as many bytes again as the codes, and 4 (h + 1) a block of 2^15 rows; `save` leaves them out, since
        they build in .01 s for 117,000 rows.

        Raises:
            InputError: another space, where a query touches every row, or packed codes.
        """
        if self.space != "sparse":
            raise InputError(f"lists serve the space 'sparse', where queries have few nonzeros, not {self.space!r}")
        if isinstance(self.codes, Packed):
            raise InputError(
                "lists are made of float16 or float32 values, not of packed codes: compress again as those"
            )
        index = copy.copy(self)
        index.lists = lists.build(self.codes)
        return index

    def in_space(self, space: str) -> Index:
        """The same codes, searched in another space, without lists; nothing is copied."""
        return Index(self.codes, self.norms, space, self.weights, self.ids, self.encoder)

    def prefix(self, k: int) -> Index:
        """The index of a smaller budget, the k largest nonzeros of every row, without lists; norms are computed anew.

        Raises:
            InputError: k out of range, or packed codes.
        """
        if isinstance(self.codes, Packed):
            raise InputError(
                f"packed columns are a set without an order, so they have no prefix of {k}: compress again with a "
                "smaller k"
            )
        codes = self.codes.prefix(k)
        norms = compress.norms_of(self.weights, codes)
        return Index(codes, norms, self.space, self.weights, self.ids, self.encoder)

    def save(self, folder: str | os.PathLike) -> None:
        """Write an index folder (`codes/`, `model/`, `index.json`), complete or not at all; an older one is replaced.

        Raises:
            FolderError: something else stands at that name.
        """
        folder = Path(folder)
        aside = disk.begin(folder, (CODES, MODEL, META))
        header = {"fingerprint": self.weights.fingerprint, "encoder": self.encoder}
        codes_folder.write(aside / CODES, self.codes, self.norms, self.ids, d=self.weights.d, header=header)
        model_weights.save(self.weights, aside / MODEL)
        disk.write_json(aside / META, {"format_version": FORMAT_VERSION, "space": self.space, **header})
        disk.publish(aside, folder, (CODES, MODEL, META))

    @classmethod
    def load(cls, folder: str | os.PathLike, verify: bool = True) -> Index:
        """Open an index folder by memory map; `verify=False` skips the checksums of its codes.

        Raises:
            FolderError: a folder that is missing, damaged, or newer than this program.
        """
        folder = Path(folder)
        remedy = f"make it anew (Index.save writes an index folder such as {folder})"
        space = disk.read_json(folder / META, FORMAT_VERSION, remedy)["space"]
        return open_index(folder / CODES, model_weights.load(folder / MODEL), space, verify)

    def _checked(self, queries: AnyArray | Codes | Packed | Sequence) -> Float[np.ndarray, "q d"] | Codes:
        """The queries as float32 or as codes, once they can be answered."""
        if isinstance(queries, Packed):
            queries = queries.unpack()
        if isinstance(queries, Codes):
            if queries.h != self.codes.h:
                raise InputError(f"queries are codes of width h={queries.h}, the index has h={self.codes.h}")
            checked(queries.values, queries.columns, queries.h)
            numbers = np.asarray(queries.values)
        else:
            numbers = np.asarray(queries)
            self._check_vectors(numbers)
            queries = numbers = numbers.astype(np.float32, copy=False)
        if len(numbers) == 0:
            raise InputError("queries are empty")
        zero = np.flatnonzero(~numbers.any(axis=1))
        if len(zero):
            named = ", ".join(map(str, zero[:10]))
            raise InputError(f"queries hold {len(zero)} zero rows, which have no direction (the first: {named})")
        return queries

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

    def _expanded(self, queries: Float[np.ndarray, "q d"] | Codes) -> Expanded:
        """u (q, h), a padded block of queries at a time."""
        block = min(size for size in QUERY_BLOCKS if size >= min(len(queries), QUERY_BLOCKS[-1]))
        device = jax.local_devices()[0]
        decoder_w = encoders.params_on(self.weights, device)["decoder_w"]
        if not isinstance(queries, Codes) and self.space != "dense_query":
            queries = self._encoded(queries, block, device)
        parts = []
        for start in range(0, len(queries), block):
            some = queries[start : start + block]
            if isinstance(some, Codes):
                padded = Codes(_padded(some.values, block), _padded(some.columns, block), some.h)
                u = spaces.expand_codes(padded, decoder_w, self.space)
            else:
                u = spaces.expand_vectors(_padded(some, block), decoder_w)
            parts.append(np.asarray(u)[: len(some)])
        return np.concatenate(parts)

    def _encoded(self, vectors: Float[np.ndarray, "q d"], block: int, device: jax.Device) -> Codes:
        """Codes of queries, with the budget of the rows, and rounded as these are unless they are packed."""
        half = isinstance(self.codes, Codes) and self.codes.values.dtype == np.float16
        storage = "float16" if half else "float32"
        codes, _ = compress.encode(self.weights, vectors, storage, block, [device], self.encoder)
        assert isinstance(codes, Codes)
        return codes.prefix(min(codes.k, self.codes.k))

    def _fastest(self, u: Expanded, q: int) -> str:
        """The backend for u, some of q queries."""
        if jax.default_backend() != "cpu":
            return "scan"
        if self.lists is not None and q <= lists.QUERIES and lists.touched(self.lists, u) <= lists.TOUCHED:
            return LISTS
        return "host"

    def _score(self, u: Expanded, top: int, backend: str, chunk: int | None) -> tuple[np.ndarray, np.ndarray]:
        if backend == LISTS:
            assert self.lists is not None and self.row_scales is not None
            return lists.search(self.lists, self.row_scales, u, top)
        if backend == "scan" and (placed := self._placed) is not None:
            return scan.search(*placed, u, top, chunk=chunk, n=len(self))
        return BACKENDS[backend](self.codes, self.row_scales, u, top, chunk=chunk)

    @functools.cached_property
    def _placed(self) -> tuple[Codes, jax.Array] | None:
        """Codes and scales on the accelerators, split over all local ones; None where `scan` takes them as they are."""
        if isinstance(self.codes, Packed) or self.row_scales is None:
            return None
        if isinstance(self.codes.values, jax.Array) or not scan.fits(self.codes.nbytes + self.row_scales.nbytes):
            return None
        return scan.place(self.codes, self.row_scales)


def open_index(codes: str | os.PathLike, weights: Weights, space: str, verify: bool = True) -> Index:
    """An index over a codes folder, by memory map, with the model that made it.

    Raises:
        FolderError: codes of another model, or a folder that is missing, damaged, or newer than this program.
    """
    rows, norms, ids, meta = codes_folder.read(codes, verify=verify)
    if meta.get("fingerprint") != weights.fingerprint:
        raise FolderError(
            f"{codes} holds codes of the model {meta.get('fingerprint')}, not of the given one, {weights.fingerprint}; "
            "open it with that model or compress again"
        )
    return Index(rows, norms, space, weights, ids, meta.get("encoder", "topk"))  # older folders say none


def open_folder(
    folder: str | os.PathLike, model: str | os.PathLike | None = None, space: str | None = None, verify: bool = True
) -> Index:
    """An index folder, or a codes folder with its model folder, opened by memory map.

    `space` defaults to the index's own, for a codes folder to 'reconstructed'.

    Raises:
        InputError: a codes folder without `model`.
        FolderError: codes of another model, or a folder that is missing, damaged, or newer than this program.
    """
    if (Path(folder) / META).is_file():
        index = Index.load(folder, verify)
        return index if space is None else index.in_space(space)
    if model is None:
        raise InputError(
            f"index {folder} is no index folder (it has no {META}); for a codes folder give its model, too"
        )
    return open_index(folder, model_weights.load(model), space or "reconstructed", verify)


def search_source(
    index: Index, queries: Source, top: int, backend: str = "auto", batch: int = QUERIES
) -> tuple[Float[np.ndarray, "q r"], Int[np.ndarray, "q r"]]:
    """`Index.search` for queries that are read `batch` at a time.

    Raises:
        InputError: as `Index.search`, with the row of the source.
    """
    parts = []
    for first, some in queries.batches(batch):
        zero = np.flatnonzero(~some.any(axis=1))
        if len(zero):
            raise InputError(f"{queries.where(first + int(zero[0]))} is zero, which as a query has no direction")
        parts.append(index.search(some, top, backend))
    return np.concatenate([scores for scores, _ in parts]), np.concatenate([rows for _, rows in parts])


def _check_rows(codes: Codes | Packed, norms: AnyArray | None) -> None:
    """Raise InputError for rows that no search could take; of a folder, they are checked as they are read."""
    packed = isinstance(codes, Packed)
    if packed != (norms is None):
        raise InputError(f"norms must be {'None of packed codes' if packed else '(n, 2), one row a row of codes'}")
    if not codes.files.maps:
        codes.check()


def _row_scales(codes: Codes | Packed, norms: AnyArray | None, space: str) -> Float[np.ndarray, " n"] | None:
    """ρ of every row as backends take it; of packed rows, without a number held for each."""
    if norms is not None:
        return spaces.row_scales(norms, space)
    return None if space == "sparse" else np.broadcast_to(np.float32(1), len(codes))


def _padded(part: AnyArray, length: int) -> np.ndarray:
    part = np.asarray(part)
    return np.pad(part, ((0, length - len(part)), (0, 0)))
