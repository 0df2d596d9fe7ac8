"""Files behind memory maps: where one shrank, to touch a page behind its end would end the process without a word."""

from __future__ import annotations

import dataclasses
import mmap
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, TypeVar

import numpy as np

from compressae_jax.notation import FolderError

T = TypeVar("T")


@dataclasses.dataclass(frozen=True)
class Map:
    """An open map, and the bytes that its file had when it was made."""

    path: Path
    memory: mmap.mmap
    size: int


class MappedFiles:
    """The files that some arrays are maps of; a copy in another process has none, since its arrays are in memory."""

    def __init__(self, maps: Sequence[Map] = ()) -> None:
        self.maps = tuple(maps)

    def check(self) -> None:
        """Raise FolderError for a file that is shorter than when it was opened; a microsecond a file."""
        for one in self.maps:
            if one.memory.size() < one.size:
                raise FolderError(
                    f"{one.path} shrank from {one.size} to {one.memory.size()} bytes while it was in use; write what "
                    "stands at that name aside and rename it"
                )

    def watched(self, pieces: Iterable[T]) -> Iterator[T]:
        """Pieces of such arrays, the files being checked before each is taken: what shrank since is never touched."""
        for piece in pieces:
            self.check()
            yield piece

    def __reduce__(self) -> tuple[type[MappedFiles], tuple[()]]:
        return MappedFiles, ()


NO_FILES = MappedFiles()


def mapped(
    file: BinaryIO, path: Path, dtype: str, shape: tuple[int, ...], offset: int
) -> tuple[np.ndarray, Map | None]:
    """A read-only array of an open file whose size was checked, and its map; None of an array without bytes."""
    count = int(np.prod(shape, dtype=object))
    if count == 0:
        return np.empty(shape, dtype), None
    size = offset + count * np.dtype(dtype).itemsize
    memory = mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ)
    return np.frombuffer(memory, dtype, count, offset).reshape(shape), Map(path, memory, size)
