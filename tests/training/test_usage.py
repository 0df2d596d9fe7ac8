import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from compressae_jax.training import usage


def test_usage_follows_numpy():
    rng = np.random.default_rng(0)
    h, steps, window = 11, 9, 4
    seen, fired_at, frequency = usage.nothing(h), np.full(h, -np.inf), np.zeros(h)
    for step in range(steps):
        s = rng.standard_normal((5, h)) * (rng.random((5, h)) < 0.1)
        s[:, 3] = 0  # never fires
        counts = usage.count(jnp.asarray(s, jnp.float32))
        assert_array_equal(counts, (s != 0).sum(axis=0))
        seen = usage.observe(seen, counts, jnp.asarray(step))
        fired_at[(s != 0).any(axis=0)] = step
        frequency = 0.99 * frequency + 0.01 * (s != 0).sum(axis=0)

        dead = (fired_at <= step - window).mean()
        assert_allclose(usage.dead_share(seen, jnp.asarray(step), window), dead, rtol=1e-6)
        assert dead > 0
        p = frequency[frequency > 0] / frequency.sum()
        assert_allclose(usage.entropy(seen), -(p * np.log(p)).sum() / np.log(h), rtol=1e-5)


@pytest.mark.parametrize(("counts", "entropy"), [([2, 2, 2, 2], 1), ([0, 5, 0, 0], 0), ([0, 0, 0, 0], 0), ([3], 0)])
def test_entropy_of_even_and_lonely_use(counts, entropy):
    seen = usage.observe(usage.nothing(len(counts)), jnp.asarray(counts), jnp.asarray(0))
    assert_allclose(usage.entropy(seen), entropy, atol=1e-6)


@pytest.mark.parametrize(("rows", "batch", "steps"), [(50, 64, 100), (100_000, 64, 1563), (6401, 64, 101)])
def test_the_window_is_an_epoch_but_at_least_a_hundred_steps(rows, batch, steps):
    assert usage.window(rows, batch) == steps
