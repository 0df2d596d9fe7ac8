"""The one door for vectors: what is in memory, a file, a folder, a glob, a url or the name of a dataset."""

import os
from typing import Any

import numpy as np

from compressae_jax.base import arrays
from compressae_jax.data import in_arrays, kinds, named, places, scaled
from compressae_jax.data.concatenated import Concatenated
from compressae_jax.data.opened import File
from compressae_jax.data.sources import BYTES, NoRowsError, Source
from compressae_jax.data.with_ids import WithIds
from compressae_jax.notation import InputError


def open_source(
    source: Any,
    column: str | None = None,
    ids_column: str | None = None,
    key: str | None = None,
    ids: Any = None,
    *,
    ids_key: str | None = None,
    scale: Any = None,
) -> Source:
    """Open vectors without reading them.

    An array of any library, a list of rows, a table, a path or a url (docs/SOURCES.md lists all kinds). A string that
    names a dataset is that dataset (write './shop' for a file or folder of that name). The files of a folder or glob
    form one source, in natural order of their paths (part-2 before part-10); files without a row add none, and in a
    folder files of other kinds are passed over; a folder laid out as a dataset (`named.of_folder`) gives its vectors.

    `column` and `ids_column` are for tables, `key` and `ids_key` for files of several arrays; empty means None. `ids`
    stand beside the vectors: one a row in memory, or the path of a file of them, text of one id a line or `.npy` of
    integers. `scale` is what int8 and uint8 are multiplied by: a number, one a row or one a column, or the path of an
    .npy of them; 1 takes them as they are. It is needed unless the file holds it, or is one of whole numbers by its
    kind.

    Raises:
        InputError: nothing there, a kind that is not known, or contents that are not rows of numbers of one width.
    """
    named_options = {"column": column, "ids_column": ids_column, "key": key, "ids_key": ids_key}
    options = {name: value for name, value in named_options.items() if value}
    scale = None if isinstance(scale, str) and not scale else scale
    opened = _opened(source, options, scale)
    if scale is not None:
        opened = scaled.with_given(opened, scale)
    return opened if ids is None or (isinstance(ids, str) and not ids) else WithIds(opened, ids)


def at_hand(argument: str, given: Any) -> np.ndarray:
    """Vectors that are needed in memory and all at once, from whatever `open_source` takes; none is (0,).

    Raises:
        InputError: as `open_source`; arrays in memory may have any shape and dtype, which who asks looks at.
    """
    if not isinstance(given, (Source, str, os.PathLike)) and kinds.of_held(given) is in_arrays.HELD:
        return arrays.vectors(argument, given)
    try:
        source = open_source(given)
        return np.concatenate([block for _, block in source.batches(source.piece_rows)])
    except NoRowsError:
        return np.empty(0, np.float32)


def _opened(source: Any, options: dict[str, str], scale: Any) -> Source:
    """The source without what stands beside it; scaled already where the files themselves say how."""
    if isinstance(source, Source):
        return source
    if not isinstance(source, (str, os.PathLike)):
        held = kinds.of_held(source)
        kinds.check_used(options, held.options, f"{held.name} in memory")
        return _own_scale(held.open(source, **options), scale)
    if isinstance(source, str) and source in named.names():
        kinds.check_used(options, frozenset(), f"the dataset {source}")
        return named.load(source).vectors
    if (own := named.of_folder(source)) is not None:
        kinds.check_used(options, frozenset(), f"the dataset {source}")
        return own.vectors
    files = places.files_of(os.fspath(source))
    taken = [kinds.ENDINGS[file.suffix].options for file in files if file.suffix in kinds.ENDINGS]
    kinds.check_used(options, frozenset().union(*taken), str(source))
    if len(files) == 1:
        return _own_scale(kinds.open_file(files[0], options), scale)
    return Concatenated(os.fspath(source), _parts(files, options, scale))


def _own_scale(source: Source, scale: Any) -> Source:
    """The source of a file times its own scale, unless another is given, which it must not have then."""
    if scale is None:
        return scaled.with_own(source)
    if source.dtype in BYTES and source.own_scale() is not None:
        raise InputError(f"{source.name} has a scale of its own; leave out scale")
    return source


def _parts(files: list[File], options: dict[str, str], scale: Any) -> list[Source]:
    """The files that have rows, seen to be of one kind where they say what their vectors are."""
    parts, empty = [], []
    for file in files:
        try:
            parts.append(kinds.open_file(file, options))
        except NoRowsError as error:
            empty.append(error)
    if not parts:
        raise empty[0]
    _check_names(parts)
    return [_own_scale(part, scale) for part in parts]


def _check_names(parts: list[Source]) -> None:
    """Raise InputError unless the vectors of all files of a kind have one name, where they have any."""
    for kind in {part.kind.partition(",")[0] for part in parts}:
        named: dict[str, str] = {}
        for part in parts:
            if part.kind.startswith(kind) and part.selection():
                named.setdefault(part.selection()[0], part.name)
        if len(named) > 1:
            told = ", ".join(f"{name!r} in {file}" for name, file in list(named.items())[:3])
            raise InputError(f"vectors have unlike names: {told}; give the wanted one as column or key")
