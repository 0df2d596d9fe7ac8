import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_array_equal

from compressae_jax.retrieval.backends import running_top
from compressae_jax.retrieval.backends.running_top import Best

C, R = 8, 10


@pytest.mark.parametrize("n", [1, C, C + 1, 2 * C + 1])  # below, at and above a chunk
def test_running_top_is_a_stable_sort(n):
    scores = np.random.default_rng(0).integers(-2, 3, (3, n)).astype(np.float32)  # full of ties
    scores *= np.where(np.arange(n) % 3 == 0, -1, 1)  # zeros of both signs
    padded = np.pad(scores, ((0, 0), (0, -n % C)), constant_values=np.float32(9))  # padding would win

    best = running_top.nothing(3, R)
    for start in range(0, n, C):
        chunk = jnp.asarray(padded[:, start : start + C])
        best = running_top.absorb(best, chunk, jnp.asarray(start), jnp.asarray(min(C, n - start)))

    m = min(n, R)
    assert_array_equal(best.rows[:, :m], np.argsort(-scores, axis=1, kind="stable")[:, :m])
    assert (np.asarray(best.rows[:, m:]) == -1).all()


def test_merge_prefers_the_first_where_scores_tie():
    first = Best(jnp.array([[2.0, 1.0]]), jnp.array([[3, 0]]))
    second = Best(jnp.array([[2.0, 2.0]]), jnp.array([[5, 7]]))
    best = running_top.merge(first, second)
    assert_array_equal(best.rows, [[3, 5]])
    assert_array_equal(best.scores, [[2, 2]])


@pytest.mark.parametrize("block", [1, 4, 8])
@pytest.mark.parametrize("r", [1, 3, 40])  # 40: more than a chunk has
def test_blocks_give_what_a_stable_sort_gives(block, r):
    rng, c = np.random.default_rng(block), 32
    scores = rng.integers(-2, 3, (4, 3 * c)).astype(np.float32)  # full of ties, also between blocks and chunks
    scores[1], scores[2, : c + 5] = 1, -np.inf
    scores[3] = -np.inf
    best = running_top.nothing(4, r)
    for start in range(0, 3 * c, c):
        best = running_top.add(best, jnp.asarray(scores[:, start : start + c]), jnp.asarray(start), None, block)
    order = np.argsort(-scores, axis=1, kind="stable")[:, :r]
    assert_array_equal(best.scores, np.take_along_axis(scores, order, axis=1))
    assert_array_equal(best.rows, np.where(np.isneginf(best.scores), -1, order))
