import numpy as np
from numpy.testing import assert_allclose

from compressae_jax.baselines import truncation


def test_scores_are_cosines_of_the_leading_dimensions():
    rows = np.array([[3, 4, 9], [4, -3, 0]], np.float32)
    scores, found = truncation.fit(rows, 8).add(rows).search(np.array([[0, 2, 5]], np.float32), 2)
    assert_allclose(scores, [[0.8, -0.6]], rtol=1e-6)
    assert found.tolist() == [[0, 1]]
