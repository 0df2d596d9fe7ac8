import numpy as np
from numpy.testing import assert_allclose

from compressae_jax.baselines.rotation import random_rotation


def test_rotations_are_orthogonal_and_drawn_by_seed():
    turn = random_rotation(7, 0)
    assert_allclose(turn @ turn.T, np.eye(7), atol=1e-6)
    assert np.abs(turn - random_rotation(7, 1)).max() > 0.1


def test_no_direction_is_preferred():
    mean = np.mean([random_rotation(3, seed) for seed in range(400)], axis=0)
    assert np.abs(mean).max() < 0.15
