"""`.npz`: arrays by name in an archive, read where the bytes lie plain, streamed where they are deflated."""

import contextlib
import errno
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator

import numpy as np

from compressae_jax.data.kind import Kind
from compressae_jax.data.mapped import Mapped
from compressae_jax.data.npy import LONGEST_HEADER, Header, fields, read_header, read_small
from compressae_jax.data.opened import File, Watched
from compressae_jax.data.sources import NOTHING, SCALE, Beside, Block, Source, Streamed, float32, only_matrix
from compressae_jax.notation import InputError, check_choice

_MOST_MEMBERS = 1000
# `RuntimeError` is a password, or a way to compress that is not known.
DAMAGE = (zipfile.BadZipFile, zlib.error, EOFError, struct.error, RuntimeError, ValueError, OverflowError, KeyError)


def open_npz(file: File, key: str | None = None, ids_key: str | None = None) -> Source:
    """The one 2-d array of an .npz, or the one named `key`: where it lies, or as a stream if it is compressed.

    Its ids are the array `ids_key`; integers of a byte are to be multiplied by the array `scale`, if there is one.
    """
    path = file.path
    with _archive(file) as (archive, opened):
        members = _members(path, archive)
        if key is not None:
            check_choice(f"key ({path})", key, members)
        elif len(members) == 1:
            key = next(iter(members))
        else:
            key = only_matrix(path, {name: _axes(path, archive, one) for name, one in members.items()}, "arrays")
        if ids_key is not None:
            check_choice(f"ids_key ({path})", ids_key, members)
        beside = _beside(file, members, ids_key)
        member = members[key]
        with archive.open(member) as array:
            header = read_header(f"{path} ({member.filename})", array.read(LONGEST_HEADER), member.file_size)
        if member.compress_type == zipfile.ZIP_DEFLATED:
            return Deflated(file, key, member.filename, header, beside)
        offset = _data_offset(file, opened, member) + header.length
    return Mapped(file, "npz", header.shape, header.dtype, offset, header.fortran_order, key, beside)


class Deflated(Streamed):
    """An array of a compressed .npz, decompressed piece by piece from its start."""

    def __init__(self, file: File, key: str, member: str, header: Header, beside: Beside = NOTHING):
        super().__init__(str(file.path), "npz, compressed", header.shape, header.dtype, file, beside)
        if header.fortran_order:
            raise InputError(
                f"{file.path} is compressed and in Fortran order, so no row lies together; save it in C order"
            )
        self._file, self._key, self._member, self._header = file, key, member, header

    def selection(self) -> list[str]:
        """The array's name, and that of the ids."""
        return [self._key, *self.beside.names]

    def pieces(self, start: int) -> Iterator[Block]:
        """Rows from `start` on; those before it are decompressed and thrown away."""
        row_bytes = self.width * self._header.dtype.itemsize
        with _archive(self._file) as (archive, _), archive.open(self._member) as array:
            array.seek(self._header.length + start * row_bytes)
            for first in range(start, self.rows, self.piece_rows):
                rows = min(self.piece_rows, self.rows - first)
                data = array.read(rows * row_bytes)
                if len(data) != rows * row_bytes:
                    raise InputError(f"{self._file.path} is truncated: its data ends after row {first}")
                yield float32(np.frombuffer(data, self._header.dtype).reshape(rows, self.width))


def _beside(file: File, members: dict[str, zipfile.ZipInfo], ids_key: str | None) -> Beside:
    """The arrays of ids and of the scale, not read yet."""

    def reader(name: str) -> Callable[[], np.ndarray]:
        def read() -> np.ndarray:
            with _archive(file) as (archive, _), archive.open(members[name]) as array:
                return read_small(f"{file.path} ({name})", array.read, members[name].file_size)

        return read

    ids = None if ids_key is None else reader(ids_key)
    return Beside(ids, ids_key or "", reader(SCALE) if SCALE in members else None)


def _axes(path: object, archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> int:
    """How many axes an array has."""
    with archive.open(member) as file:
        return len(fields(f"{path} ({member.filename})", file.read(LONGEST_HEADER))[0])


def _members(path: object, archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    """The arrays of an archive by name, compressed, if at all, as NumPy does it: other ways know no small pieces."""
    members = archive.infolist()
    if not 1 <= len(members) <= _MOST_MEMBERS:
        raise InputError(f"{path} holds {len(members)} arrays, wanted 1 to {_MOST_MEMBERS}")
    for member in members:
        if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise InputError(f"{path} is compressed in another way than NumPy's (method {member.compress_type})")
    return {member.filename.removesuffix(".npy"): member for member in members}


def _data_offset(file: File, opened: Watched, member: zipfile.ZipInfo) -> int:
    """Where a stored member's bytes start: its local header may differ in length from the central one."""
    opened.seek(member.header_offset)
    local = struct.unpack("<4s22xHH", opened.read(30))
    offset = member.header_offset + 30 + local[1] + local[2]
    if member.compress_size != member.file_size or offset + member.file_size > file.size:
        raise InputError(f"{file.path} is truncated or damaged: {member.filename} does not fit in it")
    return offset


@contextlib.contextmanager
def _archive(file: File) -> Iterator[tuple[zipfile.ZipFile, Watched]]:
    """The archive and its open file; what zipfile raises about damage becomes an InputError with the file's name."""
    with file.open() as opened:
        watched = Watched(opened)
        try:
            with zipfile.ZipFile(watched) as archive:  # type: ignore[call-overload]
                yield archive, watched
        except InputError:
            raise
        except (*DAMAGE, OSError) as error:
            if watched.error is not None:  # the system's, which zipfile may say to be damage
                raise watched.error from None
            if isinstance(error, OSError) and error.errno != errno.EINVAL:  # that is a place before the file's start
                raise
            raise InputError(f"{file.path} is not a whole .npz: {error}") from error


KIND = Kind(
    "npz",
    (".npz",),
    open_npz,
    "the one 2-d array of several, or the one named `key`",
    frozenset({"key", "ids_key"}),
    ids="the array `ids_key`",
    scale="the array `scale`",
    access="by number; in order where compressed",
    ranged=False,
)
