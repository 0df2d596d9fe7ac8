"""Rows in memory: of a source, and of an array."""

import numpy as np

from compressae_jax.base import arrays
from compressae_jax.codes.joined import in_memory as together
from compressae_jax.codes.rows import Rows
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
    similarity: str = "cosine",
) -> Rows:
    """The rows of a source, read piece by piece, with norms and ids; under 'drop' the ids are row numbers if need be.

    Raises:
        InputError: as `to_folder`.
    """
    pipeline.check(batch, zero_rows)
    how = pipeline.encoder_for(weights, source, encoder, storage, similarity)
    span = range(len(source))
    parts = [part.rows for part in pipeline.compressed(how, source, span, zero_rows, batch, shown=progress)]
    if not parts:
        raise InputError(f"{source.name}: there is no row to compress")
    return together(parts)


def encode(
    weights: Weights,
    vectors: Dense,
    storage: str = "float16",
    encoder: str = "topk",
    block: int = BLOCK,
    similarity: str = "cosine",
) -> Rows:
    """The rows of an array, zero rows kept; `block` bounds what is computed at once.

    Raises:
        InputError: a value too large for `storage`.
    """
    vectors = np.asarray(vectors, np.float32)
    how = Encoder(weights, encoder, storage, similarity)
    if how.packed:
        few = encoders.rows_for_levels(len(vectors))
        encoders.learn_levels(weights, encoder, storage, lambda: vectors[few], similarity)
    if not len(vectors):
        return pipeline.as_stored(how, how.encode(vectors))
    blocks = how.stream(arrays.pieces(vectors, block), block)
    return together([pipeline.as_stored(how, codes, i * block) for i, codes in enumerate(blocks)])
