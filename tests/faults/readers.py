"""Everything that reads what others may have damaged: what a whole one is, and what a reader makes of it.

As in `writers`, nothing here may start JAX.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from data.files import WRITERS
from faults import writers
from faults.writers import Writer, vectors

from compressae_jax.base import sealed
from compressae_jax.data import opening


class Reader(NamedTuple):
    """`make(folder)` puts something whole there and gives its path; `read(path)` is all that is in it."""

    name: str
    make: Callable[[Path], Path]
    read: Callable[[Path], Any]
    hashed: bool = True  # whether damage of any bit must be seen; a file of someone's vectors has no hash


def sources() -> list[Reader]:
    """Files of vectors of every kind."""
    return [
        Reader(name, _source(write, suffix), _read_source, hashed=False) for name, (write, suffix) in WRITERS.items()
    ]


def folders(checkpoints: bool) -> list[Reader]:
    """What this program writes, and seals or hashes; checkpoints are read by JAX, which takes seconds to start."""
    own = [
        _written(writer)
        for writer in writers.table()
        if writer.name not in ("a file", "a folder", "staged copy", "found.npz", "found.parquet", "compression", "join")
    ]
    own += [Reader("checkpoint", _checkpoint, _read_checkpoint)] if checkpoints else []
    return [Reader("sealed JSON", _sealed, lambda path: sealed.read(path, 1, "make it anew")), *own]


def _written(writer: Writer) -> Reader:
    def make(folder: Path) -> Path:
        if writer.beside is not None:
            writer.beside(folder)
        writer.put(folder / "it", 0)
        return folder / "it"

    return Reader(writer.name, make, writer.read)


def _source(write: Callable, suffix: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        write(folder / f"vectors{suffix}", vectors(0))
        return folder / f"vectors{suffix}"

    return make


def _read_source(path: Path) -> Any:
    options = {"ids_column": "id"} if path.suffix == ".parquet" else {}
    source = opening.open_source(path, **options)
    blocks = [block for _, block in source.batches(16)]
    if source.random_access and len(source):
        source.take(np.array([len(source) - 1, 0]))
    return [np.concatenate(blocks) if blocks else None, None if source.ids is None else list(source.ids)]


def _checkpoint(folder: Path) -> Path:
    from compressae_jax.training.checkpoints import Checkpoints

    with Checkpoints(folder / "checkpoints", keep_last=1) as keeper:
        keeper.save(3, {"w": vectors(0), "b": vectors(1)[0]}, {"cosines": [0.5]})
    return folder / "checkpoints"


def _read_checkpoint(path: Path) -> Any:
    import jax

    from compressae_jax.training.checkpoints import Checkpoints

    where = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    like = {
        "w": jax.ShapeDtypeStruct(vectors(0).shape, np.float32, sharding=where),
        "b": jax.ShapeDtypeStruct(vectors(1)[0].shape, np.float32, sharding=where),
    }
    with Checkpoints(path, keep_last=1) as keeper:
        saved = keeper.restore(lambda number: like)
    return saved and [saved.number, {name: np.asarray(array) for name, array in saved.arrays.items()}, saved.told]


def _sealed(folder: Path) -> Path:
    fields = {"format_version": 1, "text": "schön", "list": [1, 2.5, None, {"deep": True}]}
    sealed.write(folder / "meta.json", fields)
    return folder / "meta.json"
