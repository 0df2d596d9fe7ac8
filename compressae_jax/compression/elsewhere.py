"""Codes that other systems keep, Spark, Beam or a database: as plain arrays, and back as rows and folders."""

import itertools
import math
import os
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from compressae_jax.base import arrays
from compressae_jax.codes import folder as codes_folder
from compressae_jax.codes.codes import Codes
from compressae_jax.codes.ids import as_ids
from compressae_jax.codes.layout import layout
from compressae_jax.codes.rows import Rows
from compressae_jax.codes.storage.kinds import packing
from compressae_jax.codes.storage.packed import Packed
from compressae_jax.compression import pipeline
from compressae_jax.model.encoders import Encoder
from compressae_jax.model.weights import Weights
from compressae_jax.notation import InputError

PIECE = 2**16  # records held at once


def encode_arrays(
    model: Weights | Encoder,
    vectors: Any,
    encoder: str | None = None,
    storage: str | None = None,
    similarity: str = "cosine",
) -> dict[str, np.ndarray]:
    """What a codes folder stores of these rows, by name: for workers of other systems (a partition of Spark or Beam).

    `columns`, `values` and `norms`, or `records` where rows are packed; under similarity 'dot' floats have
    `lengths`, too. An `Encoder` travels as a pickle. The same
    rows give the same bytes in any partition; so levels must be known: of a model that was trained for this storage,
    or once some vectors were compressed with it.

    Raises:
        InputError: vectors of another width or not finite, levels that are not known, a value too large for `storage`.
    """
    model = _encoder(model, encoder, storage, similarity)
    vectors = arrays.vectors("vectors", vectors)
    if vectors.ndim != 2 or vectors.shape[1] != model.weights.d:
        raise InputError(
            f"vectors must have shape (n, {model.weights.d}), not {vectors.shape} "
            f"(the model's fingerprint is {model.weights.fingerprint})"
        )
    vectors = vectors.astype(np.float32)
    finite = np.isfinite(vectors).all(axis=1)
    if not finite.all():
        raise InputError(f"vectors hold a value that is not finite, first in row {int(finite.argmin())}")
    return {name: np.asarray(one) for name, one in pipeline.as_stored(model, model.encode(vectors)).arrays().items()}


def rows_of_arrays(
    model: Weights | Encoder,
    some: Mapping[str, Any],
    ids: Any = None,
    encoder: str | None = None,
    storage: str | None = None,
    similarity: str = "cosine",
) -> Rows:
    """Rows of what `encode_arrays` gave, once it is back from where it was kept, as arrays or as the bytes of each row.

    `ids`, if any, one a row; the others are those that encoded.

    Raises:
        InputError: arrays of another storage, k or h, columns out of range, numbers that are not finite.
    """
    how = _encoder(model, encoder, storage, similarity)
    h, k, n = how.weights.h, how.k, len(next(iter(some.values()), ()))
    levels = how.levels if how.packed else None
    files = layout(n, h, k, how.storage, None, how.similarity, levels)
    wanted = {name.removesuffix(".npy"): kind for name, kind in files.items()}
    if set(some) != set(wanted):
        raise InputError(f"storage {how.storage!r} has the arrays {', '.join(wanted)}, not {', '.join(sorted(some))}")
    found = {name: _array(name, some[name], *kind) for name, kind in wanted.items()}
    names = None if ids is None else as_ids(ids, n)
    if how.packed:
        return Packed(
            found["records"], packing(how.storage, h, k, how.levels, how.similarity), names, how.made_by
        ).check()
    lengths = found.get("lengths")
    return Codes(found["values"], found["columns"], h, found["norms"], names, how.made_by, lengths=lengths).check()


def _array(name: str, given: Any, dtype: str, shape: tuple[int, ...]) -> np.ndarray:
    """An array, or the one whose rows have these bytes, seen to be what is wanted."""
    if not isinstance(given, np.ndarray):
        whole = b"".join(given)
        if len(whole) != np.dtype(dtype).itemsize * math.prod(shape):
            raise InputError(f"{name} must have {np.dtype(dtype)} {shape}, not {len(whole)} bytes")
        given = np.frombuffer(whole, dtype).reshape(shape)
    if given.dtype != np.dtype(dtype) or given.shape != shape:
        raise InputError(f"{name} must be {np.dtype(dtype)} {shape}, not {given.dtype} {given.shape}")
    return given


def write_records(
    model: Weights | Encoder,
    records: Iterable[Any],
    out: str | os.PathLike,
    encoder: str | None = None,
    storage: str | None = None,
    similarity: str = "cosine",
) -> int:
    """A codes folder of records in the order in which they come; gives their number, and holds few at once.

    A record, such as a row of Spark or of a database, answers `record["id"]`, an integer or a text, and, by the names
    that `encode_arrays` has, the bytes of one row of each array. An older codes folder at `out` is replaced.

    Raises:
        InputError: as `rows_of_arrays`; no record.
        FolderError: something that this program did not make stands at `out`.
        BusyError: another process writes it.
    """
    how, left = _encoder(model, encoder, storage, similarity), iter(records)
    kinds = layout(1, how.weights.h, how.k, how.storage, None, how.similarity, how.levels if how.packed else None)
    names = [name.removesuffix(".npy") for name in kinds]

    def pieces() -> Iterator[Rows]:
        while some := list(itertools.islice(left, PIECE)):
            found = {name: [record[name] for record in some] for name in names}
            yield rows_of_arrays(how, found, [record["id"] for record in some])

    return codes_folder.write_pieces(out, pieces(), d=how.weights.d)


def _encoder(model: Weights | Encoder, encoder: str | None, storage: str | None, similarity: str) -> Encoder:
    if isinstance(model, Encoder):
        return model
    return Encoder(model, encoder or model.encoder, storage or model.storage, similarity)
