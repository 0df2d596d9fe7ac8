"""`.hdf5`: one dataset of several, as ann-benchmarks keeps them; read where it lies plain, else chunk by chunk.

The bytes are found by the HDF5 library, which is not made for files of strangers: open those that you trust.
"""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from compressae_jax.data.kind import Kind
from compressae_jax.data.mapped import Mapped
from compressae_jax.data.opened import File, Watched
from compressae_jax.data.sources import (
    NOTHING,
    SCALE,
    WIDEST,
    Beside,
    Block,
    Source,
    Streamed,
    check_dtype,
    check_shape,
    float32,
    only_matrix,
)
from compressae_jax.notation import InputError, check_choice

_MOST_DATASETS = 10_000
_START = b"\x89HDF\r\n\x1a\n"


def open_hdf5(file: File, key: str | None = None, ids_key: str | None = None) -> Source:
    """The one 2-d dataset of a file, or the one named `key`, a path such as 'group/train'.

    Its ids are the dataset `ids_key`; integers of a byte are to be multiplied by its attribute `scale`, or by the
    dataset `scale`, if there is one.
    """
    path = str(file.path)
    with _opened(file) as opened:
        shapes = _shapes(path, opened)
        if key is None:
            key = only_matrix(path, {name: len(shape) for name, shape in shapes.items()}, "datasets")
        key = key.strip("/")
        check_choice(f"key ({path})", key, shapes)
        if ids_key is not None:
            ids_key = ids_key.strip("/")
            check_choice(f"ids_key ({path})", ids_key, shapes)
        dataset = _inside(path, opened, key)
        check_shape(f"{path} ({key})", dataset.shape)
        dtype = check_dtype(f"{path} ({key})", dataset.dtype)
        beside = _beside(file, dataset, key, ids_key, shapes)
        offset = None if dataset.chunks or dataset.compression else dataset.id.get_offset()
        size = dtype.itemsize * dataset.shape[0] * dataset.shape[1]
        if offset is not None and dataset.id.get_storage_size() == size and offset + size <= file.size:
            return Mapped(file, "hdf5", dataset.shape, dtype, offset, key=key, beside=beside)
        return Chunks(file, key, dataset.shape, dtype, beside, dataset.chunks)


class Chunks(Streamed):
    """A dataset in chunks, compressed or not, read some of them at a time."""

    def __init__(
        self,
        file: File,
        key: str,
        shape: tuple[int, ...],
        dtype: np.dtype,
        beside: Beside = NOTHING,
        chunks: tuple[int, ...] | None = None,
    ):
        super().__init__(str(file.path), "hdf5, in chunks", shape, dtype, file, beside)
        self._file, self._key, self._chunk = file, key, chunks[0] if chunks else 1

    def selection(self) -> list[str]:
        """The dataset's name, and that of the ids."""
        return [self._key, *self.beside.names]

    def pieces(self, start: int) -> Iterator[Block]:
        """Rows from `start` on, whole chunks at a time, so that none is decoded twice."""
        most = max(1, self.piece_rows // self._chunk) * self._chunk
        with _opened(self._file) as opened:
            dataset = _inside(self.name, opened, self._key)
            while start < self.rows:
                stop = min(self.rows, start - start % self._chunk + most)
                yield float32(dataset[start:stop])
                start = stop


def _beside(file: File, dataset: Any, key: str, ids_key: str | None, shapes: dict[str, tuple[int, ...]]) -> Beside:
    """The ids, and the scale, not read yet."""

    def reader(name: str) -> Callable[[], np.ndarray]:
        def read() -> np.ndarray:
            with _opened(file) as opened:
                return _small(_inside(str(file.path), opened, name), dataset_rows)

        return read

    dataset_rows = dataset.shape[0]
    scale: Callable[[], np.ndarray] | None = reader(SCALE) if SCALE in shapes and key != SCALE else None
    if SCALE in dataset.attrs:
        own = np.asarray(dataset.attrs[SCALE])
        scale = lambda: own  # noqa: E731
    return Beside(None if ids_key is None else reader(ids_key), ids_key or "", scale)


def _small(dataset: Any, rows: int) -> np.ndarray:
    """A dataset of ids or of scales; texts of any length as NumPy's of one."""
    if dataset.size > max(rows, WIDEST):  # one a row, or one a column
        raise InputError(f"{dataset.name} has {dataset.size} values, and there are {rows} rows")
    if dataset.dtype.kind != "O":
        return dataset[()]
    import h5py

    if h5py.check_string_dtype(dataset.dtype) is None:
        raise InputError(f"{dataset.name} holds {dataset.dtype}, which are neither texts nor numbers")
    return np.array([text.decode() if isinstance(text, bytes) else str(text) for text in dataset[()].tolist()])


def _shapes(path: str, opened: Any) -> dict[str, tuple[int, ...]]:
    """The datasets by their paths, with their shapes; links to other files are passed over."""
    import h5py

    found: dict[str, tuple[int, ...]] = {}

    def look(name: str, thing: Any) -> None:
        if isinstance(thing, h5py.Dataset) and thing.shape is not None:
            found[name] = thing.shape
        if len(found) > _MOST_DATASETS:
            raise InputError(f"{path} holds more than {_MOST_DATASETS} datasets")

    opened.visititems(look)  # hard links alone
    if not found:
        raise InputError(f"{path} holds no dataset")
    return found


def _inside(path: str, opened: Any, name: str) -> Any:
    """A dataset whose numbers lie in the file itself."""
    dataset = opened[name]
    if dataset.external or dataset.is_virtual:
        raise InputError(f"{path} ({name}) keeps its numbers in other files; copy them into one")
    return dataset


@contextlib.contextmanager
def _opened(file: File) -> Iterator[Any]:
    """The file in the library's hands; what it finds wrong becomes an InputError."""
    try:
        import h5py
    except ImportError as error:
        raise InputError(f"{file.suffix} needs h5py: pip install h5py, or the extra [hdf5]") from error
    with file.open() as opened:
        if opened.read(len(_START)) != _START:
            raise InputError(f"{file.path} is no HDF5: it does not begin as such files do")
        watched = Watched(opened)
        try:
            with h5py.File(watched, "r") as inside:
                yield inside
        except InputError:
            raise
        except (OSError, RuntimeError, ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
            if watched.error is not None:  # the system's
                raise watched.error from None
            raise InputError(f"{file.path} is not a whole HDF5: {str(error)[:300]}") from error


KIND = Kind(
    "hdf5",
    (".hdf5", ".h5"),
    open_hdf5,
    "the one 2-d dataset of several, or the one named `key` (`train` and `test` of ann-benchmarks)",
    frozenset({"key", "ids_key"}),
    ids="the dataset `ids_key`",
    scale="the attribute or the dataset `scale`",
    access="by number; in order where in chunks",
    ranged=False,
    extra="hdf5",
)
