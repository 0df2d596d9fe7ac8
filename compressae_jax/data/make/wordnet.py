"""wordnet: the 117,659 synsets of WordNet 3.0, lemmas and gloss, with judgements out of its hierarchy of nouns."""

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from compressae_jax.base import files
from compressae_jax.data.make import encoder, found
from compressae_jax.notation import InputError

FILES = ("adj", "adv", "noun", "verb")
SYNSETS = 117_659
UP, DOWN = ("@", "@i"), ("~", "~i")  # pointers to a hypernym and to a hyponym, instances too
SISTERS, HYPONYMS, QUERIES = (3, 50), 50, 2000  # of a query: so few that all that is relevant can be told


class Synset(NamedTuple):
    """A line of a data file: `noun.00001740`, its lemmas, its gloss, and the nouns above and below it by offset."""

    id: str
    text: str
    above: tuple[str, ...]
    below: tuple[str, ...]


def make(out: Path, wordnet_dict: Path | None = None, progress: bool = True) -> None:
    """vectors.npy (117659, 384) float32, items.jsonl and qrels.tsv in a folder."""
    weights, synsets = found.minilm(), read(wordnet_dict)
    items = [json.dumps({"id": one.id, "text": one.text}, ensure_ascii=False) for one in synsets]
    files.write_bytes(out / "items.jsonl", ("\n".join(items) + "\n").encode())
    lines = [f"{query}\t{doc}\t1" for query, doc in judgements(synsets)]
    files.write_bytes(out / "qrels.tsv", "\n".join(["query_row\tdoc_row\tscore", *lines, ""]).encode())
    encoder.to_file(weights, [one.text for one in synsets], out / "vectors.npy", "wordnet", progress=progress)


def read(wordnet_dict: Path | None = None) -> list[Synset]:
    """All synsets, by data file, then by offset.

    Raises:
        InputError: another number of them than WordNet 3.0 has; no WordNet.
    """
    with tempfile.TemporaryDirectory() as scratch:
        folder = found.wordnet(wordnet_dict, Path(scratch))
        texts = {name: (folder / f"data.{name}").read_text(encoding="utf-8") for name in FILES}
    synsets = [one for name in FILES for one in parsed(name, texts[name])]
    if len(synsets) != SYNSETS:
        raise InputError(f"{len(synsets):,} synsets, not the {SYNSETS:,} of WordNet 3.0; is this another version?")
    return synsets


def parsed(name: str, text: str) -> Iterator[Synset]:
    """The synsets of a data file; lines that begin with two blanks are its licence."""
    for line in text.splitlines():
        if line.startswith("  "):
            continue
        head, _, gloss = line.partition("|")
        fields = head.split()
        end = 4 + 2 * int(fields[3], 16)  # of words, each with a number behind it
        lemmas = [word.split("(")[0].replace("_", " ") for word in fields[4:end:2]]  # adjectives may end in (a)
        pointers = [fields[i : i + 3] for i in range(end + 1, end + 1 + 4 * int(fields[end]), 4)]
        nouns = [(symbol, offset) for symbol, offset, part in pointers if part == "n"]
        above, below = (tuple(offset for symbol, offset in nouns if symbol in kind) for kind in (UP, DOWN))
        yield Synset(f"{name}.{fields[0]}", f"{', '.join(lemmas)}: {gloss.strip()}", above, below)


def judgements(synsets: list[Synset], queries: int = QUERIES, seed: int = 0) -> list[tuple[int, int]]:
    """(query row, relevant row): of drawn nouns their hypernyms, hyponyms and sister terms, all of them."""
    row = {one.id.partition(".")[2]: i for i, one in enumerate(synsets) if one.id.startswith("noun.")}
    above = {i: [row[offset] for offset in synsets[i].above] for i in row.values()}
    below = {i: [row[offset] for offset in synsets[i].below] for i in row.values()}
    sisters = {i: {one for up in above[i] for one in below[up]} - {i} for i in above if above[i]}
    fit = sorted(
        i for i, some in sisters.items() if SISTERS[0] <= len(some) <= SISTERS[1] and len(below[i]) <= HYPONYMS
    )
    drawn = sorted(np.random.default_rng(seed).choice(fit, queries, replace=False).tolist())
    return [(i, doc) for i in drawn for doc in sorted((sisters[i] | {*above[i], *below[i]}) - {i})]
