"""Codes: n rows of k signed nonzeros out of h columns, and what they convert to; files live in `folder`."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import numpy as np
import scipy.sparse
from jax.experimental import sparse as jax_sparse
from jaxtyping import Float

from compressae_jax.notation import AnyArray, InputError, check_range


def column_dtype(h: int) -> np.dtype:
    """The narrowest dtype that names h columns: uint16, or uint32 above 65,536."""
    return np.dtype(np.uint16 if h <= 2**16 else np.uint32)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class Codes:
    """Rows of k signed nonzeros, by falling magnitude, so that the first k' columns are the code of a smaller budget.

    `values (n, k)` float and `columns (n, k)` integer, NumPy (also memory-mapped) or JAX; `h` is the width. A place
    that a row does not use has value 0; its column is then any legal one.
    """

    values: Any
    columns: Any
    h: int = dataclasses.field(metadata={"static": True})

    @property
    def k(self) -> int:
        """Nonzeros a row."""
        return self.values.shape[1]

    @property
    def shape(self) -> tuple[int, int]:
        """(n, h): the shape of the sparse matrix."""
        return self.values.shape[0], self.h

    @property
    def nbytes(self) -> int:
        """Bytes of values and columns in memory; row scales belong to an index."""
        return self.values.nbytes + self.columns.nbytes

    def __len__(self) -> int:
        return self.values.shape[0]

    def __getitem__(self, rows: Any) -> Codes:
        """Some rows: a slice (a view of NumPy arrays) or an array of row numbers or booleans."""
        if isinstance(rows, (int, np.integer)):
            raise InputError(f"codes are indexed by a slice or an array of rows, not by the single number {rows}")
        return Codes(self.values[rows], self.columns[rows], self.h)

    def prefix(self, k: int) -> Codes:
        """The code of a smaller budget: the k largest nonzeros of every row."""
        check_range("k", k, 1, self.k)
        return Codes(self.values[:, :k], self.columns[:, :k], self.h)

    def to_csr(self) -> scipy.sparse.csr_matrix:
        """SciPy CSR (n, h), float32 values shared, not copied.

        SciPy wants signed 32- or 64-bit columns and has no float16, so those are converted.
        """
        n, k = self.values.shape
        values = np.asarray(self.values).reshape(-1)
        index = np.int32 if max(n * k, self.h) < 2**31 else np.int64
        matrix = scipy.sparse.csr_matrix((n, self.h), dtype=np.float32)
        matrix.data = values.astype(np.float32, copy=False)
        matrix.indices = np.asarray(self.columns).reshape(-1).astype(index, copy=False)
        matrix.indptr = np.arange(0, n * k + 1, k, dtype=index)
        return matrix

    @staticmethod
    def from_csr(matrix: scipy.sparse.csr_matrix, k: int | None = None) -> Codes:
        """Codes of a CSR matrix; k defaults to the fullest row, emptier rows are filled with zeros at column 0."""
        matrix = scipy.sparse.csr_matrix(matrix)
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

    def to_bcoo(self) -> jax_sparse.BCOO:
        """JAX BCOO (n, h) with one batch dimension: k entries a row and no row numbers."""
        indices = jax.numpy.asarray(self.columns).astype(jax.numpy.int32)[..., None]
        return jax_sparse.BCOO((jax.numpy.asarray(self.values), indices), shape=self.shape)

    def to_dense(self) -> Float[np.ndarray, "n h"]:
        """The dense (n, h) float32 matrix, in NumPy."""
        return self.to_csr().toarray()


def checked(values: AnyArray, columns: AnyArray, h: int) -> Codes:
    """Codes of arrays from outside, after a look at shapes, dtypes and ranges.

    Raises:
        InputError: arrays that are not a (n, k) pair of floats and integers, k > h, a column outside 0..h-1, a
            value that is not finite.
    """
    if values.ndim != 2 or values.shape != columns.shape:
        raise InputError(f"values and columns must share one shape (n, k), not {values.shape} and {columns.shape}")
    if not np.issubdtype(values.dtype, np.floating) or not np.issubdtype(columns.dtype, np.integer):
        raise InputError(f"values must be floats and columns integers, not {values.dtype} and {columns.dtype}")
    check_range("k (nonzeros a row)", values.shape[1], 1, h)
    step = max(1, 2**22 // values.shape[1])
    for start in range(0, len(values), step):  # piecewise: the arrays may be memory maps
        some = np.asarray(columns[start : start + step])
        if some.size and (int(some.max()) >= h or int(some.min()) < 0):
            row = start + int(((some >= h) | (some < 0)).any(axis=1).argmax())
            raise InputError(f"row {row} has a column outside 0..{h - 1}")
        finite = np.isfinite(np.asarray(values[start : start + step])).all(axis=1)
        if not finite.all():
            raise InputError(f"row {start + int((~finite).argmax())} has a value that is not finite")
    return Codes(values, columns, h)
