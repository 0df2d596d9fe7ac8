"""definitions: entries of four free dictionaries, from a lone word to 150 words, to learn from beside other texts.

They come as Debian's packages of dictionaries in dictd's form: a file of entries, and an index of places in it.
"""

import gzip
import json
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from compressae_jax.base import files
from compressae_jax.data.make import encoder, found
from compressae_jax.notation import InputError

DIGITS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"  # of a place in an index
WORDS = (0, 25, 60, 150)  # of an entry that are kept; 0: its headword alone
LEAST = 2  # words of an entry that defines something


class Drawn(NamedTuple):
    """How many entries of a dictionary are taken, and which share of them is cut at each of `WORDS`."""

    name: str
    wanted: int
    shares: tuple[float, float, float, float]


DRAWN = (
    Drawn("gcide", 13_000, (0.1, 0.45, 0.4, 0.05)),
    Drawn("foldoc", 5_000, (0.02, 0.1, 0.28, 0.6)),
    Drawn("jargon", 1_500, (0.0, 0.2, 0.4, 0.4)),
    Drawn("devil", 800, (0.0, 0.2, 0.5, 0.3)),
)
NAMES = tuple(one.name for one in DRAWN)


def make(out: Path, dictionaries: Path | None = None, progress: bool = True) -> None:
    """vectors.npy (20300, 384) float16 and items.jsonl.gz in a folder."""
    weights, items = found.minilm(), read(dictionaries)
    write_items(items, out / "items.jsonl.gz")
    texts = [item["text"] for item in items]
    encoder.to_file(weights, texts, out / "vectors.npy", "definitions", "float16", progress)


def read(dictionaries: Path | None = None) -> list[dict[str, Any]]:
    """The items: id, text; by dictionary, then by place in it. Always the same of the same files.

    Raises:
        InputError: a dictionary that is not there, or of fewer entries.
    """
    items = []
    with tempfile.TemporaryDirectory() as scratch:
        folder = found.dictionaries(dictionaries, Path(scratch), NAMES)
        for one in DRAWN:
            content = gzip.decompress((folder / f"{one.name}.dict.dz").read_bytes())
            index = (folder / f"{one.name}.index").read_text(encoding="utf-8", errors="replace")
            items += drawn(one, list(entries(content, index)))
    return items


def write_items(items: list[dict[str, Any]], path: Path) -> None:
    """An object a line, compressed; of the same items the same bytes."""
    lines = "".join(json.dumps(item, ensure_ascii=False) + "\n" for item in items)
    files.write_bytes(path, gzip.compress(lines.encode(), mtime=0))


def entries(content: bytes, index: str) -> Iterator[tuple[str, str]]:
    """Headword and text of every entry that defines something, once, in the order of the file."""
    places: dict[tuple[int, int], str] = {}
    for line in index.splitlines():
        word, start, length, *_ = line.split("\t")
        if not word.startswith("00"):  # what the file says of itself
            places.setdefault((number(start), number(length)), word)
    for (first, size), word in sorted(places.items()):
        text = plain(content[first : first + size].decode("utf-8", "replace"))
        if len(text.split()) > LEAST:
            yield word, text


def number(digits: str) -> int:
    """A place, or a length, as an index writes it."""
    value = 0
    for digit in digits:
        value = 64 * value + DIGITS.index(digit)
    return value


def plain(text: str) -> str:
    """An entry on one line, without how words are spoken, whom they are from and marks of links."""
    text = re.sub(r"\\[^\\\n]*\\", "", text)  # \Ter"gite\
    text = re.sub(r"\[[^][]*\]|<[^<>\n]*>|\(\d{4}-\d\d-\d\d\)", "", text)
    return re.sub(r"\s+", " ", text.replace("{", "").replace("}", "")).strip()


def drawn(one: Drawn, of: list[tuple[str, str]], seed: int = 0) -> list[dict[str, Any]]:
    """The items that a dictionary gives: drawn entries in their order, each cut at a drawn number of words.

    Raises:
        InputError: fewer entries than are wanted.
    """
    if len(of) < one.wanted:
        raise InputError(f"{one.name} has {len(of):,} entries, and {one.wanted:,} are taken; is this another edition?")
    rng = np.random.default_rng(seed)
    rows = np.sort(rng.permutation(len(of))[: one.wanted]).tolist()
    lengths = rng.choice(WORDS, len(rows), p=one.shares).tolist()
    return [
        {"id": f"{one.name}.{row}", "text": cut(of[row][0], of[row][1], most)}
        for row, most in zip(rows, lengths, strict=True)
    ]


def cut(word: str, text: str, most: int) -> str:
    """The first words of an entry; its headword alone where there are to be none."""
    return " ".join(text.split()[:most]) if most else word
