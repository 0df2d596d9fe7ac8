"""A kill, and an error of the system, at every call of every writer; what must hold afterwards."""

import errno
import functools
import itertools
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from faults import forked, shim
from faults.counts import Count
from faults.readers import Reader
from faults.writers import Writer

# What happens at call N, the number of the error, and the kinds of call that it can happen to (None: all).
KILLS = {"killed": (shim.KILL, 0, None)}
ERRORS = {
    "EIO": (shim.FAIL, errno.EIO, None),
    "ENOSPC": (shim.FAIL, errno.ENOSPC, shim.TAKES_SPACE),
    "half a write, then full": (shim.HALF, errno.ENOSPC, ("write",)),
    "full from there on": (shim.FULL, errno.ENOSPC, shim.TAKES_SPACE),
}
LAST = 10  # calls of a writer that are all tried: there the next run may find its work done, and have only to tidy
SECONDS = 120  # until a child hangs
IN_MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # where thousands of fsync take no time


def tried(writer: Writer, part: str, at_most: int | None = None, seed: int = 0) -> Iterator[Count]:
    """The count of a writer in a part, 'kills' or 'errors'; `at_most` calls of each fault, drawn, or every one."""
    began = time.monotonic()
    count = Count(part, writer.name)
    with tempfile.TemporaryDirectory(prefix="faults-", dir=IN_MEMORY) as scratch:
        site = _Site(writer, Path(scratch))
        for over_old in (False, True) if writer.replaces else (False,):
            kinds = site.kinds(over_old)
            for name, (mode, error, touched) in (KILLS if part == "kills" else ERRORS).items():
                places = [n for n, kind in enumerate(kinds, 1) if touched is None or kind in touched]
                places = sorted({*places[:: writer.every], *places[-LAST:]})
                for at in drawn(places, at_most, seed):
                    where = f"call {at} of {len(kinds)} ({kinds[at - 1]}), {'over an old one' if over_old else 'new'}"
                    for failure in site.tried(mode, at, error, over_old):
                        count.failures.append(f"{writer.name}, {name} at {where}: {failure}")
                    count.tried += site.reached
    count.seconds = time.monotonic() - began
    yield count


def unread(reader: Reader, at_most: int | None = None, seed: int = 0) -> Iterator[Count]:
    """EIO at every call that reads: the error goes up as it is, since nothing says that the bytes are damaged."""
    began = time.monotonic()
    count = Count("unread", reader.name)
    with tempfile.TemporaryDirectory(prefix="faults-", dir=IN_MEMORY) as scratch:
        path = forked.run(lambda: reader.make(Path(scratch))).value  # in a child, since it may start JAX
        before = {each: each.read_bytes() for each in Path(scratch).rglob("*") if each.is_file()}

        def read(mode: int, at: int) -> list[str]:
            shim.arm(Path(scratch), mode, at, errno.EIO, reads=True)
            reader.read(path)
            shim.disarm()
            return shim.met()

        calls = forked.run(lambda: read(shim.COUNT, 0), SECONDS).value
        for at in drawn(range(1, len(calls) + 1), at_most, seed):
            count.tried += 1
            done = forked.run(functools.partial(read, shim.FAIL, at), SECONDS)
            if not done.whole and "OSError" not in done.error:
                count.failures.append(f"{reader.name}, EIO at read {at} of {len(calls)}: {done}\n{done.where}")
        if before != {each: each.read_bytes() for each in Path(scratch).rglob("*") if each.is_file()}:
            count.failures.append(f"{reader.name}: files were changed by reading")
    count.seconds = time.monotonic() - began
    yield count


def drawn(places: Sequence[int], at_most: int | None, seed: int) -> Sequence[int]:
    """All places, or so many of them, evenly spread with a shift that the seed says."""
    if at_most is None or len(places) <= at_most:
        return places
    edges = np.linspace(0, len(places), at_most + 1).astype(int)
    rng = np.random.default_rng(seed)
    return [places[rng.integers(one, other)] for one, other in itertools.pairwise(edges)]


class _Site:
    """A folder in which one writer is tried again and again, from the same start."""

    def __init__(self, writer: Writer, scratch: Path) -> None:
        self._writer, self._root = writer, scratch / "root"
        self._path = self._root / f"it{writer.suffix}"
        self._starts = {False: scratch / "nothing", True: scratch / "old"}
        self._things: dict[str, Any] = {}
        self.reached = True  # the last call that was asked for: threads may make a few more or less
        for which, word in enumerate(("old", "new")):
            if word == "new" or writer.replaces:
                self._begin(None)
                self._put(which)
                self._things[word] = writer.read(self._path)
            if word == "old" and writer.replaces:
                shutil.copytree(self._root, self._starts[True], symlinks=True)
        self._left = self._names()
        self._begin(None)
        shutil.copytree(self._root, self._starts[False])

    def kinds(self, over_old: bool) -> list[str]:
        """The kinds of the calls that the writer makes when nothing goes wrong."""
        self._begin(over_old)
        done = forked.run(lambda: self._armed(shim.COUNT, 0, 0), SECONDS)
        if not done.whole:
            raise AssertionError(f"{self._writer.name} without a fault: {done}\n{done.where}")
        return done.value

    def tried(self, mode: int, at: int, error: int, over_old: bool) -> Iterator[str]:
        """What does not hold after one fault."""
        self._begin(over_old)
        done = forked.run(lambda: self._armed(mode, at, error), SECONDS)
        self.reached = not (done.whole and len(done.value) < at)
        if done.hung:
            yield "hung"
        elif bool(done.signal) != (mode == shim.KILL and self.reached):
            yield str(done)
        elif mode != shim.KILL and (wrong := self._writer.judge(done)):
            yield wrong
        legal = ("old" if over_old else "nothing", "new")
        found = self._state()
        if found not in (("new",) if done.whole else legal):
            yield f"{found} stands there afterwards"
        again = forked.run(lambda: self._writer.put(self._path, 1), SECONDS)
        if not again.whole:
            yield f"the same call again: {again}\n{again.where}"
        elif (found := self._state()) != "new":
            yield f"{found} after the same call again"
        elif left := sorted(self._names() ^ self._left):
            yield f"left after the next run: {', '.join(left)}"

    def _armed(self, mode: int, at: int, error: int) -> list[str]:
        shim.arm(self._root, mode, at, error)
        try:
            self._writer.put(self._path, 1)
        finally:
            shim.disarm()
        return shim.met()

    def _state(self) -> str:
        """'nothing', 'old' or 'new', or what a reader meets."""
        if not os.path.lexists(self._path):
            return "nothing"
        try:
            there = self._writer.read(self._path)
        except Exception as error:  # whatever it is
            return f"something broken ({type(error).__name__}: {error})"
        if there is None:
            return "nothing"
        for word, thing in self._things.items():
            if same(there, thing):
                return word
        return "something that is neither the old nor the new"

    def _begin(self, over_old: bool | None) -> None:
        shutil.rmtree(self._root, ignore_errors=True)
        self._root.mkdir()
        if self._writer.beside is not None:
            self._writer.beside(self._root)
        if over_old is not None:
            shutil.copytree(self._starts[over_old], self._root, symlinks=True, dirs_exist_ok=True)

    def _put(self, which: int) -> None:
        done = forked.run(lambda: self._writer.put(self._path, which), SECONDS)
        if not done.whole:
            raise AssertionError(f"{self._writer.name} without a fault: {done}\n{done.where}\n{done.printed[-2000:]}")

    def _names(self) -> set[str]:
        """All that lies there, but what has another name each time."""
        found = {str(path.relative_to(self._path.parent)) for path in self._root.rglob("*")}
        return {name for name in found if self._writer.ignore is None or not self._writer.ignore.search(name)}


def same(one: Any, other: Any) -> bool:
    """Whether two readers' answers are equal, arrays bit for bit."""
    if isinstance(one, dict):
        return isinstance(other, dict) and one.keys() == other.keys() and all(same(one[x], other[x]) for x in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, np.ndarray):
        return one.dtype == other.dtype and one.shape == other.shape and one.tobytes() == other.tobytes()
    return one == other
