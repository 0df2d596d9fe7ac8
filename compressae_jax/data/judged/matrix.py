"""Judgements as a sparse matrix of grades, queries x items, both by row number: SciPy's, or its .npz."""

from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse

from compressae_jax.data import named, tables
from compressae_jax.data.judged.judged import Judged
from compressae_jax.data.pairs import once
from compressae_jax.notation import InputError


def read(path: Path) -> Judged:
    """Of a file of `scipy.sparse.save_npz`."""
    tables.opened(path).close()
    return of_matrix(named.read_sparse(path), str(path))


def of_matrix(given: Any, name: str = "judgements") -> Judged:
    """Of a matrix in any format; its shape says how many queries and items there are.

    Raises:
        InputError: a matrix that is not sound, no grade in it, grades that are no whole numbers, two for one pair.
    """
    try:
        if given.format in ("csr", "csc"):
            given.check_format(full_check=True)
        coo = scipy.sparse.coo_matrix(given)  # not CSR, which would add what stands twice
    except (ValueError, TypeError) as error:
        raise InputError(f"{name} is no sound sparse matrix: {error}") from None
    if not coo.nnz:
        raise InputError(f"{name} holds no judgement")
    grades = tables.whole(name, coo.data)
    keep = once(name, coo.row, coo.col, grades, lambda one: f"query {coo.row[one]} and item {coo.col[one]}")
    matrix = scipy.sparse.csr_matrix((grades[keep], (coo.row[keep], coo.col[keep])), shape=coo.shape)
    queries, items = (np.arange(size, dtype=np.int64) for size in matrix.shape)
    return Judged(name, queries, items, matrix, by_row=True)
