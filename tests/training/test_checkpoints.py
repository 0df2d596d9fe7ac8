import json
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_array_equal

from compressae_jax.model.compressae import CompresSAE
from compressae_jax.notation import FolderError
from compressae_jax.training import checkpoints, sharding, state, step
from compressae_jax.training.checkpoints import Checkpoints

MODULE = CompresSAE(d=6, h=16, k=2)
ADAM = step.optimizer(step.schedule(1e-3, 0, 10, 0.0), 1.0, 0.9, 0.999)


@pytest.fixture(scope="module")
def first():
    return state.create(MODULE, ADAM, sharding.make_mesh(1, 1), seed=0)


def at(first, number):
    """A state that is told by its step."""
    return first._replace(
        step=jnp.asarray(number, jnp.int32), params=jax.tree.map(lambda leaf: leaf + number, first.params)
    )


def like(data=1, model=1):
    return state.abstract(MODULE, ADAM, sharding.make_mesh(data, model))


def saved(folder, first, scores, keep_last=2):
    with Checkpoints(folder, keep_last) as keeper:
        for number, score in scores.items():
            keeper.save(at(first, number), score)
            keeper.wait()


def steps_in(folder):
    return sorted(int(path.name) for path in folder.iterdir() if path.name.isdigit())


def assert_same(one, other):
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        assert_array_equal(np.asarray(a), np.asarray(b))


@pytest.mark.parametrize("mesh", [(1, 1), (4, 2)])
def test_a_state_comes_back_bit_for_bit_where_it_should_lie(tmp_path, first, mesh):
    saved(tmp_path, first, {3: None, 7: None})
    with Checkpoints(tmp_path, 2) as keeper:
        restored = keeper.restore(like(*mesh))
        assert "step 7" in keeper.newest
    assert_same(restored, at(first, 7))
    for leaf, wanted in zip(jax.tree.leaves(restored), jax.tree.leaves(like(*mesh)), strict=True):
        assert leaf.sharding == wanted.sharding


def test_the_newest_and_the_best_are_kept(tmp_path, first):
    saved(tmp_path, first, {1: 0.1, 2: 0.9, 3: 0.3, 4: None, 5: 0.2})
    assert steps_in(tmp_path) == [2, 4, 5]


def test_what_is_saved_is_the_state_before_it_is_donated(tmp_path, first):
    with Checkpoints(tmp_path, 2) as keeper:
        held = jax.tree.map(jnp.copy, at(first, 1))
        keeper.save(held, None)
        jax.jit(lambda tree: jax.tree.map(lambda leaf: leaf * 0, tree), donate_argnums=0)(held)
        keeper.wait()
        assert_same(keeper.restore(like()), at(first, 1))


def test_nothing_saved_is_none(tmp_path):
    with Checkpoints(tmp_path, 2) as keeper:
        assert keeper.restore(like()) is None
        assert keeper.newest == "none yet"


def damage(folder, number):
    """Flip one bit in the middle of every large file of a checkpoint, as a bad disk would."""
    for path in (folder / str(number)).rglob("*"):
        if path.is_file() and path.stat().st_size > 500:
            content = bytearray(path.read_bytes())
            content[len(content) // 2] ^= 4
            path.write_bytes(content)


def test_a_damaged_checkpoint_gives_way_to_the_one_before_it(tmp_path, first):
    saved(tmp_path, first, {3: None, 7: None})
    damage(tmp_path, 7)
    with Checkpoints(tmp_path, 2) as keeper:
        with pytest.warns(UserWarning, match=r"step 7 .* is damaged .*continuing from step 3"):
            restored = keeper.restore(like())
        assert_same(restored, at(first, 3))
        keeper.save(at(first, 7), None)  # the same number again
        keeper.wait()
        assert_same(keeper.restore(like()), at(first, 7))


def test_only_damaged_checkpoints_are_an_error(tmp_path, first):
    saved(tmp_path, first, {3: None})
    damage(tmp_path, 3)
    with Checkpoints(tmp_path, 2) as keeper, pytest.raises(FolderError, match="remove that folder"):
        keeper.restore(like())
    assert steps_in(tmp_path) == [3]


def test_an_array_that_is_not_the_one_saved_is_named(tmp_path, first):
    """What a flip inside an array gives where the store's own checks miss it."""
    saved(tmp_path, first, {3: None})
    path = tmp_path / "3" / "sums" / "metadata"
    sums = json.loads(path.read_text())
    sums["params.encoder_w"][0] ^= 1
    path.write_text(json.dumps(sums))
    with Checkpoints(tmp_path, 2) as keeper, pytest.raises(FolderError, match=r"arrays params\.encoder_w are not"):
        keeper.restore(like())


def test_sums_see_any_flipped_bit_and_any_swap(first):
    sums = checkpoints.sums(first)
    assert sums == checkpoints.sums(jax.device_put(first, sharding.of_tree(sharding.make_mesh(4, 2), first)))
    rng = np.random.default_rng(0)
    w = np.array(first.params["encoder_w"])
    for _ in range(40):
        flipped = w.copy()
        flipped.view(np.uint32)[rng.integers(6), rng.integers(16)] ^= np.uint32(1 << rng.integers(32))
        assert one_sum(first, flipped) != sums["params.encoder_w"]
    assert one_sum(first, w[::-1].copy()) != sums["params.encoder_w"]
    assert one_sum(first, -w) != sums["params.encoder_w"]


def one_sum(first, encoder_w):
    return checkpoints.sums(first._replace(params={**first.params, "encoder_w": encoder_w}))["params.encoder_w"]


def test_reading_warns_of_nothing(tmp_path, first):
    saved(tmp_path, first, {3: None})
    with warnings.catch_warnings(), Checkpoints(tmp_path, 2) as keeper:
        warnings.simplefilter("error")
        keeper.restore(like(2, 4))
