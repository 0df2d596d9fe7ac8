"""Words of latents and of places on made items where they are known."""

import numpy as np
import scipy.sparse
from numpy.testing import assert_array_equal

from compressae_jax.exploring import words

TEXTS = [
    "Red apple for all",
    "red cherry for all",
    "green pear for all",
    "green grass, for all!",
    "blue sky: for all",
    "Die See",
]


def test_words_are_those_of_two_texts_and_know_no_case():
    held = words.of(TEXTS)
    assert held.words == ["all", "for", "green", "red"]
    assert_array_equal(held.held.toarray()[:, 3], [1, 1, 0, 0, 0, 0])
    assert words.of(["одно слово", "слово ещё одно"]).words == ["одно", "слово"]
    assert words.of(["", "7 8"]).words == []


def test_a_latent_is_told_by_what_its_items_share_and_others_lack():
    texts = [*TEXTS, *(f"{'half' * (i % 2)} for all" for i in range(30))]
    strengths = np.zeros((36, 5))
    strengths[[7, 9, 11], 4] = 1  # who share what half of all have, which three by chance may do
    strengths[:2, 0] = 0.9, 0.8  # the red ones
    strengths[2:4, 1] = 0.5
    strengths[4, 2] = 1  # one item alone shares nothing with another
    held = words.of(texts)
    found = words.of_latents(scipy.sparse.csr_matrix(strengths), held)
    assert [held.words[one] for one in found[:2, 0]] == ["red", "green"]
    assert (found[2:] == -1).all() and found.shape == (5, words.A_SIDE)
    told = {held.words[one] for one in found[0] if one >= 0}
    assert "green" not in told


def test_no_words_at_all():
    assert (words.of_latents(scipy.sparse.csr_matrix((2, 3)), words.of(["", ""])) == -1).all()
    assert words.of_places(np.zeros((2, 2)), words.of(["", ""])) == []


def test_words_stand_where_their_items_are():
    rng = np.random.default_rng(0)
    centres = np.array([[0.2, 0.2], [0.8, 0.8], [0.2, 0.8]])
    which = np.arange(90) % 3
    at = centres[which] + 0.01 * rng.normal(size=(90, 2))
    texts = [f"{['north', 'south', 'west'][one]} {'odd' if i % 2 else 'even'}" for i, one in enumerate(which)]
    found = {one.word: (one.x, one.y) for one in words.of_places(at, words.of(texts))}
    assert set(found) == set()  # a third of all items each: no word of a place
    others = [f"other{i % 37}x" for i in range(90)]
    texts = [text if i < 45 else other for i, (text, other) in enumerate(zip(texts, others, strict=True))]
    found = {one.word: (one.x, one.y) for one in words.of_places(at, words.of(texts))}
    assert set(found) == {"north", "south", "west"}  # and not 'odd' and 'even', which are everywhere
    for word, centre in zip(("north", "south", "west"), centres, strict=True):
        np.testing.assert_allclose(found[word], centre, atol=0.02)
