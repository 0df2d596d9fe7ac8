"""The rows that training may draw: seen to be finite, zero rows dealt with, at hand by number; `feed` draws."""

import contextlib
from pathlib import Path

import jax
import numpy as np

from compressae_jax import data
from compressae_jax.base import sealed
from compressae_jax.data import identity
from compressae_jax.data.identity import Identity
from compressae_jax.data.sampling import Rest
from compressae_jax.data.sources import Source
from compressae_jax.notation import FolderError, InputError, check_choice
from compressae_jax.training import processes

SEEN, CACHE, COPY = "source.json", "cache", "vectors.npy"  # in a run folder
FORMAT_VERSION = 1
MOST_NOTED = 2**20  # zero rows: of more, none is remembered and the source is read again


def same_for_all(source: Source) -> Identity:
    """What the source is, which must be the same for every process."""
    first, *others = processes.all_of(source.identity)
    for number, other in enumerate(others, 1):
        if (what := identity.difference(first, other)) is not None:
            raise InputError(f"process {number} has another source than process 0: {source.name} has {what}")
    return first


def prepared(
    source: Source, now: Identity, rows: Rest, zero_rows: str, folder: Path | None, shown: bool
) -> tuple[Source, Rest]:
    """The source with its rows at hand by number, and the rows less the zero ones, where the policy says 'drop'.

    Every value is seen on the way, once in the life of a run: what was found is kept in its folder. A source that must
    be decoded in order is copied there, or to memory where there is no folder.

    Raises:
        InputError: NaN or infinity, with its row; zero rows, where the policy is 'stop'; no row left.
    """
    check_choice("config.data.zero_rows", zero_rows, data.ZERO_ROWS)
    noted = processes.first(lambda: _noted(folder, now))
    try:
        near = _within_reach(source, folder, shown)
        zero = (
            noted if noted is not None else processes.first(lambda: data.find_zero_rows(near, progress=shown).tolist())
        )
        found = np.asarray(zero, np.int64)
        if len(found) and zero_rows == "stop":
            raise data.zero_rows_met(source, found)
        rows = rows.without(found) if zero_rows == "drop" else rows
        if not len(rows):
            raise InputError(f"{source.name} has no row to train on")
    except InputError:
        if folder is not None:
            remove_copy(folder)
        raise
    if folder is not None and noted is None and jax.process_index() == 0 and len(zero) <= MOST_NOTED:
        fields = {"format_version": FORMAT_VERSION, "source": now, "zero_rows": zero}
        folder.mkdir(parents=True, exist_ok=True)
        sealed.replace(folder / SEEN, fields)
    return near, rows


def remove_copy(folder: Path) -> None:
    """Remove the copy of the source that a run made for itself, and a folder that holds nothing else."""
    if jax.process_index() == 0:
        data.unstage(folder / CACHE / COPY)
        with contextlib.suppress(OSError):
            (folder / CACHE).rmdir()
            folder.rmdir()


def _noted(folder: Path | None, now: Identity) -> list[int] | None:
    """The zero rows that an earlier life of the run found in this very source."""
    if folder is None or not (folder / SEEN).exists():
        return None
    try:
        fields = sealed.read(folder / SEEN, FORMAT_VERSION, "it is made anew")
    except FolderError:
        return None
    return fields["zero_rows"] if identity.surely_same(fields["source"], now) else None


def _within_reach(source: Source, folder: Path | None, shown: bool) -> Source:
    """The source, if its rows can be taken by number; else a copy in the run folder, or in memory without one."""
    if source.random_access:
        return source
    if folder is None:
        return data.in_memory(source, progress=shown)

    def stage() -> None:
        (folder / CACHE).mkdir(parents=True, exist_ok=True)
        data.stage(source, folder / CACHE / COPY, progress=shown)

    processes.first(stage)
    return data.open_source(folder / CACHE / COPY)
