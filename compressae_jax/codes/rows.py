"""Rows: what flows from compression to search, folders and other engines, however it is stored.

Rows know who made them and whether they were seen to be sound; nobody outside this folder asks for their kind. `codes`
has the plain kind (arrays of floats and columns), `storage` the others, `joined` several as one.
"""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse
from jaxtyping import Float, Int, Integer, UInt8

from compressae_jax.codes.ids import Ids
from compressae_jax.codes.mapped import NO_FILES, MappedFiles
from compressae_jax.notation import AnyArray, InputError


class MadeBy(NamedTuple):
    """The model and the encoder that made rows; rows of unknown origin have None in its place."""

    fingerprint: str
    encoder: str


# What a reader reads: a slice, or some row numbers that rise.
Some = slice | Integer[np.ndarray, " _"]


SIMILARITIES = ("cosine", "dot")


class Part(NamedTuple):
    """Some rows as every backend scores them, in NumPy; the arrays may belong to their reader."""

    values: Float[np.ndarray, "c k"]
    columns: Integer[np.ndarray, "c k"]
    row_scales: Float[np.ndarray, " c"]


class Encoded(NamedTuple):
    """Rows of `fast` storage that search takes apart itself, in registers, not from what a `Rows.reader` wrote.

    `read` gives some records (c, w) uint8, with room behind them for the vectors of the last row, and their row scales.
    `records` are all of them, where they lie in one array and every scale is 1, else None.
    """

    signed: Float[np.ndarray, " levels"]
    h: int
    low: int  # bits of a column that are a field
    k: int
    read: Callable[[Some], tuple[UInt8[np.ndarray, "c w"], Float[np.ndarray, " c"]]]
    records: UInt8[np.ndarray, "n w"] | None = None


class Beside(NamedTuple):
    """Rows of `residual` storage that search takes apart itself: `first` reads whole records, and has how they begin.

    Their last columns are those of coordinates, in order, and so are the last values of k.
    """

    first: Encoded
    k: int
    bytes_before: int  # of a record, those of the nonzeros
    deviations: Float[np.ndarray, " m"]
    scales: Float[np.ndarray, " 256"]
    widths: Int[np.ndarray, " m"]
    tables: Float[np.ndarray, "9 256"]


class Rows(abc.ABC):
    """n rows of at most k signed nonzeros out of h columns; every kind is a frozen dataclass with these fields.

    `ids`, if any, name the rows. `verified`: columns, values and norms were seen to be in range; rows that were not
    are looked at piece by piece when they are read. `norms` (n, 2) are (‖s‖, ‖z‖) of values as stored, None where they
    are not known, or not needed because the values were multiplied with their row's scale. `lengths` (n,) are ‖x‖ of
    rows that are compared by inner products, None of those compared by cosines, and where the values have them. `files`
    are those that arrays are maps of; their sizes are looked at before a piece is read.
    """

    h: int
    ids: Ids | None
    made_by: MadeBy | None
    verified: bool
    norms: Float[AnyArray, "n 2"] | None
    lengths: Float[AnyArray, " n"] | None
    files: MappedFiles

    @property
    @abc.abstractmethod
    def k(self) -> int:
        """Nonzeros a row."""

    @property
    @abc.abstractmethod
    def storage(self) -> str:
        """How the rows are stored: 'float16', 'float32', 'packed4', …."""

    @property
    def levels(self) -> tuple[float, ...] | None:
        """The magnitudes that stored values are numbers of; None of floats."""
        return None

    @property
    def similarity(self) -> str:
        """What scores of these rows are: 'cosine', or 'dot', cosines times the lengths of both vectors."""
        return "cosine" if self.lengths is None else "dot"

    @property
    def shape(self) -> tuple[int, int]:
        """(n, h): the shape of the sparse matrix."""
        return len(self), self.h

    @property
    @abc.abstractmethod
    def nbytes(self) -> int:
        """Bytes of the stored rows, without norms and ids."""

    @abc.abstractmethod
    def __len__(self) -> int: ...

    def __getitem__(self, rows: Any) -> Rows:
        """Some rows: a slice (a view of NumPy arrays) or an array of row numbers or booleans."""
        arrays = {name: array[_several(rows)] for name, array in self.arrays().items()}
        ids = None if self.ids is None else self.ids[rows]
        return self.like(arrays, ids, self.files if isinstance(rows, slice) else NO_FILES)  # views, or a copy

    def __repr__(self) -> str:
        known = "" if self.made_by is None else f", made by {self.made_by.encoder} of model {self.made_by.fingerprint}"
        named = ", with ids" if self.ids is not None else ""
        size = f"{len(self):,} rows of {self.k} nonzeros out of {self.h:,} columns"
        return f"<{type(self).__name__}: {size}, {self.storage}{named}{known}>"

    @abc.abstractmethod
    def arrays(self) -> dict[str, Any]:
        """The arrays that a folder stores of these rows, by name."""

    @abc.abstractmethod
    def like(self, arrays: dict[str, Any], ids: Ids | None = None, files: MappedFiles = NO_FILES) -> Rows:
        """Rows of the same kind and origin, and as sound, of other `arrays`, which are maps of `files`, and `ids`."""

    def with_ids(self, ids: Ids | None) -> Rows:
        """The same rows by other names."""
        return dataclasses.replace(self, ids=ids)  # type: ignore[type-var]

    def with_origin(self, made_by: MadeBy | None) -> Rows:
        """The same rows, said to be made by a model and an encoder."""
        return dataclasses.replace(self, made_by=made_by)  # type: ignore[type-var]

    @abc.abstractmethod
    def codes(self) -> Any:
        """The rows as `Codes`: float values and columns in memory."""

    @abc.abstractmethod
    def prefix(self, k: int) -> Rows:
        """The rows of a smaller budget: the k largest nonzeros of every row, without norms.

        Raises:
            InputError: k out of range, or rows without an order of their columns.
        """

    @abc.abstractmethod
    def with_norms(self, decoder_w: Float[AnyArray, "h d"]) -> Rows:
        """The same rows, with norms where their kind needs them; `decoder_w` is the model's."""

    @abc.abstractmethod
    def scales(self, space: str) -> Float[np.ndarray, " n"] | None:
        """ρ of every row in a space, times its length, if any; None where it follows from the values as they are read.

        Raises:
            InputError: rows without norms, in a space that needs them.
        """

    @abc.abstractmethod
    def reader(self, space: str, rows: int, fresh: bool = False) -> Callable[[Some], Part]:
        """What reads at most so many rows at once, for one thread; unless `fresh`, a call may overwrite the last one.

        Nothing is held for a row but what is stored. Rows that were not verified are checked as they are read, so that
        no column outside h is ever scored or written to.
        """

    def encoded(self, space: str) -> Encoded | None:
        """The same for search that takes records apart itself; None where it cannot: of all storages but `fast`."""
        return None

    def beside(self, space: str) -> Beside | None:
        """The same of storage `residual`; None of all others, and where scales follow from values."""
        return None

    @abc.abstractmethod
    def check(self) -> Rows:
        """The same rows, verified.

        Raises:
            InputError: the first row with a column outside h, a number that is not finite, or bits of no row.
        """

    def to_csr(self) -> scipy.sparse.csr_matrix:
        """SciPy CSR (n, h), float32."""
        return self.codes().to_csr()

    def to_dense(self) -> Float[np.ndarray, "n h"]:
        """The dense (n, h) float32 matrix, in NumPy."""
        return self.to_csr().toarray()


def check_made_by(rows: Rows, fingerprint: str) -> None:
    """Raise InputError for rows that another model made."""
    if rows.made_by is not None and rows.made_by.fingerprint != fingerprint:
        raise InputError(
            f"rows were made by the model {rows.made_by.fingerprint}, not by the given one, {fingerprint}; take that "
            "model or compress again"
        )


def _several(rows: Any) -> Any:
    if isinstance(rows, (int, np.integer)):
        raise InputError(f"codes are indexed by a slice or an array of rows, not by the single number {rows}")
    return rows
