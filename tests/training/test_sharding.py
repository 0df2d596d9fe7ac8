import jax
import pytest

from compressae_jax.model.compressae import CompresSAE
from compressae_jax.notation import InputError
from compressae_jax.training import sharding, state, step

MODULE = CompresSAE(d=6, h=16, k=2)
ADAM = step.optimizer(step.schedule(1e-3, 0, 10, 0.0), 1.0, 0.9, 0.999)


@pytest.mark.parametrize(
    ("data", "model", "shape"), [(-1, 1, (8, 1)), (-1, 4, (2, 4)), (2, -1, (2, 4)), (3, 2, (3, 2))]
)
def test_a_mesh_takes_the_devices_that_are_left(data, model, shape):
    assert tuple(sharding.make_mesh(data, model).shape.values()) == shape


@pytest.mark.parametrize(("data", "model"), [(-1, -1), (-1, 3), (9, 1), (4, 4), (0, 1), (1, True)])
def test_a_mesh_that_does_not_fit_is_refused(data, model):
    with pytest.raises(InputError, match="mesh"):
        sharding.make_mesh(data, model)


def test_sizes_that_do_not_divide_are_named():
    mesh = sharding.make_mesh(4, 2)
    sharding.check_sizes(mesh, h=16, microbatch=8)
    with pytest.raises(InputError, match=r"h must be a multiple .* 2, not 15"):
        sharding.check_sizes(mesh, h=15, microbatch=8)
    with pytest.raises(InputError, match=r"batch.* must be a multiple .* 4, not 6"):
        sharding.check_sizes(mesh, h=16, microbatch=6)


def test_moments_lie_where_their_parameters_do():
    like = state.abstract(MODULE, ADAM, sharding.make_mesh(4, 2))
    parts = jax.tree.map(lambda leaf: leaf.sharding.spec, like)
    (moments,) = [
        part for part in jax.tree.leaves(parts.opt_state, is_leaf=lambda x: hasattr(x, "mu")) if hasattr(part, "mu")
    ]
    for name, part in parts.params.items():
        assert part == sharding.TABLE[name] == moments.mu[name] == moments.nu[name]
    assert parts.usage.last_fired == parts.usage.frequency == sharding.TABLE["encoder_b"]
    split = [leaf.sharding.shard_shape(leaf.shape) != leaf.shape for leaf in jax.tree.leaves(like) if leaf.ndim]
    assert all(split)
