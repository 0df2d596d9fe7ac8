"""Codes: the plain kind of rows, arrays of float values and of columns, and what they convert to."""

from __future__ import annotations

import dataclasses
import functools
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.sparse
from jaxtyping import Float, Integer

from compressae_jax.base.arrays import pieces
from compressae_jax.base.threads import deal
from compressae_jax.codes import lengths as row_lengths
from compressae_jax.codes.ids import Ids
from compressae_jax.codes.mapped import NO_FILES, MappedFiles
from compressae_jax.codes.rows import MadeBy, Part, Rows, Some
from compressae_jax.notation import AnyArray, InputError, check_choice, check_range

if TYPE_CHECKING:
    from jax.experimental.sparse import BCOO

PIECE = 2**22  # numbers of an array looked at together
ROWS_AT_ONCE = 2**10  # whose norms one thread computes


def column_dtype(h: int) -> np.dtype:
    """The narrowest dtype that names h columns: uint16, or uint32 above 65,536."""
    return np.dtype(np.uint16 if h <= 2**16 else np.uint32)


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Codes(Rows):
    """Rows of k signed nonzeros, by falling magnitude, so that the first k' columns are the code of a smaller budget.

    `values (n, k)` float and `columns (n, k)` integer, NumPy (also memory-mapped) or JAX; `h` is the width. A place
    that a row does not use has value 0; its column is then any legal one. Inside jitted functions codes are a pytree of
    the two arrays, and nothing else of them is known there.
    """

    values: Any
    columns: Any
    h: int
    norms: Any = None
    ids: Ids | None = None
    made_by: MadeBy | None = None
    verified: bool = False
    files: MappedFiles = NO_FILES
    lengths: Any = None

    def __post_init__(self) -> None:
        if "jax" in sys.modules:  # who serves codes on a CPU has no need of it
            as_pytrees()

    @property
    def k(self) -> int:
        """Nonzeros a row."""
        return self.values.shape[1]

    @property
    def storage(self) -> str:
        """The dtype of the values."""
        return np.dtype(self.values.dtype).name

    @property
    def nbytes(self) -> int:
        """Bytes of values and columns in memory; row scales belong to an index."""
        return self.values.nbytes + self.columns.nbytes

    def __len__(self) -> int:
        return self.values.shape[0]

    def arrays(self) -> dict[str, Any]:
        """`columns`, `values` and, where they are known, `norms` and `lengths`."""
        self.files.check()
        arrays = {"columns": self.columns, "values": self.values, "norms": self.norms, "lengths": self.lengths}
        return {name: array for name, array in arrays.items() if array is not None}

    def like(self, arrays: dict[str, Any], ids: Ids | None = None, files: MappedFiles = NO_FILES) -> Codes:
        """Codes of the same width and origin."""
        return dataclasses.replace(self, **{"norms": None, "lengths": None, **arrays}, ids=ids, files=files)

    def codes(self) -> Codes:
        """Themselves."""
        return self

    def prefix(self, k: int) -> Codes:
        """The code of a smaller budget: the k largest nonzeros of every row."""
        check_range("k", k, 1, self.k)
        if k == self.k:
            return self
        return dataclasses.replace(self, values=self.values[:, :k], columns=self.columns[:, :k], norms=None)

    def with_norms(self, decoder_w: Float[AnyArray, "h d"]) -> Codes:
        """With (‖s‖, ‖z‖) of values as stored: computed a row at a time, the same in any company."""
        from compressae_jax.codes import row_kernels

        if self.norms is not None:
            return self
        if len(decoder_w) != self.h:
            raise InputError(f"codes have width h={self.h}, the model {len(decoder_w)}")
        decoder_w, norms = np.ascontiguousarray(decoder_w, np.float32), np.empty((len(self), 2), np.float32)
        read = self._parts()

        def work(start: int) -> None:
            here = slice(start, start + ROWS_AT_ONCE)
            values, columns = read(here)
            row_kernels.norms(values.astype(np.float32), columns.astype(np.uint32), decoder_w, norms[here])

        deal(work, range(0, len(self), ROWS_AT_ONCE))
        return dataclasses.replace(self, norms=norms)

    def scales(self, space: str) -> Float[np.ndarray, " n"] | None:
        """1 / ‖s‖ or 1 / ‖z‖ of every row, or ‖x‖ times that; None in the space 'sparse' where there are no norms."""
        from compressae_jax.codes import spaces

        if not self._needs_norms(space):
            return None
        scales = spaces.row_scales(self.norms, space)
        return scales if self.lengths is None else scales * np.asarray(self.lengths, np.float32)

    def reader(self, space: str, rows: int, fresh: bool = False) -> Callable[[Some], Part]:
        """Slices of the arrays, and their rows' scales."""
        from compressae_jax.codes import row_kernels

        read, norms, kept, place = self._parts(), None, None, 0
        if self._needs_norms(space):
            norms, place = np.asarray(self.norms, np.float32), int(space != "sparse")
            kept = None if self.files.maps else self._kept_scales(space)
        own = np.empty(0 if kept is not None else min(rows, max(1, len(self))), np.float32)

        def part(here: Some) -> Part:
            values, columns = read(here)
            if kept is not None:
                return Part(values, columns, kept[here])
            scales = np.empty(len(values), np.float32) if fresh else own[: len(values)]
            if norms is None:
                row_kernels.unit_scales(np.asarray(values, np.float32), scales)
            else:
                of_space = norms[here][:, place]
                of_space.flags.writeable = False  # as a map's are
                row_kernels.inverses(of_space, scales)
            if self.lengths is not None:
                scales *= np.asarray(self.lengths[here], np.float32)
            return Part(values, columns, scales)

        return part

    def _kept_scales(self, space: str) -> Float[np.ndarray, " n"]:
        """The scales of rows in memory, computed once: a division a row is a tenth of a search for one query."""
        kept = self.__dict__.setdefault("_scales", {})
        if space not in kept:
            kept[space] = self.scales(space)
        return kept[space]

    def check(self) -> Codes:
        """The same codes, verified; raises InputError as `checked`, and for norms that are none."""
        if self.verified:
            return self
        checked(self.values, self.columns, self.h, self.files)
        if self.norms is not None:
            check_norms(self.norms, len(self), self.files)
        if self.lengths is not None:
            row_lengths.check(self.lengths, len(self), self.files)
        return dataclasses.replace(self, verified=True)

    def _needs_norms(self, space: str) -> bool:
        from compressae_jax.codes import spaces

        check_choice("space", space, spaces.SPACES)
        if self.norms is None and space != "sparse":
            raise InputError(f"codes have no norms, which the space {space!r} needs; codes.with_norms(decoder_w) has")
        return self.norms is not None

    def _parts(self) -> Callable[[Some], tuple[np.ndarray, np.ndarray]]:
        """What reads some rows of both arrays, with columns that were seen to lie below h."""
        values, columns = np.asarray(self.values), np.asarray(self.columns)
        unsafe = not self.verified and not (columns.dtype == np.uint16 and self.h == 2**16)

        def read(here: Some) -> tuple[np.ndarray, np.ndarray]:
            self.files.check()
            some = columns[here]
            if unsafe:
                _check_columns(some, self.h, here.start or 0 if isinstance(here, slice) else here)
            return values[here], some

        return read

    def to_csr(self) -> scipy.sparse.csr_matrix:
        """SciPy CSR (n, h), float32; a copy, since usual operations of SciPy sort the nonzeros of a matrix in place.

        Columns become signed 32- or 64-bit integers, the only ones that SciPy has.

        Raises:
            InputError: a column outside h, which SciPy would write to.
        """
        self.files.check()
        if not self.verified:
            _check_columns(np.asarray(self.columns), self.h, 0)
        n, k = self.values.shape
        index = np.int32 if max(n * k, self.h) < 2**31 else np.int64
        matrix = scipy.sparse.csr_matrix((n, self.h), dtype=np.float32)
        matrix.data = np.array(self.values, np.float32).reshape(-1)
        matrix.indices = np.array(self.columns, index).reshape(-1)
        matrix.indptr = np.arange(0, n * k + 1, k, dtype=index)
        return matrix

    @staticmethod
    def from_csr(matrix: scipy.sparse.csr_matrix, k: int | None = None) -> Codes:
        """Codes of a CSR matrix; k defaults to the fullest row, emptier rows are filled with zeros at column 0.

        Entries of one row and column are summed, which is what SciPy means by them.
        """
        matrix = scipy.sparse.csr_matrix(matrix)
        summed = matrix.copy()
        summed.sum_duplicates()
        matrix = summed if summed.nnz < matrix.nnz else matrix  # which keeps the order of equal magnitudes
        per_row = np.diff(matrix.indptr)
        fullest = int(per_row.max(initial=0))
        k = max(fullest, 1) if k is None else k
        if k < fullest:
            raise InputError(f"k={k} does not hold the {fullest} nonzeros of row {int(per_row.argmax())}")
        check_range("k", k, 1, matrix.shape[1])
        values = np.zeros((matrix.shape[0], k), np.float32)
        columns = np.zeros((matrix.shape[0], k), column_dtype(matrix.shape[1]))
        taken = np.arange(k) < per_row[:, None]
        values[taken], columns[taken] = matrix.data, matrix.indices
        order = np.argsort(-np.abs(values), axis=1, kind="stable")
        return Codes(np.take_along_axis(values, order, 1), np.take_along_axis(columns, order, 1), matrix.shape[1])

    def to_bcoo(self) -> BCOO:
        """JAX BCOO (n, h) with one batch dimension: k entries a row and no row numbers."""
        import jax
        from jax.experimental import sparse as jax_sparse

        indices = jax.numpy.asarray(self.columns).astype(jax.numpy.int32)[..., None]
        return jax_sparse.BCOO((jax.numpy.asarray(self.values), indices), shape=self.shape)

    def to_dense(self) -> Float[np.ndarray, "n h"]:
        """The dense (n, h) float32 matrix, in NumPy."""
        return self.to_csr().toarray()


@functools.cache
def as_pytrees() -> None:
    """Let JAX know codes: their values and columns are traced, h is not. Done as soon as JAX itself is imported."""
    import jax

    jax.tree_util.register_pytree_node(
        Codes, lambda codes: ((codes.values, codes.columns), codes.h), lambda h, arrays: Codes(*arrays, h)
    )


def checked(values: AnyArray, columns: AnyArray, h: int, files: MappedFiles = NO_FILES) -> Codes:
    """Codes of arrays from outside, which may be maps of `files`, after a look at shapes, dtypes and ranges.

    Raises:
        InputError: arrays that are not a (n, k) pair of floats and integers, k > h, a column outside 0..h-1, a
            value that is not finite.
    """
    if values.ndim != 2 or values.shape != columns.shape:
        raise InputError(f"values and columns must share one shape (n, k), not {values.shape} and {columns.shape}")
    if not np.issubdtype(values.dtype, np.floating) or not np.issubdtype(columns.dtype, np.integer):
        raise InputError(f"values must be floats and columns integers, not {values.dtype} and {columns.dtype}")
    check_range("k (nonzeros a row)", values.shape[1], 1, h)
    step = max(1, PIECE // values.shape[1])
    for start in files.watched(range(0, len(values), step)):
        _check_columns(np.asarray(columns[start : start + step]), h, start)
        finite = np.isfinite(np.asarray(values[start : start + step])).all(axis=1)
        if not finite.all():
            raise InputError(f"row {start + int((~finite).argmax())} has a value that is not finite")
    return Codes(values, columns, h, verified=True)


def check_norms(norms: AnyArray, n: int, files: MappedFiles = NO_FILES) -> None:
    """Raise InputError unless these, a map of `files` or none, are norms of n rows: (n, 2), finite, none below 0."""
    if norms.shape != (n, 2):
        raise InputError(f"norms must be ({n}, 2), one row a row of codes, not {norms.shape}")
    for start, some in zip(range(0, n, PIECE), files.watched(pieces(norms, PIECE)), strict=True):
        some = np.asarray(some)
        good = (np.isfinite(some) & (some >= 0)).all(axis=1)
        if not good.all():
            raise InputError(f"row {start + int(good.argmin())} has a norm that is negative or not finite")


def _check_columns(columns: Integer[np.ndarray, "c k"], h: int, rows: int | Integer[np.ndarray, " c"]) -> None:
    """Raise InputError for a column outside h; `rows` are the numbers of the rows, or of the first one."""
    if columns.size and (int(columns.max()) >= h or int(columns.min()) < 0):
        at = int(((columns >= h) | (columns < 0)).any(axis=1).argmax())
        row = rows + at if isinstance(rows, int) else rows[at]
        raise InputError(f"row {row} has a column outside 0..{h - 1}")
