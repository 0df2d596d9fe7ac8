"""Files behind a url, by way of fsspec: parts of them are read where they lie, or they are copied here for a while.

What such a file is, is said by its file system: a checksum, or else size and time. It is asked again while the file is
read, so that a file that is replaced meanwhile is an error.
"""

import contextlib
import datetime
import io
import os
import re
import tempfile
import time
import urllib.parse
import urllib.request
import weakref
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from compressae_jax.base import progress
from compressae_jax.data.identity import Stretch
from compressae_jax.data.opened import File
from compressae_jax.notation import InputError

URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
HTTP = ("http", "https")
CHECKSUMS = ("ETag", "etag", "md5Hash", "crc32c", "generation", "Content-MD5", "Digest", "content_md5", "checksum")
TIMES = ("mtime", "LastModified", "last_modified", "Last-Modified", "updated", "modified", "created")
LOOKED = 5.0  # seconds until a file that is being read is asked again whether it is still the same
BUFFER = 2**22  # bytes asked for at once, at least
PACKAGES = dict.fromkeys(HTTP, "aiohttp")  # of protocols whose class lies in fsspec itself and needs more


def is_url(source: str) -> bool:
    """Whether a text is a url; one of a local file is a path, see `path_of`."""
    return URL.match(source) is not None


def path_of(source: str) -> str:
    """The path that a `file://` url means; anything else as it is."""
    if not source.lower().startswith("file://"):
        return source
    return urllib.request.url2pathname(urllib.parse.urlsplit(source).path)


def at(place: str | os.PathLike) -> File:
    """One file, by its path or url; FileNotFoundError where there is none."""
    name = path_of(os.fspath(place))
    if not is_url(name):
        return File(Path(os.path.expanduser(name)))
    return RemoteFile(*file_system(name), name)


def file_system(url: str) -> tuple[Any, str]:
    """What serves a url, and the path that it has there.

    Raises:
        InputError: a protocol that nobody knows, or whose package is missing; the message names it.
    """
    try:
        import fsspec
        from fsspec.registry import known_implementations
    except ImportError as error:
        raise InputError(f"{url} needs fsspec: pip install fsspec") from error
    protocol = url.partition("://")[0].lower()
    try:
        return fsspec.core.url_to_fs(url)
    except ImportError as error:
        named = known_implementations.get(protocol, {}).get("class", protocol).partition(".")[0]
        package = PACKAGES.get(protocol, named)
        raise InputError(f"{protocol}:// needs the package {package}: pip install {package}") from error
    except ValueError as error:
        known = "s3, gs, https, az, hf, file and others"
        raise InputError(f"{url}: no package of fsspec serves {protocol}:// (it knows {known}): {error}") from None


class RemoteFile(File):
    """A file of a file system as it is now; `open` and `range` read parts of it as long as it is the same."""

    def __init__(self, system: Any, path: str, url: str):
        self.url, self._system, self._path = url, system, path
        self.path = url  # type: ignore[assignment]
        with said(url):
            info = self._info()
        if info.get("type") == "directory":
            raise InputError(f"{url} is a folder, wanted a file")
        self.size, self.modified = int(info.get("size") or 0), _nanoseconds(info)
        self._token, self._looked = _token(info), time.monotonic()
        self.ranged = info.get("size") is not None and info.get("partial") is not False and self._gives_parts()

    @property
    def name(self) -> str:
        """Its name without its folder."""
        return PurePosixPath(_place(self.url)).name

    @property
    def suffix(self) -> str:
        """The ending, in small letters; what follows a ? is none of it."""
        return PurePosixPath(_place(self.url)).suffix.lower()

    def kept(self) -> "KeptRemote":  # type: ignore[override]
        """What reads its bytes from any place on."""
        return KeptRemote(self)

    def near(self) -> File:
        """A copy on this machine, for as long as it is used."""
        return Copied(self)

    def beside(self, names: Sequence[str]) -> File | None:
        """The first of these files in its folder that is there."""
        for name in names:
            url = urllib.parse.urljoin(self.url, name) if is_of_server(self.url) else self._folder(self.url) + name
            with contextlib.suppress(OSError, InputError):  # some say that what is not there is forbidden
                return RemoteFile(*file_system(url), url)
        return None

    def open(self) -> io.BufferedReader:
        """The file, to be closed by who reads it; raises as `File.open`."""
        self.look()
        return io.BufferedReader(_Ranges(self), BUFFER)

    def look(self) -> None:
        """Raise InputError unless its file system still says the same of it."""
        with said(self.url):
            now = _token(self._info())
        if now != self._token:
            raise InputError(f"{self.url} changed while it was in use ({self._token}, now {now}); run the job again")
        self._looked = time.monotonic()

    def range(self, start: int, stop: int) -> bytes:
        """Bytes start to stop - 1, at most those that there are."""
        stop = min(stop, self.size)
        if start >= stop:
            return b""
        if time.monotonic() - self._looked > LOOKED:
            self.look()
        with said(self.url):
            some = self._part(start, stop)
        if len(some) != stop - start:
            raise InputError(f"{self.url} gave {len(some)} bytes from {start} on, wanted {stop - start}: run it again")
        return some

    def stretch(self) -> Stretch:
        """What its identity is made of: what its file system says of it, or else its bytes."""
        return Stretch(self.size, lambda: contextlib.nullcontext(self.range), self._token)

    def copy_to(self, path: Path) -> None:
        """Write its bytes to a file, whole."""
        bar = progress.bar(max(1, self.size), f"copying {self.name}", "bytes")
        with bar, path.open("wb") as out, contextlib.ExitStack() as stack:
            with said(self.url):
                source = stack.enter_context(self._system.open(self._path, "rb"))
            while some := self._next(source):
                out.write(some)
                bar.update(len(some))
        if self.size and path.stat().st_size != self.size:
            raise InputError(f"{self.url} gave {path.stat().st_size} bytes, wanted {self.size}: run it again")

    def _next(self, source: Any) -> bytes:
        with said(self.url):
            return source.read(BUFFER)

    def _part(self, start: int, stop: int) -> bytes:
        if not is_of_server(self.url):
            return self._system.cat_file(self._path, start=start, end=stop)
        with self._system.open(self._path, "rb", cache_type="none") as file:  # it refuses what is no part
            file.seek(start)
            return file.read(stop - start)

    def _gives_parts(self) -> bool:
        """Whether a server gives parts of a file; all other file systems do."""
        if not is_of_server(self.url) or self.size < 2:
            return True
        try:
            return len(self._part(1, 2)) == 1
        except ValueError:
            return False

    def _info(self) -> Mapping[str, Any]:
        with contextlib.suppress(Exception):  # of systems that have no cache
            self._system.invalidate_cache(self._folder(self._path))
        return self._system.info(self._path)

    @staticmethod
    def _folder(path: Any) -> str:
        return str(path).rpartition("/")[0] + "/"


class KeptRemote:
    """`opened.Kept` of a remote file: parts of it can be read, a map there is none."""

    maps = False

    def __init__(self, file: RemoteFile):
        self.file = file

    def read(self, buffer: memoryview, offset: int) -> None:
        """Fill the buffer with the bytes from `offset` on."""
        some = self.file.range(offset, offset + len(buffer))
        if len(some) != len(buffer):
            raise InputError(
                f"{self.file.path} ends at byte {offset + len(some)}, wanted {len(buffer) - len(some)} more"
            )
        buffer[:] = some


class Copied(File):
    """A copy of a remote file, which is gone when nobody uses it any more; what it is, the other one says."""

    def __init__(self, origin: RemoteFile):
        number, name = tempfile.mkstemp(prefix="compressae-", suffix=origin.suffix)
        os.close(number)
        self._origin = origin
        self._gone = weakref.finalize(self, _remove, name, os.getpid())
        origin.copy_to(Path(name))
        super().__init__(Path(name))
        self.path = origin.path

    @property
    def name(self) -> str:
        """That of the other one."""
        return self._origin.name

    @property
    def suffix(self) -> str:
        """That of the other one."""
        return self._origin.suffix

    def beside(self, names: Sequence[str]) -> File | None:
        """Files beside the other one."""
        return self._origin.beside(names)

    def stretch(self) -> Stretch:
        """What the other one's file system says of it, or else the bytes of the copy."""
        return super().stretch()._replace(token=self._origin.stretch().token)


class _Ranges(io.RawIOBase):
    """A file that is read in parts."""

    mode = "rb"

    def __init__(self, file: RemoteFile):
        self._file, self._at, self.name = file, 0, file.url

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._file.size}[whence]
        if start + offset < 0:
            raise OSError(22, os.strerror(22), self._file.path)
        self._at = start + offset
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: Any) -> int:
        some = self._file.range(self._at, self._at + len(buffer))
        buffer[: len(some)] = some
        self._at += len(some)
        return len(some)


@contextlib.contextmanager
def said(url: Any) -> Iterator[None]:
    """Whatever a file system raises as an error of the system, with the url; its packages have many of their own."""
    try:
        yield
    except (InputError, MemoryError, ValueError):
        raise
    except FileNotFoundError as error:
        cause = error.__cause__  # fsspec says of a server that it does not reach that the file is not found
        if cause is not None and getattr(cause, "status", None) not in (404, 410):
            raise OSError(f"{url} cannot be read: {cause or type(cause).__name__}") from error
        raise FileNotFoundError(2, os.strerror(2), str(url)) from None
    except Exception as error:
        told = str(error) or type(error).__name__
        raise OSError(
            f"{url} cannot be read: {told if str(url) not in told else told.replace(str(url), 'it')}"
        ) from error


def is_of_server(url: str) -> bool:
    """Whether a url is one of a web server, which has files and lists none."""
    return url.partition("://")[0].lower() in HTTP


def _place(url: Any) -> str:
    """The path in a url; of servers, without what follows a ?."""
    return urllib.parse.urlsplit(str(url)).path if is_of_server(str(url)) else str(url)


def _token(info: Mapping[str, Any]) -> str:
    """What tells this state of a file from another; empty where nothing does."""
    size = info.get("size")
    for names in (CHECKSUMS, TIMES):
        known = next((name for name in names if info.get(name) is not None), None)
        if known is not None:
            return f"{known} {info[known]}, {size} bytes"
    return ""


def _nanoseconds(info: Mapping[str, Any]) -> int:
    """The time of the last change, where it is a time."""
    when = next((info[name] for name in TIMES if info.get(name) is not None), None)
    if isinstance(when, datetime.datetime):
        return int(when.timestamp()) * 10**9
    return int(when * 10**9) if isinstance(when, (int, float)) else 0


def _remove(name: str, process: int) -> None:
    if os.getpid() == process:  # not a child's to remove
        with contextlib.suppress(OSError):
            os.unlink(name)
