"""What the page shows of an index, gathered and written: rows, their similarities, words of latents, a map."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse
from jaxtyping import Float, Int

from compressae_jax.base import files
from compressae_jax.base import progress as bars
from compressae_jax.base.arrays import pieces
from compressae_jax.codes import on_host
from compressae_jax.codes.codes import Codes
from compressae_jax.data.sampling import drawn_rows
from compressae_jax.exploring import document, layout, small, words
from compressae_jax.exploring import texts as texts_of
from compressae_jax.exploring.small import Small
from compressae_jax.notation import InputError, check_range
from compressae_jax.retrieval.index import Index

ROWS, MOST_ROWS = 10_000, 100_000
MEGABYTES = 5.0
BITS = (8, 7, 6, 5, 4)  # of the decoder's numbers: the first with which the page is small enough
NEAREST = 15  # rows that each row lies near, on the map
PROBED = 64  # rows whose similarities are compared with exact ones
STEP = 256  # rows searched between two steps of the bar


def explore(
    index: Index,
    out: str | os.PathLike,
    texts: Sequence[str] | None = None,
    *,
    title: str | None = None,
    total: int | None = None,
    rows: int = ROWS,
    megabytes: float | int = MEGABYTES,
    seed: int = 0,
    progress: bool = True,
) -> Path:
    """Write one page without a server that shows what the latents of an index mean; its path.

    `texts`, one a row that is there, are what items are known by (default: ids, else row numbers); `title` is said
    above. Of more than `rows` rows so many are drawn by `seed`; `total`, where the index itself holds a sample: of how
    many. Similarities are those of codes as queries: of an index in the space 'sparse' cosines of codes, else of
    reconstructions. The decoder is rounded to as many bits as `megabytes` (10^6 bytes) hold, and the page says how far
    its similarities are from exact ones.

    Raises:
        InputError: no rows, texts that are not one a row, a page that would be larger.
        FolderError: a folder at that name.
    """
    path = files.check_out(out, (".html", ".htm"), folder=False)
    check_range("rows", rows, 1, MOST_ROWS)
    if not 0.01 <= megabytes <= 1000:
        raise InputError(f"megabytes must be from .01 to 1000, not {megabytes!r}")
    if not len(index):
        raise InputError("the index has no rows, so there is nothing to show")
    if texts is not None and len(texts) != len(index):
        raise InputError(f"texts must be {len(index):,}, one for each row of the index, not {len(texts):,}")
    chosen = np.sort(drawn_rows(len(index), seed, min(rows, len(index))))
    numbers = np.concatenate([some for some, _ in index.pieces()])[chosen]
    ids = None if index.codes.ids is None else index.codes.ids[numbers]
    named: Any = numbers.tolist() if ids is None else ids
    told = [str(one) for one in named] if texts is None else [str(texts[row]) for row in chosen]
    told = [text or f"({one})" for text, one in zip(texts_of.shown(told), named, strict=True)]
    with bars.bar(len(chosen) // STEP + 1 + layout.EPOCHS, "explore", "steps", shown=progress) as bar:
        content = _Content(index, numbers, told, seed, bar)
        head = {"title": title or "an index", "total": total or len(index), "texts": told, **content.told}
        page = _fitting(content, head, megabytes)
    files.write_bytes(path, page)
    return path


class _Content:
    """What does not depend on the bits of the decoder: computed once."""

    def __init__(self, index: Index, numbers: Int[np.ndarray, " n"], texts: list[str], seed: int, bar: Any) -> None:
        self.space = "sparse" if index.space == "sparse" else "reconstructed"
        self.decoder_w = np.asarray(index.weights.params["decoder_w"])
        rows = index.codes[numbers].check().codes()
        self.codes = dataclasses.replace(rows, ids=None, norms=None, lengths=None)
        index = Index(self.codes, index.weights, self.space, verify=False)
        self.probed = drawn_rows(len(rows), seed, min(PROBED, len(rows)))
        self.exact = _exact(index, self.codes, self.probed)
        scores, near = _neighbours(index, self.codes, bar)
        z = on_host.unit_rows(on_host.reconstruct(self.codes, self.decoder_w))
        self.at = layout.of(z, scores, near, seed, done=lambda: bar.update(1))
        held = words.of(texts)
        self.latents = small.of(self.codes, self.decoder_w, "sparse", 8).latents
        sides = [words.of_latents(_strengths(self.codes, self.latents, sign), held) for sign in (1, -1)]
        self.words = np.stack(sides, axis=1)  # (m, 2, words)
        kept = np.unique(self.words[self.words >= 0])
        spelled = np.where(self.words >= 0, np.searchsorted(kept, self.words) + 1, 0)
        self.spelled = spelled.astype(np.uint32 if len(kept) >= 2**16 else np.uint16)
        self.told = {
            "space": self.space,
            "d": index.weights.d,
            "h": index.weights.h,
            "k": self.codes.k,
            "model": index.weights.fingerprint,
            "encoder": index.encoder,
            "words": [held.words[one] for one in kept],
            "places": [[one.word, round(one.x, 4), round(one.y, 4)] for one in words.of_places(self.at, held)],
        }

    def small(self, bits: int) -> Small:
        """The rows and the decoder in so few bits."""
        return small.of(self.codes, self.decoder_w, self.space, bits)

    def arrays(self, rounded: Small) -> dict[str, np.ndarray]:
        """What the page is given beside its head."""
        narrow = np.uint16 if len(rounded.latents) <= 2**16 else np.uint32
        at = np.rint(self.at * (2**16 - 1)).astype(np.uint16)
        return {
            "latents": rounded.latents.astype(np.uint32),
            "columns": rounded.columns.astype(narrow),
            "values": rounded.values,
            "decoder": rounded.decoder,
            "scales": rounded.scales.astype(np.float32),
            "norms": rounded.norms.astype(np.float32),
            "spelled": self.spelled,
            "at": at,
        }

    def off(self, rounded: Small) -> float:
        """How far a similarity of the page is from the exact one, at most, over the rows probed."""
        return float(np.abs(small.scores(rounded, self.probed) - self.exact).max(initial=0))


def _fitting(content: _Content, head: dict[str, Any], megabytes: float) -> bytes:
    """The page with the most bits that fit.

    Raises:
        InputError: none do.
    """
    page = b""
    for bits in BITS if content.space != "sparse" else BITS[:1]:
        rounded = content.small(bits)
        told = {**head, "bits": bits, "off": content.off(rounded)}
        page = document.of(head["title"], document.packed(told, content.arrays(rounded)))
        if len(page) <= megabytes * 1e6:
            return page
    less = "" if content.space == "sparse" else ", the space 'sparse', which needs no decoder,"
    raise InputError(
        f"the page would have {len(page) / 1e6:.1f} MB, more than megabytes={megabytes:g}: take fewer rows{less} "
        "or more megabytes"
    )


def _exact(index: Index, codes: Codes, rows: Int[np.ndarray, " q"]) -> Float[np.ndarray, "q n"]:
    """The similarities of some rows with all, by the index."""
    found = index.search(codes[rows], top=len(codes))
    exact = np.zeros((len(rows), len(codes)), np.float32)
    for one, scores, there in zip(exact, found.scores, found.rows, strict=True):
        one[there[there >= 0]] = scores[there >= 0]
    return exact


def _neighbours(index: Index, codes: Codes, bar: Any) -> tuple[np.ndarray, np.ndarray]:
    """Scores and row numbers of the nearest rows of each."""
    parts = []
    for some in pieces(codes, STEP):
        parts.append(index.search(some, top=min(NEAREST + 1, len(codes))))
        bar.update(1)
    return np.concatenate([part.scores for part in parts]), np.concatenate([part.rows for part in parts])


def _strengths(codes: Codes, latents: Int[np.ndarray, " m"], sign: int) -> scipy.sparse.csr_matrix:
    """How much of each latent a row has on one side of zero, (n, m), of rows of unit length."""
    values = on_host.unit_rows(np.asarray(codes.values, np.float32))
    matrix = Codes((sign * values).clip(min=0), np.asarray(codes.columns), codes.h).to_csr()[:, latents]
    matrix.eliminate_zeros()
    return matrix
