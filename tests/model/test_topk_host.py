import jax.numpy as jnp
import numpy as np
from numpy.testing import assert_array_equal

from compressae_jax.model import topk, topk_host


def test_it_is_the_jitted_selection():
    a = np.round(3 * np.random.default_rng(0).standard_normal((50, 70)), 1).astype(np.float32)  # with ties
    for k in (1, 7, 70):
        for given, wanted in zip(topk_host.largest(a, k), topk.largest(jnp.asarray(a), k), strict=True):
            assert_array_equal(given, wanted)
