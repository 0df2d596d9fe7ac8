"""Texts of a dataset to an .npy of float32 or float16, by an encoder of `text`; goes on where it was interrupted."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from compressae_jax.base import files
from compressae_jax.base import progress as bars
from compressae_jax.text import embedding, folders, tokens
from compressae_jax.text.folders import TextModel


def to_file(
    folder: Path, texts: Sequence[str], path: Path, what: str, dtype: str = "float32", progress: bool = True
) -> None:
    """Embed texts into an .npy; an interrupted call goes on with what lies beside it."""
    embed(folders.load(folder), tokens.of_texts(folder, texts), path, what, dtype, progress)


def embed(
    model: TextModel, cut: tokens.Tokens, path: Path, what: str, dtype: str = "float32", progress: bool = True
) -> None:
    """`to_file` of tokens; rows that are made are kept under a name that says which tokens they are of."""
    tokens.check(cut, model.module.of.words, model.module.of.longest)
    digest = hashlib.sha256(repr([list(one) for one in cut]).encode()).hexdigest()[:16]
    begun = path.with_name(f".{path.stem}-{digest}.partial.npy")
    if not begun.exists():
        empty = np.full((len(cut), model.module.of.width), np.nan, np.float32)
        with files.replacing(begun) as aside, aside.open("wb") as file:
            np.save(file, empty)
    made = np.load(begun, mmap_mode="r+")
    missing = np.flatnonzero(np.isnan(made).any(axis=1))
    lengths = np.array([len(one) for one in cut])
    done = int(lengths.sum() - lengths[missing].sum())
    with bars.bar(int(lengths.sum()), f"embed {what}", "tokens", done, progress) as bar:
        for rows, some in embedding.in_batches(model, cut, missing):
            made[rows] = some
            bar.update(int(lengths[rows].sum()))
    if not np.isfinite(made).all():
        raise RuntimeError(f"{what}: an embedding is not finite")
    with files.replacing(path) as aside, aside.open("wb") as file:
        np.save(file, made.astype(dtype))
    begun.unlink()
