"""Rows in memory: of a source, of an array, and as plain arrays for programs that keep them elsewhere."""

from typing import Any

import numpy as np

from compressae_jax.base import arrays
from compressae_jax.codes.codes import Codes
from compressae_jax.codes.ids import as_ids
from compressae_jax.codes.joined import in_memory as together
from compressae_jax.codes.rows import Rows
from compressae_jax.codes.storage.kinds import PACKINGS, packing
from compressae_jax.codes.storage.packed import Packed
from compressae_jax.compression import pipeline
from compressae_jax.data.sources import Source
from compressae_jax.model import encoders
from compressae_jax.model.encoders import BLOCK, Encoder
from compressae_jax.model.weights import Weights
from compressae_jax.notation import Dense, InputError


def in_memory(
    weights: Weights,
    source: Source,
    batch: int = pipeline.BATCH,
    encoder: str | None = None,
    storage: str | None = None,
    zero_rows: str = "stop",
    progress: bool = False,
) -> Rows:
    """The rows of a source, read piece by piece, with norms and ids; under 'drop' the ids are row numbers if need be.

    Raises:
        InputError: as `to_folder`.
    """
    pipeline.check(batch, zero_rows)
    how = pipeline.encoder_for(weights, source, encoder, storage)
    span = range(len(source))
    parts = [part.rows for part in pipeline.compressed(how, source, span, zero_rows, batch, shown=progress)]
    if not parts:
        raise InputError(f"{source.name}: there is no row to compress")
    return together(parts)


def encode(
    weights: Weights, vectors: Dense, storage: str = "float16", encoder: str = "topk", block: int = BLOCK
) -> Rows:
    """The rows of an array, zero rows kept; `block` bounds what is computed at once.

    Raises:
        InputError: a value too large for `storage`.
    """
    vectors = np.asarray(vectors, np.float32)
    how = Encoder(weights, encoder, storage)
    if how.packed:
        few = encoders.rows_for_levels(len(vectors))
        encoders.learn_levels(weights, encoder, storage, lambda: vectors[few])
    if not len(vectors):
        return pipeline.as_stored(how, how.encode(vectors))
    blocks = how.stream(arrays.pieces(vectors, block), block)
    return together([pipeline.as_stored(how, codes, i * block) for i, codes in enumerate(blocks)])


def encode_arrays(
    model: Weights | Encoder, vectors: Any, encoder: str | None = None, storage: str | None = None
) -> dict[str, np.ndarray]:
    """What a codes folder stores of these rows, by name: for workers of other systems (a partition of Spark or Beam).

    `columns`, `values` and `norms`, or `records` where rows are packed. An `Encoder` travels as a pickle. The same
    rows give the same bytes in any partition; so levels must be known: of a model that was trained for this storage,
    or once some vectors were compressed with it.

    Raises:
        InputError: vectors of another width or not finite, levels that are not known, a value too large for `storage`.
    """
    model = _encoder(model, encoder, storage)
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
    some: dict[str, np.ndarray],
    ids: Any = None,
    encoder: str | None = None,
    storage: str | None = None,
) -> Rows:
    """Rows of what `encode_arrays` gave, once they are back from where they were kept; `ids`, if any, one a row.

    `model`, `encoder` and `storage` are those that encoded them.

    Raises:
        InputError: arrays of another storage, k or h, columns out of range, numbers that are not finite.
    """
    how = _encoder(model, encoder, storage)
    packed, h, k = how.storage in PACKINGS, how.weights.h, how.k
    wanted = ("records",) if packed else ("values", "columns", "norms")
    if set(some) != set(wanted):
        raise InputError(f"storage {how.storage!r} has the arrays {', '.join(wanted)}, not {', '.join(sorted(some))}")
    names = None if ids is None else as_ids(ids, len(some[wanted[0]]))
    rows: Rows
    if packed:
        rows = Packed(some["records"], packing(how.storage, h, k, how.levels), names, how.made_by)
    else:
        rows = Codes(some["values"], some["columns"], h, some["norms"], names, how.made_by)
        if rows.k != k or rows.storage != how.storage:
            raise InputError(f"values must be {how.storage} of k={k}, not {rows.storage} of k={rows.k}")
    return rows.check()


def _encoder(model: Weights | Encoder, encoder: str | None, storage: str | None) -> Encoder:
    if isinstance(model, Encoder):
        return model
    return Encoder(model, encoder or model.encoder, storage or model.storage)
