"""The one table of how arrays are laid out over devices, and the mesh it speaks of; every jit of training reads it."""

from typing import Any

import jax
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from compressae_jax.notation import InputError

# By the name of an array, whatever tree it hangs in, so that Adam's moments lie where their parameters do.
TABLE = {
    "encoder_w": P(None, "model"),  # (d, h)
    "encoder_b": P("model"),  # (h,)
    "decoder_w": P("model", None),  # (h, d)
    "last_fired": P("model"),  # (h,)
    "frequency": P("model"),  # (h,)
    "batch": P(None, "data", None),  # (microbatches, rows, d): every microbatch is spread over all of `data`
}


def make_mesh(data: int = -1, model: int = 1) -> Mesh:
    """A mesh of `data` × `model` devices; -1 takes all devices that the other axis leaves.

    Raises:
        InputError: axes that do not fit the devices there are.
    """
    count = jax.device_count()
    for name, size in (("data", data), ("model", model)):
        if isinstance(size, bool) or not isinstance(size, int) or not (size == -1 or 1 <= size <= count):
            raise InputError(f"config.mesh.{name} must be -1 or an integer from 1 to {count} devices, not {size!r}")
    if data == -1 == model:
        raise InputError("one of config.mesh.data and config.mesh.model must be a number, not both -1")
    if count % (model if data == -1 else data) and -1 in (data, model):
        raise InputError(f"a mesh of data={data}, model={model} does not use all {count} devices evenly")
    data, model = (count // model if data == -1 else data), (count // data if model == -1 else model)
    if data * model > count or (jax.process_count() > 1 and data * model != count):
        raise InputError(f"a mesh of data={data} × model={model} needs {data * model} devices, and there are {count}")
    return jax.make_mesh((data, model), ("data", "model"), axis_types=(AxisType.Auto,) * 2)


def check_sizes(mesh: Mesh, h: int, microbatch: int) -> None:
    """Raise InputError unless the latents and the rows of one pass divide evenly over their axes."""
    for argument, size, axis in (("h", h, "model"), ("rows of one pass (batch, or microbatch)", microbatch, "data")):
        if size % mesh.shape[axis]:
            raise InputError(f"{argument} must be a multiple of the mesh's {axis} axis, {mesh.shape[axis]}, not {size}")


def of(mesh: Mesh, name: str) -> NamedSharding:
    """The layout of one array of the table."""
    return NamedSharding(mesh, TABLE[name])


def of_tree(mesh: Mesh, tree: Any) -> Any:
    """The layout of every leaf of a tree, by its name; scalars (step, counts) are on all devices."""

    def leaf(path: tuple, array: Any) -> NamedSharding:
        return NamedSharding(mesh, P()) if array.ndim == 0 else of(mesh, _name(path))

    return jax.tree_util.tree_map_with_path(leaf, tree)


def _name(path: tuple) -> str:
    return path[-1].key if isinstance(path[-1], jax.tree_util.DictKey) else path[-1].name
