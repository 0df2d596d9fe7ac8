"""What training carries from step to step, made on the devices; `step` advances it, `checkpoints` keeps it."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh
from jaxtyping import Array, Int

from compressae_jax.model.compressae import CompresSAE, Params
from compressae_jax.training import sharding, usage
from compressae_jax.training.usage import Usage


class State(NamedTuple):
    """All that the next step depends on, with its batch."""

    step: Int[Array, ""]  # updates done
    params: Params
    opt_state: Any
    usage: Usage


def first(module: CompresSAE, optimizer: optax.GradientTransformation, key: Array) -> State:
    """The state before step 0."""
    return _begun(module, optimizer, module.init(key, jnp.zeros((1, module.d), jnp.float32))["params"])


def _begun(module: CompresSAE, optimizer: optax.GradientTransformation, params: Params) -> State:
    return State(jnp.zeros((), jnp.int32), params, optimizer.init(params), usage.nothing(module.h))


def abstract(module: CompresSAE, optimizer: optax.GradientTransformation, mesh: Mesh) -> State:
    """The state's shapes, dtypes and layouts, without its arrays."""
    shapes = jax.eval_shape(lambda key: first(module, optimizer, key), jax.random.key(0))

    def place(shape: jax.ShapeDtypeStruct, layout: jax.sharding.Sharding) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(shape.shape, shape.dtype, sharding=layout)

    return jax.tree.map(place, shapes, sharding.of_tree(mesh, shapes))


def layouts(state: State) -> State:
    """The sharding of every leaf of a state or of its abstraction."""
    return jax.tree.map(lambda leaf: leaf.sharding, state)


def create(module: CompresSAE, optimizer: optax.GradientTransformation, mesh: Mesh, seed: int) -> State:
    """The state before step 0, drawn from the seed where it will stay: no device ever holds all of it."""
    placed = layouts(abstract(module, optimizer, mesh))
    return jax.jit(lambda key: first(module, optimizer, key), out_shardings=placed)(jax.random.key(seed))


def continued(
    module: CompresSAE, optimizer: optax.GradientTransformation, mesh: Mesh, params: Mapping[str, np.ndarray]
) -> State:
    """The state before step 0 of a run that trains parameters on; moments and usage are fresh."""
    placed = layouts(abstract(module, optimizer, mesh))

    def begun(given: Params) -> State:
        # Copies: an output that is an input would lie where NumPy has it, and steps write into what they are given.
        return _begun(module, optimizer, jax.tree.map(jnp.copy, given))

    return jax.jit(begun, out_shardings=placed)(dict(params))


@jax.jit
def all_finite(state: State) -> Array:
    """Whether every number of a state is finite."""
    return jnp.stack([jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(state)]).all()


def flat(state: State) -> dict[str, Any]:
    """The state's leaves by name, so that files do not depend on the classes that optax nests."""
    return {
        jax.tree_util.keystr(path, simple=True, separator="."): leaf
        for path, leaf in jax.tree_util.tree_leaves_with_path(state)
    }


def from_flat(like: State, leaves: Mapping[str, Any]) -> State:
    """The state of leaves by name, in the tree of another."""
    return jax.tree.unflatten(jax.tree.structure(like), [leaves[name] for name in flat(like)])
