"""Batches on their way to the devices: the next is read while a step runs; their order is `data.sampling`'.

Rows that fit accelerators go there once, to every one of them, and a step sends row numbers instead of a batch: 100,000
rows of 768 numbers are 307 MB, which take longer to send than to learn from.
"""

import functools
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, Float, Int

from compressae_jax.base import devices
from compressae_jax.data.sampling import Rest, rows_of_step
from compressae_jax.data.sources import Source

HELD = 1 / 4  # of a device's memory, at most, for all rows: a step needs the rest
PIECE = 2**26  # bytes sent at once


class Feed:
    """The batch of any step, a pure function of seed and step; to be closed, or used as a context.

    `held`: whether all rows lie on the devices; by default where these are accelerators of one process with room.
    """

    def __init__(
        self,
        source: Source,
        rows: Rest,
        placed: NamedSharding,
        *,
        seed: int,
        steps: int,
        batch: int,
        microbatch: int,
        held: bool | None = None,
    ):
        self._source, self._rows, self._placed = source, rows, placed
        self._seed, self._steps = seed, steps
        self._shape = (batch // microbatch, microbatch, source.width)
        self._mine = local_rows(placed, self._shape)
        held = fits(len(rows), source.width) if held is None else held
        self._held = on_devices(source, rows, placed) if held else None
        self._thread = ThreadPoolExecutor(1, "feed")
        self._next: tuple[int, Future[Array]] | None = None

    def __enter__(self) -> "Feed":
        return self

    def __exit__(self, *error: Any) -> None:
        self._thread.shutdown(wait=True, cancel_futures=True)

    def batch(self, step: int) -> Float[Array, "m b d"]:
        """The batch of a step; the one after it is begun."""
        ahead = self._next if self._next and self._next[0] == step else (step, self._thread.submit(self._read, step))
        if step + 1 < self._steps:
            self._next = (step + 1, self._thread.submit(self._read, step + 1))
        return ahead[1].result()

    def _read(self, step: int) -> Array:
        m, b, d = self._shape
        places = rows_of_step(self._seed, step, m * b, len(self._rows)).reshape(m, b)
        if self._held is not None:
            numbers = jax.device_put(
                places.astype(np.int32), NamedSharding(self._placed.mesh, P(*self._placed.spec[:2]))
            )
            return gathered(self._held, numbers, self._placed)
        mine = self._rows[places[:, self._mine]]
        vectors = self._source.take(mine.reshape(-1)).reshape(m, -1, d)
        return jax.make_array_from_process_local_data(self._placed, vectors, self._shape)


def fits(n: int, d: int) -> bool:
    """Whether n rows of d float32 numbers may lie on every device, beside what a step needs."""
    room = HELD * devices.memory() / jax.local_device_count()
    return jax.process_count() == 1 and n < 2**31 and 4 * n * d <= room


def on_devices(source: Source, rows: Rest, placed: NamedSharding) -> Float[Array, "n d"]:
    """The rows, a copy on every device of the mesh, sent piece by piece."""
    everywhere, n = NamedSharding(placed.mesh, P()), len(rows)
    held = jax.jit(lambda: jnp.zeros((n, source.width), jnp.float32), out_shardings=everywhere)()
    step = max(1, PIECE // (4 * source.width))
    for start in range(0, n, step):
        piece = source.take(rows[start : min(start + step, n)])
        held = _put(held, jax.device_put(piece, everywhere), start)
    return held


@functools.partial(jax.jit, donate_argnums=0)
def _put(held: Array, piece: Array, start: Int[Array, ""] | int) -> Array:
    return jax.lax.dynamic_update_slice_in_dim(held, piece, start, 0)


@functools.partial(jax.jit, static_argnames="placed")
def gathered(held: Float[Array, "n d"], numbers: Int[Array, "m b"], placed: NamedSharding) -> Float[Array, "m b d"]:
    """The batch of some rows, laid out as the step takes it."""
    return jax.lax.with_sharding_constraint(held.at[numbers].get(mode="promise_in_bounds"), placed)


def local_rows(placed: NamedSharding, shape: tuple[int, int, int]) -> Int[np.ndarray, " mine"]:
    """The rows of a microbatch that some device of this process holds; no others are read."""
    parts = placed.addressable_devices_indices_map(shape).values()
    return np.unique(np.concatenate([np.arange(shape[1])[part[1]] for part in parts if part is not None]))
