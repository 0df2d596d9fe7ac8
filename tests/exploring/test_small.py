"""Codes in few bits: similarities near those of the index in both spaces, latents renumbered, rows of zeros."""

import numpy as np
import pytest
from evaluation import small as made
from numpy.testing import assert_allclose, assert_array_equal

from compressae_jax import compression
from compressae_jax.codes.codes import Codes
from compressae_jax.exploring import small
from compressae_jax.retrieval.index import Index

WEIGHTS = made.weights(h=400)


@pytest.fixture(scope="module")
def codes():
    vectors = made.vectors(150)
    vectors[17] = 0
    return compression.encode(WEIGHTS, vectors, "float32")


@pytest.mark.parametrize("space", ["sparse", "reconstructed"])
@pytest.mark.parametrize(("bits", "within"), [(8, 0.01), (5, 0.08)])
def test_similarities_are_those_of_the_index(codes, space, bits, within):
    rounded = small.of(codes, WEIGHTS.params["decoder_w"], space, bits)
    rows = np.array([3, 17, 149])
    found = Index(codes, WEIGHTS, space).search(codes[rows], top=150)
    exact = np.zeros((3, 150))
    for one, scores, there in zip(exact, found.scores, found.rows, strict=True):
        one[there[there >= 0]] = scores[there >= 0]
    ours = small.scores(rounded, rows)
    assert_allclose(ours, exact, atol=within)
    assert_allclose(ours[[0, 2], [3, 149]], 1, atol=1e-6)  # a row is like itself, whatever was rounded
    assert (ours[1] == 0).all() and (ours[:, 17] == 0).all()


def test_only_latents_in_use_are_kept_under_new_numbers(codes):
    rounded = small.of(codes, WEIGHTS.params["decoder_w"], "reconstructed", 8)
    there = np.asarray(codes.values) != 0
    assert len(rounded.latents) < WEIGHTS.h and len(rounded.decoder) == len(rounded.latents)
    assert_array_equal(rounded.latents[rounded.columns][there], np.asarray(codes.columns)[there])
    assert np.abs(rounded.values[there]).max() == small.LEVELS
    assert len(small.of(codes, WEIGHTS.params["decoder_w"], "sparse", 8).decoder) == 0


def test_a_column_that_a_row_does_not_use_is_no_latent_in_use():
    codes = Codes(np.array([[1, -0.5], [0.25, 0]], np.float32), np.array([[3, 1], [1, 2]]), 5)
    rounded = small.of(codes, np.eye(5, dtype=np.float32), "reconstructed", 8)
    assert_array_equal(rounded.latents, [1, 3])
    assert_array_equal(rounded.columns, [[1, 0], [0, 0]])
    assert_array_equal(rounded.values, [[127, -64], [127, 0]])
