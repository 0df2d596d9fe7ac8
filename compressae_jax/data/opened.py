"""Files of vectors, opened when they are read and not before: each is seen to be the one that its source was made of.

A folder of thousands of files is one source, and a process may have some hundred files open. What a file was is noted
when its source is made, and looked at again whenever it is read; so a file that is replaced, or cut short, while a job
runs is an error with its name, not two files' rows in one result nor (as a map of memory would have it) the end of the
process.
"""

import collections
import mmap
import os
import threading
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

from compressae_jax.base import files
from compressae_jax.data.identity import Stretch
from compressae_jax.notation import InputError

T = TypeVar("T")


class File:
    """A regular file as it is now: `open` opens it as long as it has this size and time of its last change."""

    ranged = True  # any part of it can be read

    def __init__(self, path: Path):
        self.path = self._place = path
        with files.open_regular(path) as file:
            self.size, self.modified = _state(file.fileno())

    @property
    def name(self) -> str:
        """Its name without its folder."""
        return self.path.name

    @property
    def suffix(self) -> str:
        """The ending, in small letters."""
        return self.path.suffix.lower()

    def kept(self) -> "Kept":
        """What reads its bytes from any place on."""
        return Kept(self)

    def near(self) -> "File":
        """The file on this machine."""
        return self

    def beside(self, names: Sequence[str]) -> "File | None":
        """The first of these files in its folder that is there."""
        paths = (self.path.with_name(name) for name in names)
        found = next((path for path in paths if path != self.path and path.is_file()), None)
        return None if found is None else File(found)

    def open(self) -> BinaryIO:
        """The file, to be closed by who reads it.

        Raises:
            InputError: it changed since it was noted.
            OSError: it is not there any more, or cannot be opened now.
        """
        file = files.open_regular(self._place)
        try:
            self.check(file.fileno())
        except BaseException:
            file.close()
            raise
        return file

    def check(self, number: int) -> None:
        """Raise InputError unless the open file of this number still is what was noted."""
        size, modified = _state(number)
        if (size, modified) != (self.size, self.modified):
            how = (
                f"had {self.size} bytes, now {size}" if size != self.size else f"has {size} other bytes, or was touched"
            )
            raise InputError(f"{self.path} changed while it was in use: it {how}; run the job again")

    def stretch(self) -> Stretch:
        """Its bytes, for its identity."""
        return Stretch(self.size, lambda: _Read(self))


class Watched:
    """An open file that remembers what the system raised at a read: Arrow and zipfile tell it as damage of theirs."""

    closed = False

    def __init__(self, file: BinaryIO):
        self._file = file
        self.error: OSError | None = None
        self.seek, self.tell = file.seek, file.tell

    def read(self, size: int = -1) -> bytes:
        """So many bytes, or all."""
        try:
            return self._file.read(size)
        except OSError as error:
            self.error = error
            raise

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is."""
        return True

    def close(self) -> None:
        """Leave it to who opened it."""


class Kept:
    """A file that stays open between reads, as long as few others are read; several threads may read it."""

    maps = True  # so that rows can be taken by number

    def __init__(self, file: File):
        self.file = file
        self._open: _Open | None = None

    def read(self, buffer: memoryview, offset: int) -> None:
        """Fill the buffer with the bytes from `offset` on; no map: at the end of a file it says so."""
        number = self._opened().file.fileno()
        while buffer:
            got = os.preadv(number, [buffer[:_LONGEST]], offset)
            if not got:
                self.file.check(number)
                raise InputError(f"{self.file.path} ends at byte {offset}, wanted {len(buffer)} more")
            buffer, offset = buffer[got:], offset + got

    def mapped(self) -> mmap.mmap:
        """All of its bytes; to be used at once, since it is their number now that was looked at."""
        opened = self._opened()
        if opened.map is None:
            opened.map = mmap.mmap(opened.file.fileno(), 0, access=mmap.ACCESS_READ)
        return opened.map

    def parsed(self, name: str, parse: Callable[[mmap.mmap], T]) -> T:
        """What `parse` makes of the map, kept under a name as long as the file stays open."""
        whole = self.mapped()
        opened = self._open
        if opened is None or opened.map is not whole:  # closed by another thread meanwhile
            return parse(whole)
        if name not in opened.parsed:
            opened.parsed[name] = parse(whole)
        return opened.parsed[name]

    def close(self) -> None:
        """Close the file until it is read again."""
        self._open = None

    def forget(self) -> None:
        """Give the pages that were read through the map back, or a pass would keep the file resident."""
        opened = self._open
        if opened is not None and opened.map is not None and hasattr(mmap, "MADV_DONTNEED"):
            opened.map.madvise(mmap.MADV_DONTNEED)

    def _opened(self) -> "_Open":
        with _lock:
            opened = self._open
            if opened is None:
                opened = self._open = _Open(self.file.open())
            _recent.pop(id(self), None)
            _recent[id(self)] = weakref.ref(self)
            while len(_recent) > _most():
                _, older = _recent.popitem(last=False)
                if (one := older()) is not None:
                    one._open = None  # closed once no thread reads it
        self.file.check(opened.file.fileno())
        return opened


class _Open:
    def __init__(self, file: BinaryIO):
        self.file = file
        self.map: mmap.mmap | None = None
        self.parsed: dict[str, Any] = {}


class _Read:
    """A context of what reads some bytes of a file."""

    def __init__(self, file: File):
        self._file = file

    def __enter__(self) -> "_Read":
        self._open = self._file.open()
        return self

    def __exit__(self, *error: object) -> None:
        self._open.close()

    def __call__(self, start: int, stop: int) -> bytes:
        self._open.seek(start)
        return self._open.read(stop - start)


_LONGEST = 2**30  # bytes of one call
_recent: "collections.OrderedDict[int, weakref.ref[Kept]]" = collections.OrderedDict()
_lock = threading.Lock()


def _most() -> int:
    """Files that stay open at once, each of which takes two numbers: a quarter of those that a process may have."""
    return max(8, min(4096, _limit() // 8))


def _limit() -> int:
    try:
        import resource
    except ImportError:
        return 256
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return 2**20 if limit == resource.RLIM_INFINITY else limit


def _state(number: int) -> tuple[int, int]:
    state = os.fstat(number)
    return state.st_size, state.st_mtime_ns


if hasattr(os, "register_at_fork"):  # a child must not inherit the lock from a thread that it has not
    os.register_at_fork(before=_lock.acquire, after_in_parent=_lock.release, after_in_child=_lock.release)
