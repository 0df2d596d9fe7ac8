"""The registry: all kinds of files and of things in memory that vectors are read from.

A new kind is a file beside this one and a line here; the tables of docs/SOURCES.md are made of it:
`python -m compressae_jax.data.table`.
"""

from collections.abc import Mapping
from typing import Any

from compressae_jax.data import (
    arrow,
    bigann,
    fvecs,
    hdf5,
    in_arrays,
    in_arrow,
    in_datasets,
    in_pandas,
    in_polars,
    npy,
    npz,
    parquet,
    tensors,
)
from compressae_jax.data.kind import Held, Kind
from compressae_jax.data.opened import File
from compressae_jax.data.sources import Source
from compressae_jax.notation import InputError

FILES: tuple[Kind, ...] = (
    npy.KIND,
    npz.KIND,
    tensors.KIND,
    parquet.KIND,
    arrow.KIND,
    hdf5.KIND,
    fvecs.KIND,
    bigann.KIND,
)
HELD: tuple[Held, ...] = (
    in_pandas.HELD,
    in_polars.HELD,
    in_arrow.HELD,
    in_datasets.HELD,
    in_arrays.HELD,  # what no other is
)

ENDINGS = {ending: kind for kind in FILES for ending in kind.endings}


def open_file(file: File, options: Mapping[str, str]) -> Source:
    """A file by its ending, with those options that its kind has.

    Raises:
        InputError: no known ending, an `ids_column` of a kind without, and what the kind finds.
    """
    kind = ENDINGS.get(file.suffix)
    if kind is None:
        raise InputError(f"{file.path} must end in {', '.join(ENDINGS)}, not {file.suffix or 'nothing'!r}")
    for name in ("ids_column", "ids_key"):
        if name in options and name not in kind.options:
            raise InputError(f"{file.path} has no ids, but {name}={options[name]!r} was given: all files must have it")
    own = {name: value for name, value in options.items() if name in kind.options}
    return kind.open(file if kind.ranged and file.ranged else file.near(), **own)


def of_held(given: Any) -> Held:
    """The kind of a thing in memory."""
    return next(kind for kind in HELD if kind.is_one(given))


def check_used(options: Mapping[str, str], takes: frozenset[str], source: str) -> None:
    """Raise InputError for an option that nothing of the source takes."""
    for name in options.keys() - takes:
        files = [ending for ending, kind in ENDINGS.items() if name in kind.options]
        held = [kind.name for kind in HELD if name in kind.options]
        raise InputError(
            f"{name} is for {', '.join(files + held)} only; {source} has no use for {name}={options[name]!r}"
        )
