"""The map: near rows stay near, the same places for the same seed, nothing outside the border."""

import numpy as np
import pytest
from evaluation import small
from numpy.testing import assert_array_equal

from compressae_jax.codes.on_host import unit_rows
from compressae_jax.exploring import layout


def neighbours(vectors, r):
    scores = unit_rows(vectors) @ unit_rows(vectors).T
    rows = np.argsort(-scores, axis=1, kind="stable")[:, :r]
    return np.take_along_axis(scores, rows, 1), rows


def kept(at, rows):
    """The share of the neighbours that are among as many nearest on the map."""
    far = ((at[:, None] - at[None]) ** 2).sum(axis=2)
    near = np.argsort(far, axis=1)[:, : rows.shape[1]]
    return np.mean([len(np.intersect1d(*some)) for some in zip(near, rows, strict=True)]) / rows.shape[1]


def test_more_neighbours_are_kept_than_by_principal_components():
    vectors = small.vectors(400)
    scores, rows = neighbours(vectors, 11)
    at = layout.of(vectors, scores, rows)
    assert at.shape == (400, 2) and at.min() >= 0 and at.max() <= 1
    assert kept(at, rows) > kept(layout.principal(vectors), rows) + 0.1
    assert_array_equal(layout.of(vectors, scores, rows), at)
    assert (layout.of(vectors, scores, rows, seed=1) != at).any()


def test_pairs_are_those_of_either_row_once():
    rows = np.array([[0, 1], [1, 2], [2, 0], [3, -1]])  # 2 says 0 and 1 says 2, which do not say them; 3 says nobody
    scores = np.array([[1, 0.9], [1, 0.8], [1, 0.7], [1, -np.inf]], np.float32)
    found = layout.pairs(scores, rows)
    assert sorted(zip(found.row.tolist(), found.col.tolist(), strict=True)) == [(0, 1), (0, 2), (1, 2)]
    assert (found.data == 1).all()  # the nearest of a row belongs to it for sure


def test_every_epoch_is_told():
    told = []
    vectors = small.vectors(20)
    layout.of(vectors, *neighbours(vectors, 5), epochs=7, done=lambda: told.append(1))
    assert len(told) == 7


def test_principal_components_are_those_of_numpy():
    vectors = small.vectors(50)
    centred = vectors - vectors.mean(axis=0)
    expected = centred @ np.linalg.svd(centred, full_matrices=False)[2][:2].T
    np.testing.assert_allclose(np.abs(layout.principal(vectors)), np.abs(expected), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("n", [1, 2, 3])
def test_few_rows_rows_without_neighbours_and_of_one_number(n):
    vectors = np.ones((n, 1), np.float32)
    scores, rows = np.full((n, 4), -np.inf, np.float32), np.full((n, 4), -1)
    at = layout.of(vectors, scores, rows)
    assert at.shape == (n, 2) and np.isfinite(at).all()
