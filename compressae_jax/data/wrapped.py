"""A source that is another one but for something beside its rows; what that is, its subclasses say."""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Integer

from compressae_jax.codes.ids import Ids
from compressae_jax.data.identity import Stretch
from compressae_jax.data.sources import Block, Source


class Wrapped(Source):
    """The rows of another source as they are."""

    def __init__(self, source: Source):
        self._source = source
        super().__init__(source.name, source.kind, (len(source), source.width), source.dtype)
        self.nbytes, self.modified, self.random_access = source.nbytes, source.modified, source.random_access

    @property
    def ids(self) -> Ids | None:
        """Those of the rows."""
        return self._source.ids

    def stretches(self) -> Iterator[Stretch]:
        """Those of the rows."""
        return self._source.stretches()

    def selection(self) -> list[str]:
        """That of the rows."""
        return self._source.selection()

    def own_scale(self) -> np.ndarray | None:
        """That of the rows."""
        return self._source.own_scale()

    def where(self, row: int) -> str:
        """The file and the row in it."""
        return self._source.where(row)

    def blocks(self, rows: int, start: int) -> Iterator[Block]:
        """Those of the rows."""
        return self._source.blocks(rows, start)

    def _read(self, start: int, stop: int) -> Block:
        return self._source.read(start, stop)

    def _take(self, rows: Integer[np.ndarray, " b"]) -> Block:
        return self._source.take(rows)
