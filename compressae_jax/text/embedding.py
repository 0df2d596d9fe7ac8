"""Vectors of texts by an encoder: jitted, a batch of like lengths at a time; of equal text equal to rounding."""

import functools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from compressae_jax.notation import InputError
from compressae_jax.text import tokens as cut
from compressae_jax.text.bert import TextEncoder
from compressae_jax.text.folders import Params, TextModel


@functools.partial(jax.jit, static_argnames="module")
def units(
    module: TextEncoder, params: Params, tokens: Int[Array, "b l"], there: Bool[Array, "b l"]
) -> Float[Array, "b w"]:
    """The unit vectors of a padded batch."""
    made: Any = module.apply({"params": params}, tokens, there)
    return made


def of_texts(model: TextModel, texts: Sequence[str], longest: int = cut.MOST_TOKENS) -> Float[np.ndarray, "n w"]:
    """The unit vectors of texts, float32, each of its first `longest` tokens.

    Raises:
        InputError: an encoder without a folder, whose tokenizer is not known; texts that are none.
    """
    return of_tokens(model, cut.of_texts(_folder(model), texts, min(longest, model.module.of.longest)))


def of_tokens(model: TextModel, tokens: cut.Tokens) -> Float[np.ndarray, "n w"]:
    """The unit vectors of texts that are tokens already.

    Raises:
        InputError: a text without a token, too long, or of another vocabulary.
    """
    cut.check(tokens, model.module.of.words, model.module.of.longest)
    made = np.empty((len(tokens), model.module.of.width), np.float32)
    for rows, some in in_batches(model, tokens, np.arange(len(tokens))):
        made[rows] = some
    return made


def in_batches(
    model: TextModel, tokens: cut.Tokens, rows: Int[np.ndarray, " m"]
) -> Iterator[tuple[Int[np.ndarray, " b"], Float[np.ndarray, "b w"]]]:
    """Some rows at a time, the longest first, with their vectors."""
    lengths = np.fromiter(map(len, tokens), np.int64, len(tokens))
    params = jax.device_put(model.params)
    for some, length in cut.batches(lengths, rows):
        batch = cut.padded([tokens[row] for row in some], model.module.of.pad, cut.BATCH_TOKENS // length, length)
        yield some, np.asarray(units(model.module, params, *batch))[: len(some)]


def _folder(model: TextModel) -> Path:
    if model.folder is None:
        raise InputError("the encoder was read from no folder, so its tokenizer is not known: give tokens")
    return model.folder
