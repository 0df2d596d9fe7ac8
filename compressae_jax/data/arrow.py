"""`.arrow`, `.feather`, `.ipc`: a column of lists of an Arrow file or stream, in a map of memory, or batch by batch.

`datasets` keeps its tables so. Batches that are compressed cannot be mapped, and are decoded in order.
"""

import contextlib
import functools
import itertools
import mmap
from collections.abc import Iterator
from typing import Any

from compressae_jax.codes.ids import Ids
from compressae_jax.data import columns
from compressae_jax.data.chunked import Chunked
from compressae_jax.data.kind import Kind
from compressae_jax.data.opened import File, Watched
from compressae_jax.data.sources import Block, NoRowsError, Source, Streamed
from compressae_jax.notation import InputError, check_choice

_FILE, _STREAM, _FEATHER_1 = b"ARROW1", b"\xff\xff\xff\xff", b"FEA1"
_END = b"\xff\xff\xff\xff\0\0\0\0"  # of a stream; one that was cut between two batches lacks it
_PIECE = 2**22  # bytes of float32 rows given out at once


def open_arrow_file(file: File, column: str | None = None, ids_column: str | None = None) -> Source:
    """The one column of lists of a file, or the one named `column`; its ids are the column `ids_column`."""
    arrow, path = columns.pyarrow(file.suffix), str(file.path)
    _check_ends(file)
    with _reading(file, None) as reader:
        kinds = columns.kinds_of(path, reader.schema)
    column = columns.choose(path, column, kinds)
    if ids_column is not None:
        check_choice(f"ids_column ({path})", ids_column, kinds)
    named, places = [column, ids_column or ""], {name: place for place, name in enumerate(kinds)}
    kept = file.kept()

    def chunks_of(name: str) -> list[Any]:
        return kept.parsed(f"column {name}", functools.partial(_mapped, arrow, file, places[name], name != column))

    def seen() -> set[int]:
        return kept.parsed("seen", lambda whole: set())

    whole = kept.mapped()
    first = _mapped(arrow, file, places[column], False, whole, most=1)
    if not first:
        raise NoRowsError(f"{path} is empty: 0 rows")
    if not _lies_in(arrow, whole, first[0]):
        return ArrowStreamed(file, places, named, kinds[column])
    id_chunks = None if ids_column is None else functools.partial(chunks_of, ids_column)
    source = Chunked(path, "arrow", functools.partial(chunks_of, column), named, id_chunks, file, seen, kept.forget)
    kept.close()  # thousands of files may be opened before one is read
    return source


class ArrowStreamed(Streamed):
    """A column whose batches are decoded one after the other."""

    def __init__(self, file: File, places: dict[str, int], named: list[str], listed: Any):
        self._file, self._places, self._named = file, places, named
        rows = 0
        width = None
        for lists in self._lists():
            rows += len(lists)
            width = width or columns.width_of(str(file.path), listed, [lists])
        if width is None:
            raise NoRowsError(f"{file.path} is empty: 0 rows")
        super().__init__(str(file.path), "arrow, compressed", (rows, width), columns.dtype_of(listed), file)

    @functools.cached_property
    def ids(self) -> Ids | None:
        """Those of the column of ids."""
        if not self._named[1]:
            return None
        return columns.ids_of(f"{self.name}: ids_column {self._named[1]!r}", self._arrays(self._named[1]))

    def selection(self) -> list[str]:
        """The columns of vectors and of ids."""
        return self._named

    def pieces(self, start: int) -> Iterator[Block]:
        """Rows from `start` on; batches before it are decoded and thrown away."""
        first, most = 0, max(1, _PIECE // (4 * self.width))
        for lists in self._lists():
            for low in range(max(0, start - first), len(lists), most):
                yield columns.rows_of(lists.slice(low, most), self.width, first + low, self.where)
            first += len(lists)

    def _lists(self) -> Iterator[Any]:
        return (lists for lists in self._arrays(self._named[0]) if len(lists))

    def _arrays(self, name: str) -> Iterator[Any]:
        with _reading(self._file, [self._places[name]]) as reader:
            for batch in _batches(reader):
                yield _whole(batch.column(0))


@contextlib.contextmanager
def _reading(file: File, fields: list[int] | None) -> Iterator[Any]:
    """The file in Arrow's hands, some columns of it; what it finds wrong becomes an InputError."""
    with file.open() as opened:
        watched = Watched(opened)
        with _damage(file, watched):
            arrow = columns.pyarrow(file.suffix)
            yield _reader(arrow, arrow.PythonFile(watched, mode="r"), watched.read(len(_FILE)) == _FILE, fields)


@contextlib.contextmanager
def _damage(file: File, watched: Watched | None = None) -> Iterator[None]:
    arrow = columns.pyarrow(file.suffix)
    try:
        yield
    except InputError:
        raise
    except (arrow.ArrowException, OSError, ValueError, KeyError) as error:
        if watched is not None and watched.error is not None:  # the system's
            raise watched.error from None
        raise InputError(f"{file.path} is not a whole {file.suffix}: {error}") from error


def _reader(arrow: Any, source: Any, is_file: bool, fields: list[int] | None = None) -> Any:
    from pyarrow import ipc

    source.seek(0)
    options = ipc.IpcReadOptions(included_fields=fields, use_threads=False)
    return (ipc.open_file if is_file else ipc.open_stream)(source, options=options)


def _batches(reader: Any) -> Iterator[Any]:
    if hasattr(reader, "num_record_batches"):
        return (reader.get_batch(number) for number in range(reader.num_record_batches))
    return iter(reader)


def _mapped(arrow: Any, file: File, place: int, full: bool, whole: mmap.mmap, most: int | None = None) -> list[Any]:
    """The arrays of a column that have rows, or so many of them, in a map of the file."""
    with _damage(file):
        source = arrow.BufferReader(arrow.py_buffer(whole))
        reader = _reader(arrow, source, whole[: len(_FILE)] == _FILE)  # of single columns Arrow would make copies
        arrays = (_whole(batch.column(place), full) for batch in _batches(reader) if batch.num_rows)
        return list(itertools.islice(arrays, most))


def _whole(array: Any, full: bool = True) -> Any:
    """A column of a batch, seen to have all its bytes and, `full`, to lead nowhere outside them."""
    array.validate(full=full)
    return array


def _lies_in(arrow: Any, whole: mmap.mmap, lists: Any) -> bool:
    """Whether an array's numbers are bytes of the map, and no copy that was decompressed."""
    start = arrow.py_buffer(whole).address
    buffer = columns.stored(lists).values.buffers()[1]
    return buffer is None or start <= buffer.address < start + len(whole)


def _check_ends(file: File) -> None:
    """Raise InputError unless a file begins as one of Arrow's, and a stream ends as one."""
    with file.open() as opened:
        start = opened.read(len(_FILE))
        opened.seek(max(0, file.size - len(_END)))
        end = opened.read(len(_END))
    if start.startswith(_FEATHER_1):
        raise InputError(f"{file.path} is Feather of version 1; write it again (version 2 is Arrow's own format)")
    if start != _FILE and not start.startswith(_STREAM):
        raise InputError(f"{file.path} is no {file.suffix}: it does not begin as Arrow's files and streams do")
    if start != _FILE and end != _END:
        raise InputError(f"{file.path} is truncated, or followed by other bytes: it does not end as a stream does")


KIND = Kind(
    "arrow",
    (".arrow", ".feather", ".ipc"),
    open_arrow_file,
    "Arrow's file or stream: the one column of float lists (or fixed-size lists, or tensors of one axis), or the one "
    "named `column`",
    frozenset({"column", "ids_column"}),
    ids="the column `ids_column`",
    access="by number; in order where compressed",
    ranged=False,
    extra="parquet",
)
