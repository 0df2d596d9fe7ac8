"""Files and folders written whole or not at all: aside, flushed, and exchanged in one step; one writer a name.

Whatever is written aside, and every lock, has a name that begins with `.compressae-` and a hash of the name it is for:
no user picks such a name, so what is left of a killed writer can be told and removed by the next one, and nothing else
is ever removed. A name that is a symbolic link stays one: what it points to is replaced.
"""

import contextlib
import ctypes
import errno
import functools
import json
import os
import secrets
import shutil
import socket
import stat
import sys
import time
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import BinaryIO, TypeVar

import xxhash

from compressae_jax.notation import BusyError, FolderError, InputError

try:
    import fcntl
except ImportError:  # not a POSIX system: README says which are served
    fcntl = None  # type: ignore[assignment]

PREFIX = ".compressae-"
PIECE = 2**22  # bytes hashed at once
RETRIES = 100  # of reading a folder that is replaced meanwhile
T = TypeVar("T")
UNLOCKABLE = {errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK, errno.ENOSYS, errno.EINVAL}
EXCHANGE, HERE = 2, -100  # RENAME_EXCHANGE and AT_FDCWD of renameat2(2)


def check_out(path: str | os.PathLike, suffixes: Collection[str] = (), folder: bool = True) -> Path:
    """The path that something is to be written to, `~` expanded, once it is seen that it can stand there.

    `suffixes`: what the name may end in, if that matters; `folder`: whether a folder is to be written, or a file.

    Raises:
        InputError: a name that no file system takes, a path below a file, a file in a folder's place or the reverse.
    """
    given, path = path, Path(os.path.expanduser(os.fspath(path)))
    if not os.fspath(given):
        raise InputError("the path to write to is empty")
    if "\0" in os.fspath(path):
        raise InputError(f"{os.fspath(path)!r} cannot be written: no name holds a NUL")
    if suffixes and path.suffix not in suffixes:
        raise InputError(f"out must end in {' or '.join(suffixes)}, not {path.name!r}")
    above = path
    try:
        while not os.path.lexists(above) and above != above.parent:
            above = above.parent
        if above != path and not above.is_dir():
            raise InputError(f"{path} cannot be written: {above} is not a folder")
        if above == path and path.exists() and path.is_dir() != folder:
            wanted = "a folder" if folder else "a file"
            raise InputError(f"{path} exists and is not {wanted}; remove it or choose another name")
        longest = os.pathconf(above if above.is_dir() else above.parent, "PC_NAME_MAX")
    except OSError as error:  # too long a name, a circle of links
        if error.errno in (errno.ENAMETOOLONG, errno.ENOTDIR, errno.ELOOP, errno.EINVAL):
            raise InputError(f"{str(path)[:80]!r}… cannot be written: {error.args[-1]}") from None
        raise
    for name in path.relative_to(above).parts if above != path else ():
        if len(os.fsencode(name)) > longest:
            raise InputError(f"{name[:40]!r}… has {len(os.fsencode(name))} bytes, a name may have {longest}")
    return path


@contextlib.contextmanager
def locked(path: str | os.PathLike) -> Iterator[None]:
    """Hold the one lock of a name, whose folder is made where it is missing; it ends with its process in any case.

    Raises:
        BusyError: another process or thread holds it; the message says which, where, and since when.
    """
    path = real(path)
    made = _missing(path.parent)
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = path.parent / f"{_own(path)}lock"
    number = _lock(path, lock)
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            os.unlink(lock)
        os.close(number)
        if made and not path.exists():
            for folder in made:  # of our making and empty: nothing was written
                with contextlib.suppress(OSError):
                    folder.rmdir()


@contextlib.contextmanager
def replacing(
    path: str | os.PathLike, holds: Collection[str] | None = None, marker: str | None = None
) -> Iterator[Path]:
    """A place to write at, which takes the name `path` in one step when the context ends well, and vanishes otherwise.

    With `holds`, the names that it may contain, a folder is replaced: the place is an empty folder, and a folder that
    stands there already must be one of ours (see `check_replaceable`). Otherwise the place is the path of a file.

    Raises:
        FolderError: something else stands at that name.
        BusyError: another process writes it.
    """
    check_out(path, folder=holds is not None)
    path = real(path)
    if holds is not None:
        check_replaceable(path, holds, marker)
    with locked(path), renewing(path, holds, marker) as aside:
        yield aside


@contextlib.contextmanager
def renewing(
    path: str | os.PathLike, holds: Collection[str] | None = None, marker: str | None = None
) -> Iterator[Path]:
    """`replacing` for a caller who holds the lock of the name, to do more under it."""
    path = real(path)
    remove_leftovers(path)
    aside = aside_of(path, path.suffix if holds is None else "")
    try:
        if holds is not None:
            aside.mkdir()
        yield aside
        sync_tree(aside)
        if holds is not None:
            check_replaceable(path, holds, marker)
        exchange(aside, path)
    finally:
        _unlink(aside)


def write_bytes(path: str | os.PathLike, content: bytes) -> None:
    """Replace a file in one step."""
    with replacing(path) as aside:
        aside.write_bytes(content)


def check_replaceable(folder: Path, holds: Collection[str], marker: str | None = None) -> None:
    """Raise FolderError unless nothing stands at `folder`, or an empty folder, or one that this program made.

    That one holds names of `holds` only, and its `marker`, when given, is a sealed JSON file.
    """
    if not folder.is_dir():
        if os.path.lexists(folder) and not folder.is_symlink():
            raise FolderError(f"{folder} exists and is not a folder; remove it or choose another name")
        return
    there = {name for name in os.listdir(folder) if not name.startswith(PREFIX)}
    foreign = sorted(there - set(holds))
    if foreign:
        raise FolderError(
            f"{folder} holds other files ({', '.join(foreign[:3])}), so it is not replaced; choose another name"
        )
    if there and marker is not None and not _is_ours(folder / marker):
        raise FolderError(
            f"{folder} holds {', '.join(sorted(there)[:3])} but no {marker} of this program, so it is not replaced; "
            "choose another name, or remove it"
        )


def exchange(aside: Path, path: Path) -> None:
    """Give `aside` the name `path`; what stood there takes the name `aside`. One step, where the system has it."""
    if not path.is_dir() or path.is_symlink():
        os.replace(aside, path)
    elif not _exchanged(aside, path):
        older = aside.with_name(aside.name + "-old")
        path.rename(older)
        try:
            aside.rename(path)
        except BaseException:
            older.rename(path)
            raise
        older.rename(aside)
    sync(path.parent)


def remove_leftovers(path: str | os.PathLike) -> None:
    """Remove what killed writers of this name left aside; the caller holds its lock.

    A folder that was moved out of its name, on a system that cannot exchange, goes back first.
    """
    path = real(path)
    for name in sorted(os.listdir(path.parent)):
        if name.startswith(_own(path)) and not name.endswith("lock"):
            if name.endswith("-old") and not path.exists():
                os.rename(path.parent / name, path)
            else:
                _unlink(path.parent / name)


def left(path: str | os.PathLike) -> bool:
    """Whether anything lies aside for a name: of a writer at work, or of one that was killed."""
    path = real(path)
    try:
        return any(name.startswith(_own(path)) for name in os.listdir(path.parent))
    except FileNotFoundError:
        return False


def sweep(path: str | os.PathLike, work: Callable[[], None] | None = None) -> None:
    """Do what a writer killed at its very end has not: for who finds a name complete, and so does not write it.

    That is `remove_leftovers`, or `work` in its place. Nothing happens where another one writes the name now, or the
    system refuses: what is complete can be used in any case.
    """
    with contextlib.suppress(BusyError, OSError), locked(path):
        remove_leftovers(path) if work is None else work()


def aside_of(path: Path, suffix: str = "") -> Path:
    """A new name beside `path`, which `remove_leftovers` of `path` knows."""
    return path.parent / f"{_own(path)}{secrets.token_hex(4)}{suffix}"


def remove(path: str | os.PathLike) -> None:
    """Remove a file or folder of ours: out of its name in one step, so that no half of it stands there after a kill."""
    path = real(path)
    aside = aside_of(path)
    with contextlib.suppress(FileNotFoundError):
        path.rename(aside)
        _unlink(aside)


def steadily(folder: str | os.PathLike, read: Callable[[], T]) -> T:
    """What `read` gives of a folder that may be replaced meanwhile: all of the older one or all of the newer."""
    for _ in range(RETRIES):
        try:
            number = os.open(folder, os.O_RDONLY)  # while it is open, no other folder gets its number
        except OSError:
            return read()  # which says what is wrong
        try:
            try:
                found = read()
            except (FolderError, FileNotFoundError):
                if _stands(number, folder):
                    raise
                continue
            if _stands(number, folder):
                return found
        finally:
            os.close(number)
    raise BusyError(f"{folder} is replaced again and again while it is read; try again")


def sync(path: Path) -> None:
    """Wait until a file's bytes, or a folder's names, are on the disk."""
    number = os.open(path, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


def sync_tree(path: Path) -> None:
    """`sync` of a file, or of a folder and all that is in it; a link is no more than its name."""
    if path.is_symlink():
        return
    if path.is_dir():
        for each in sorted(path.iterdir()):
            sync_tree(each)
    sync(path)


def open_regular(path: str | os.PathLike) -> BinaryIO:
    """A file to read, seen to be a regular one, so that no pipe or device can keep a reader waiting for ever.

    Raises:
        FolderError: a folder, pipe, socket or device.
        FileNotFoundError: nothing there.
    """
    try:
        number = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0))
    except OSError as error:
        if error.errno == errno.ENXIO:  # a socket
            raise FolderError(f"{path} is not a regular file") from None
        raise
    if not stat.S_ISREG(os.fstat(number).st_mode):
        os.close(number)
        raise FolderError(f"{path} is not a regular file")
    return os.fdopen(number, "rb")


def digest(file: BinaryIO, start: int = 0, size: int | None = None) -> xxhash.xxh3_128:
    """The running xxh3_128 of an open file's bytes from `start`, of all of them or of at most `size`."""
    running = xxhash.xxh3_128()
    file.seek(start)
    left = sys.maxsize if size is None else size
    while left > 0 and (some := file.read(min(left, PIECE))):
        running.update(some)
        left -= len(some)
    return running


def _own(path: Path) -> str:
    """What the names of everything written for a path begin with, in its folder."""
    return f"{PREFIX}{xxhash.xxh3_64_hexdigest(os.fsencode(path.name))}-"


def real(path: str | os.PathLike) -> Path:
    """The absolute path with the links of its last name followed, also where they lead nowhere yet."""
    path = Path(os.path.expanduser(os.fspath(path))).absolute()
    return Path(os.path.realpath(path)) if path.is_symlink() else path


def _stands(number: int, folder: str | os.PathLike) -> bool:
    """Whether the open folder is still the one of that name."""
    try:
        return os.path.samestat(os.fstat(number), os.stat(folder))
    except FileNotFoundError:
        return False


def _missing(folder: Path) -> list[Path]:
    """The folders that are not there yet, innermost first."""
    missing = []
    while not folder.exists() and folder != folder.parent:
        missing.append(folder)
        folder = folder.parent
    return missing


def _lock(path: Path, lock: Path) -> int:
    """The number of the open lock file, locked and holding who has it."""
    while True:
        number = os.open(lock, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o666)
        try:
            if fcntl is not None:
                fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not os.path.lexists(lock) or not os.path.samestat(os.fstat(number), os.stat(lock)):
                os.close(number)  # its holder removed it meanwhile
                continue
            who = {"process": os.getpid(), "host": socket.gethostname(), "since": time.strftime("%F %T")}
            os.ftruncate(number, 0)
            os.pwrite(number, json.dumps(who).encode(), 0)
            return number
        except BlockingIOError:
            holder = _holder(number)
            os.close(number)
            raise BusyError(f"{path} is being written by {holder}; wait for it, or choose another name") from None
        except OSError as error:
            if error.errno in UNLOCKABLE:  # some network file systems know no locks
                return number
            os.close(number)
            raise
        except BaseException:
            os.close(number)
            raise


def _holder(number: int) -> str:
    try:
        who = json.loads(os.pread(number, 1000, 0))
        return f"process {who['process']} on {who['host']} since {who['since']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"


def _is_ours(marker: Path) -> bool:
    """Whether a file looks like sealed JSON, also where it is damaged."""
    try:
        with open_regular(marker) as file:
            text = file.read(2**24)
    except (OSError, FolderError):
        return False
    return b'"seal"' in text and b'"format_version"' in text


def _unlink(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            path.unlink()


def _exchanged(one: Path, other: Path) -> bool:
    """Whether the system exchanged two names in one step; False where it, or the file system, cannot."""
    call = _renameat2()
    if call is None:
        return False
    if call(HERE, os.fsencode(one), HERE, os.fsencode(other), EXCHANGE) == 0:
        return True
    number = ctypes.get_errno()
    if number in (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP):
        return False
    raise OSError(number, os.strerror(number), str(one), None, str(other))


@functools.cache
def _renameat2():
    try:
        call = ctypes.CDLL(None, use_errno=True).renameat2
    except (OSError, AttributeError, TypeError):
        return None
    call.argtypes = [ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_uint]
    return call
