"""Checkpoints of the training state, by Orbax: the newest and the best, saved in the background, verified when read."""

import itertools
import warnings
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from compressae_jax.notation import FolderError
from compressae_jax.training.state import State

Sums = dict[str, list[int]]


class Checkpoints:
    """The checkpoints of one run; a context, at whose end all that was begun is on the disk."""

    def __init__(self, folder: Path, keep_last: int):
        self.folder = folder.absolute()
        self._manager = _open(self.folder, keep_last)

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *error: Any) -> None:
        self._manager.close()

    @property
    def newest(self) -> str:
        """The newest checkpoint, in words."""
        self._manager.wait_until_finished()
        step = self._manager.latest_step()
        return "none yet" if step is None else f"step {step} in {self.folder}"

    def save(self, state: State, score: float | None) -> None:
        """Begin to write the state; `score` (higher is better) is that of its validation, if there was one."""
        import orbax.checkpoint as ocp

        parts = ocp.args.Composite(state=ocp.args.StandardSave(_tree(state)), sums=ocp.args.JsonSave(sums(state)))
        metrics = None if score is None else {"score": float(score)}
        self._manager.save(int(state.step), args=parts, metrics=metrics, force=True)

    def wait(self) -> None:
        """Return when what was begun is on the disk."""
        self._manager.wait_until_finished()

    def restore(self, like: State) -> State | None:
        """The newest state whose checksums hold, put straight where `like` says; None where nothing was saved yet.

        A damaged checkpoint is named in a warning, removed, and the one before it taken.

        Raises:
            FolderError: there are checkpoints, and all are damaged.
        """
        found = sorted(self._manager.all_steps(), reverse=True)
        for step, before in itertools.pairwise([*found, None]):
            try:
                return self._read(step, like)
            except Exception as error:  # Orbax and its stores raise all kinds for damaged files
                reason = " ".join(str(error).split())[:200]
            if before is None:
                raise FolderError(
                    f"no checkpoint in {self.folder} can be read (step {step}: {reason}); "
                    f"remove that folder to train from the start"
                )
            warnings.warn(
                f"checkpoint of step {step} in {self.folder} is damaged ({reason}); continuing from step {before}",
                stacklevel=2,
            )
            self._manager.delete(step)
        return None

    def _read(self, step: int, like: State) -> State:
        import orbax.checkpoint as ocp

        parts = ocp.args.Composite(state=ocp.args.StandardRestore(_tree(like)), sums=ocp.args.JsonRestore())
        read = self._manager.restore(step, args=parts)
        state = jax.tree.unflatten(jax.tree.structure(like), [read["state"][name] for name in _tree(like)])
        wanted, given = read["sums"], sums(state)
        damaged = [name for name in given if wanted.get(name) != given[name]]
        if damaged or int(state.step) != step:
            raise FolderError(f"its arrays {', '.join(damaged) or 'step'} are not those that were saved")
        return state


def sums(state: State) -> Sums:
    """Two 32-bit checksums of every array: of its bits and their places, whatever mesh it lies on."""
    return {name: [int(part) for part in np.asarray(pair)] for name, pair in _sums(_tree(state)).items()}


@jax.jit
def _sums(arrays: dict[str, Array]) -> dict[str, Array]:
    return {name: jnp.stack([_sum(array, 0x9E3779B9), _sum(array, 0x85EBCA6B)]) for name, array in arrays.items()}


def _sum(array: Array, salt: int) -> Array:
    """The sum mod 2³² of murmur3's mix of each word with its place; integers, so the order does not matter."""
    words = jax.lax.bitcast_convert_type(array, jnp.uint32)
    place = jnp.full(array.shape, salt, jnp.uint32)
    for axis in range(array.ndim):
        place = _mix(place + jax.lax.broadcasted_iota(jnp.uint32, array.shape, axis))
    return _mix(words ^ place).sum(dtype=jnp.uint32)


def _mix(x: Array) -> Array:
    x = (x ^ (x >> 16)) * jnp.uint32(0x85EBCA6B)
    x = (x ^ (x >> 13)) * jnp.uint32(0xC2B2AE35)
    return x ^ (x >> 16)


def _tree(state: State) -> dict[str, Any]:
    """The state as one flat dict, so that files do not depend on the classes that optax nests."""
    return {
        jax.tree_util.keystr(path, simple=True, separator="."): leaf
        for path, leaf in jax.tree_util.tree_leaves_with_path(state)
    }


def _open(folder: Path, keep_last: int) -> Any:
    import orbax.checkpoint as ocp
    from orbax.checkpoint.checkpoint_managers import preservation_policy as keep

    best = keep.BestN(get_metric_fn=lambda metrics: metrics["score"], n=1, keep_checkpoints_without_metrics=False)
    options = ocp.CheckpointManagerOptions(
        preservation_policy=keep.AnyPreservationPolicy([keep.LatestN(keep_last), best]),
        cleanup_tmp_directories=True,
        enable_async_checkpointing=True,
    )
    return ocp.CheckpointManager(folder, options=options)
