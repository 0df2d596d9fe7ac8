"""Checkpoints of a run, by Orbax: the newest ones, saved in the background, with the sums of their files inside.

A checkpoint counts when every file that its `sums.json` names is there with the bytes that were written. What fails
that is damaged; what is raised on the way (no memory, no file handle, a server that is gone) says nothing about the
checkpoint, and goes up. Nothing is deleted but what newer checkpoints make superfluous.
"""

import contextlib
import errno
import functools
import itertools
import json
import os
import re
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from compressae_jax.base import files, sealed
from compressae_jax.notation import FolderError
from compressae_jax.training import processes

FORMAT_VERSION = 1
SUMS = "sums.json"  # in a checkpoint: the hashes of its other files
# Of those, what Orbax still writes or removes when it gives the folder its name, and reads nothing from.
NOTES = "_CHECKPOINT_METADATA"
PASSING = re.compile(r"_CHECKPOINT_METADATA|commit_success\.txt|sums\.json|.*/ocdbt\.process_.*")
UNNAMED = re.compile(r"[0-9]+\.orbax-checkpoint-tmp.*")
OF_SYSTEM = re.compile(r"\[os_error_code='([0-9]+)'\]")  # in what TensorStore says
DAMAGED = "damaged-"  # before the number of a checkpoint that is kept but not read any more

Arrays = Mapping[str, Any]
Sums = dict[str, list[int]]


class Saved(NamedTuple):
    """What one checkpoint holds: how far the run was, its arrays by name, and what else it must remember (JSON)."""

    number: int
    arrays: dict[str, Any]
    told: dict[str, Any]


class Checkpoints:
    """The checkpoints of one run, whose folder is locked; a context, at whose end all that was begun is on the disk."""

    def __init__(self, folder: Path, keep_last: int):
        self.folder = folder.absolute()
        self._manager = self._open(keep_last)

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *error: Any) -> None:
        with _system_errors(self.folder):
            self._manager.close()

    @property
    def newest(self) -> str:
        """The newest checkpoint, in words."""
        self.wait()
        number = self._manager.latest_step()
        return "none yet" if number is None else f"step {number} in {self.folder}"

    def save(self, number: int, arrays: Arrays, told: Mapping[str, Any] | None = None) -> None:
        """Begin to write what the run is after so many steps and rounds."""
        import orbax.checkpoint as ocp

        beside = {"told": dict(told or {}), "sums": sums(arrays)}
        parts = ocp.args.Composite(state=ocp.args.StandardSave(dict(arrays)), beside=ocp.args.JsonSave(beside))
        with _system_errors(self.folder):
            self._manager.save(number, args=parts, force=True)

    def wait(self) -> None:
        """Return when what was begun is on the disk."""
        with _system_errors(self.folder):
            self._manager.wait_until_finished()

    def restore(self, like: Callable[[int], Arrays]) -> Saved | None:
        """The newest checkpoint that is whole for every process, put straight where `like` of its number says.

        None where nothing was saved yet. Damaged ones are named in a warning and kept as `damaged-…`.

        Raises:
            FolderError: there are checkpoints, and all are damaged.
        """
        damaged: dict[int, str] = {}
        for number in sorted(processes.first(lambda: _numbers(self.folder)), reverse=True):
            damage = _any_of(functools.partial(_damage, self.folder / str(number)))
            if damage is None:
                saved, mismatch = self._read(number, like(number))
                damage = _any_of(functools.partial(str.__str__, mismatch) if mismatch else _sound)
                if damage is None:
                    self._put_aside(damaged, number)
                    return saved
            damaged[number] = damage
        if damaged:
            number, damage = next(iter(damaged.items()))
            raise FolderError(
                f"no checkpoint in {self.folder} can be read (step {number}: {damage}); "
                "remove that folder to train from the start"
            )
        return None

    def _read(self, number: int, like: Arrays) -> tuple[Saved, str | None]:
        """A checkpoint, and what is wrong with its arrays: the sums of its files have held."""
        import orbax.checkpoint as ocp

        parts = ocp.args.Composite(state=ocp.args.StandardRestore(dict(like)), beside=ocp.args.JsonRestore())
        with _system_errors(self.folder / str(number)):
            read = self._manager.restore(number, args=parts)
        arrays, wanted = {name: read["state"][name] for name in like}, read["beside"]["sums"]
        wrong = [name for name, given in sums(arrays).items() if wanted.get(name) != given]
        saved = Saved(number, arrays, read["beside"]["told"])
        return saved, f"its arrays {', '.join(wrong)} are not those that were saved" if wrong else None

    def _put_aside(self, damaged: Mapping[int, str], good: int) -> None:
        """Give damaged checkpoints a name that Orbax does not read."""
        for number, damage in damaged.items():
            name = processes.first(functools.partial(_renamed, self.folder / str(number)))
            warnings.warn(
                f"checkpoint of step {number} in {self.folder} is damaged ({damage}), and kept as {name}; "
                f"continuing from step {good}",
                stacklevel=3,
            )
        if damaged:
            with _system_errors(self.folder):
                self._manager.reload()

    def _open(self, keep_last: int) -> Any:
        import orbax.checkpoint as ocp

        options = ocp.CheckpointManagerOptions(
            max_to_keep=keep_last,
            cleanup_tmp_directories=True,
            enable_async_checkpointing=True,
            # Orbax calls this when all files of a checkpoint are there, before it gives it its name.
            async_options=ocp.AsyncOptions(post_finalization_callback=self._seal),
        )
        processes.first(functools.partial(_without_odd_notes, self.folder))
        with _system_errors(self.folder):
            return ocp.CheckpointManager(self.folder, options=options)

    def _seal(self) -> None:
        """Write the sums of the checkpoint that is being written, from process 0."""
        if jax.process_index() == 0:
            for folder in self.folder.iterdir():
                if UNNAMED.fullmatch(folder.name):
                    sealed.write(folder / SUMS, {"format_version": FORMAT_VERSION, "files": _files(folder)})


@contextlib.contextmanager
def _system_errors(path: Path) -> Iterator[None]:
    """Whatever Orbax raises because of the system, as the OSError that it is: TensorStore makes it a ValueError."""
    try:
        yield
    except OSError:
        raise
    except Exception as error:
        if (number := _system_number(error)) is None:
            raise
        raise OSError(number, os.strerror(number), str(path)) from error


def _system_number(error: BaseException | None) -> int | None:
    """The system's number of what an error came from."""
    while error is not None:
        if isinstance(error, OSError) and error.errno is not None:
            return error.errno
        if said := OF_SYSTEM.search(str(error)):
            return int(said[1])
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return None


def sums(arrays: Arrays) -> Sums:
    """Two 32-bit checksums of every array: of its bits and their places, whatever mesh it lies on."""
    return {name: [int(part) for part in np.asarray(pair)] for name, pair in _sums(dict(arrays)).items()}


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


def _any_of(damage: Callable[[], str | None]) -> str | None:
    """What any process finds damaged."""
    return next((found for found in processes.all_of(damage) if found is not None), None)


def _sound() -> None:
    """No damage."""


def _numbers(folder: Path) -> list[int]:
    return [int(path.name) for path in folder.iterdir() if path.name.isdecimal()]


def _without_odd_notes(folder: Path) -> None:
    """Set Orbax's notes on a checkpoint (times, handlers) aside where they are not what it writes.

    It needs none of them to read one, but raises errors of many kinds about odd ones when it opens the folder.
    """
    for number in _numbers(folder) if folder.is_dir() else ():
        path = folder / str(number) / NOTES
        if path.exists() and not _is_notes(path):
            warnings.warn(f"{path} is damaged; the checkpoint is read without it", stacklevel=2)
            path.replace(path.with_name(f"{DAMAGED}{NOTES}"))


def _is_notes(path: Path) -> bool:
    try:
        with files.open_regular(path) as file:
            noted = json.loads(file.read(2**20))
    except (ValueError, RecursionError, FolderError):
        return False
    if not isinstance(noted, dict):
        return False
    times = [value for name, value in noted.items() if name.endswith("_nsecs")]
    others = [value for name, value in noted.items() if not name.endswith("_nsecs")]
    return all(time is None or (type(time) is int and 0 <= time < 2**63) for time in times) and all(
        value is None or isinstance(value, (dict, str)) for value in others
    )


def _files(folder: Path) -> dict[str, str]:
    """The hash of every file of a checkpoint that stays as it is."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.is_file() and not PASSING.fullmatch(name):
            with files.open_regular(path) as file:
                found[name] = files.digest(file).hexdigest()
    return found


def _damage(folder: Path) -> str | None:
    """What is missing or changed in a checkpoint, if anything; an error of the system is none, and goes up."""
    try:
        noted = sealed.read(folder / SUMS, FORMAT_VERSION, "nothing tells its files").get("files")
    except FolderError as error:
        return str(error)
    if not isinstance(noted, dict):
        return f"{SUMS} must have its files by name, not {str(noted)[:60]}"
    for name, wanted in noted.items():
        try:
            with files.open_regular(folder / name) as file:
                given = files.digest(file).hexdigest()
        except (FileNotFoundError, NotADirectoryError):
            return f"{name} is missing"
        except FolderError:
            return f"{name} is not a regular file"
        except ValueError:  # of a NUL, say
            return f"{name!r:.60} is no file's name"
        except OSError as error:
            if error.errno != errno.ENAMETOOLONG:
                raise
            return f"{name!r:.60} is no file's name"
        if given != wanted:
            return f"{name} does not match its checksum"
    return None


def _renamed(folder: Path) -> str:
    aside = folder.with_name(f"{DAMAGED}{folder.name}")
    for again in itertools.count(2):
        if not os.path.lexists(aside):
            break
        aside = folder.with_name(f"{DAMAGED}{folder.name}-{again}")
    folder.rename(aside)
    files.sync(folder.parent)
    return aside.name
