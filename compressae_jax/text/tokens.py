"""Texts cut into tokens, and tokens laid out in few sizes of batches, so that little is compiled."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Int

from compressae_jax.notation import FolderError, InputError, check_range

MOST_TOKENS = 256  # of a text, unless more is said
BATCH_TOKENS = 4096  # of a batch: rows times the longest of them
PADS = (8, 16, 24, 32, 40, 48, 64, 80, 96, 128, 160, 192, 256, 384, 512)  # lengths that are compiled for

Tokens = Sequence[Sequence[int]]  # of every text


class Padded(NamedTuple):
    """A batch as the encoder takes it."""

    tokens: Int[np.ndarray, "b l"]
    there: Bool[np.ndarray, "b l"]


def of_texts(folder: str | os.PathLike, texts: Sequence[Any], longest: int = MOST_TOKENS) -> list[list[int]]:
    """The tokens of texts, at most `longest` each, those at both ends included, by an encoder's tokenizer.json.

    Raises:
        InputError: the package tokenizers is not installed, or a text that is no text.
        FolderError: tokenizer.json is missing or damaged.
    """
    check_range("longest", longest, 2, PADS[-1])
    wrong = next((i for i, text in enumerate(texts) if not isinstance(text, str)), None)
    if isinstance(texts, str) or wrong is not None:
        given = "one text" if wrong is None else f"{texts[wrong]!r:.60} at {wrong}"
        raise InputError(f"texts must be a list of texts, not {given}")
    try:
        from tokenizers import Tokenizer
    except ImportError as error:
        raise InputError("texts are cut into tokens by tokenizers: pip install 'compressae_jax[data]'") from error
    path = Path(os.path.expanduser(os.fspath(folder))) / "tokenizer.json"
    if not path.is_file():
        raise FolderError(f"{path} is missing; copy the encoder's folder anew")
    try:
        tokenizer = Tokenizer.from_str(path.read_text(encoding="utf-8"))
    except Exception as error:  # it raises no other class
        raise FolderError(f"{path} is damaged: {error}; copy the encoder's folder anew") from None
    tokenizer.no_padding()
    tokenizer.enable_truncation(longest)
    return [one.ids for one in tokenizer.encode_batch(list(texts))]


def padded(tokens: Tokens, pad: int, rows: int | None = None, length: int | None = None) -> Padded:
    """Texts side by side, filled up to `length` (by default the least of `PADS` that holds them) and to `rows`.

    A row that is no text has one token, so that its mean is one of something.
    """
    length = size(max(map(len, tokens), default=1)) if length is None else length
    rows = len(tokens) if rows is None else rows
    filled, there = np.full((rows, length), pad, np.int32), np.zeros((rows, length), bool)
    there[len(tokens) :, 0] = True
    for row, one in enumerate(tokens):
        filled[row, : len(one)], there[row, : len(one)] = one, True
    return Padded(filled, there)


def size(length: int) -> int:
    """The least length that is compiled for and holds so many tokens.

    Raises:
        InputError: more tokens than the largest.
    """
    check_range("tokens of a text", length, 1, PADS[-1])
    return PADS[int(np.searchsorted(PADS, length))]


def batches(lengths: Int[np.ndarray, " n"], rows: Int[np.ndarray, " m"]) -> Iterator[tuple[np.ndarray, int]]:
    """Rows by falling length, with the length that they are padded to; the longest first, so that no wait grows."""
    rows = rows[np.argsort(-lengths[rows], kind="stable")]
    padded_to = np.array(PADS)[np.searchsorted(PADS, lengths[rows])]
    for length in PADS[::-1]:
        some, most = rows[padded_to == length], BATCH_TOKENS // length
        for start in range(0, len(some), most):
            yield some[start : start + most], length


def check(tokens: Tokens, words: int, longest: int) -> None:
    """Raise InputError unless every text has a token, no more than `longest`, and all of them below `words`."""
    for row, one in enumerate(tokens):
        if not 1 <= len(one) <= min(longest, PADS[-1]):
            raise InputError(f"text {row} has {len(one)} tokens; wanted: 1 to {min(longest, PADS[-1])}")
        if min(one) < 0 or max(one) >= words:
            raise InputError(f"text {row} has a token outside 0..{words - 1}: another encoder's tokenizer made it")
