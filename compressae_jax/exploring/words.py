"""Which words the items of a latent share, and which words stand together on the map; texts themselves are `texts`'."""

import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import scipy.sparse
from jaxtyping import Float, Int

WORD = re.compile(r"[^\W\d_]{2,}")
A_SIDE = 4  # words of a sign of a latent
LEAST = 2  # items of a side that share a word
SURE = 3  # standard deviations that these are above what as many items drawn by chance would share
PLACES = 60  # words on the map, at most
NEAR = 0.07  # of the map's width: what counts as one place


class Words(NamedTuple):
    """Which items hold which words: `held` (n, words) of ones, and the words of its columns."""

    held: scipy.sparse.csr_matrix
    words: list[str]


class Place(NamedTuple):
    """A word on the map, where most of the items are that hold it."""

    word: str
    x: float
    y: float


def of(texts: Sequence[str]) -> Words:
    """The words that at least two texts hold, in small letters, by the alphabet."""
    counted: dict[str, int] = {}
    split = [sorted(set(WORD.findall(text.casefold()))) for text in texts]
    for some in split:
        for word in some:
            counted[word] = counted.get(word, 0) + 1
    words = sorted(word for word, count in counted.items() if count >= LEAST)
    places = {word: place for place, word in enumerate(words)}
    columns = [[places[word] for word in some if word in places] for some in split]
    indptr = np.cumsum([0, *map(len, columns)])
    indices = np.fromiter((one for some in columns for one in some), np.int64, indptr[-1])
    held = scipy.sparse.csr_matrix((np.ones(len(indices), np.float32), indices, indptr), (len(texts), len(words)))
    return Words(held, words)


def of_latents(
    strengths: scipy.sparse.csr_matrix,
    words: Words,
    most: int = A_SIDE,
) -> Int[np.ndarray, "m most"]:
    """The words that tell the items of each latent from the others, best first; -1 where there are no more.

    `strengths` (n, m): how much of each latent an item has, at least 0; a sign of the latents at a time. A word's
    share p among a latent's items, weighted by their strengths, is set against its share b among all: p log(p / b)^2,
    where it is larger than chance would make it; without the square it is words like 'for' that come first.
    """
    n, m = strengths.shape
    found = np.full((m, most), -1)
    if not len(words.words) or not strengths.nnz:
        return found
    by_latent = scipy.sparse.csr_matrix(strengths.T, dtype=np.float32)
    together = (by_latent @ words.held).tocsr()
    shared = ((by_latent > 0).astype(np.float32) @ words.held).tocsr()
    for matrix in (together, shared):
        matrix.sort_indices()  # so that both have their entries in one order
    everywhere = np.asarray(words.held.sum(axis=0)).ravel() / n
    # As if each latent had one more item, of its mean strength, without any word: few items prove little.
    items = np.diff(by_latent.indptr)
    total = np.asarray(by_latent.sum(axis=1)).ravel() * (1 + 1 / np.maximum(items, 1))
    for latent in range(m):
        here = slice(*together.indptr[latent : latent + 2])
        columns = together.indices[here]
        share, common = together.data[here] / (total[latent] or 1), everywhere[columns]
        scores = share * np.log(np.maximum(share / common, 1)) ** 2
        by_chance = items[latent] * common
        sure = shared.data[here] > by_chance + SURE * np.sqrt(by_chance * (1 - common))
        scores[(shared.data[here] < LEAST) | ~sure] = 0
        best = np.lexsort((columns, -scores))[:most]
        best = best[scores[best] > 0]
        found[latent, : len(best)] = columns[best]
    return found


def of_places(at: Float[np.ndarray, "n 2"], words: Words, most: int = PLACES) -> list[Place]:
    """Words whose items lie together on a map of width 1: those that say most of it first, none near another."""
    by_word = words.held.tocsc()
    counts = np.diff(by_word.indptr)
    least = max(4, len(at) // 700)
    told: list[tuple[float, str, np.ndarray]] = []
    for column in np.flatnonzero((counts >= least) & (counts <= len(at) / 4)):
        here = at[by_word.indices[by_word.indptr[column] : by_word.indptr[column + 1]]]
        middle = np.median(here, axis=0)
        near = int((np.hypot(*(here - middle).T) < NEAR).sum())
        if near >= least and near > 0.4 * len(here):
            told.append((-near * near / len(here), words.words[column], middle))
    chosen: list[Place] = []
    for _, word, (x, y) in sorted(told, key=lambda one: one[:2]):
        if all(np.hypot(one.x - x, one.y - y) >= NEAR / 2 for one in chosen):
            chosen.append(Place(word, float(x), float(y)))
        if len(chosen) == most:
            break
    return chosen
