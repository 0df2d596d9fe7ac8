"""Batches on their way to the devices: the next is read while a step runs; their order is `data.sampling`'."""

from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import jax
import numpy as np
from jax.sharding import NamedSharding
from jaxtyping import Array, Float, Int

from compressae_jax.data.sampling import Rest, rows_of_step
from compressae_jax.data.sources import Source


class Feed:
    """The batch of any step, a pure function of seed and step; to be closed, or used as a context."""

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
    ):
        self._source, self._rows, self._placed = source, rows, placed
        self._seed, self._steps = seed, steps
        self._shape = (batch // microbatch, microbatch, source.width)
        self._mine = local_rows(placed, self._shape)
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
        numbers = self._rows[rows_of_step(self._seed, step, m * b, len(self._rows))].reshape(m, b)
        mine = numbers[:, self._mine]
        vectors = self._source.take(mine.reshape(-1)).reshape(m, -1, d)
        return jax.make_array_from_process_local_data(self._placed, vectors, self._shape)


def local_rows(placed: NamedSharding, shape: tuple[int, int, int]) -> Int[np.ndarray, " mine"]:
    """The rows of a microbatch that some device of this process holds; no others are read."""
    parts = placed.addressable_devices_indices_map(shape).values()
    return np.unique(np.concatenate([np.arange(shape[1])[part[1]] for part in parts if part is not None]))
