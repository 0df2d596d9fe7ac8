"""The one door for judgements: a path, a matrix, a table, a dict or rows become `Judged`."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import scipy.sparse

from compressae_jax.data import tables
from compressae_jax.data.judged import beir, matrix, memory, table, trec
from compressae_jax.data.judged.judged import Judged


def open_judgements(given: Any, split: str = "test") -> Judged:
    """Read judgements of any kind.

    A path: a folder in BEIR's layout, of which `split` is read (qrels/test.tsv); a table (.tsv, .csv, .parquet) with
    columns query, item and grade, under the names that BEIR gives them or plainly; a .npz of SciPy's; any other file
    is TREC's qrels. In memory: {query: {item: grade}}, rows of query, item and grade, a data frame, a sparse matrix.

    Raises:
        InputError: nothing there, none of these kinds, or a damaged one; no judgement in it.
    """
    if isinstance(given, Judged):
        return given
    if isinstance(given, (str, os.PathLike)):
        path = Path(given).expanduser()
        return beir.read(path, split) if path.is_dir() else KINDS.get(path.suffix.lower(), trec.read)(path)
    return matrix.of_matrix(given) if scipy.sparse.issparse(given) else memory.of_objects(given)


def _tsv(path: Path) -> Judged:
    """A table with a heading; without one, TREC's qrels with tabs between, as some collections have them."""
    first = next(iter(tables.lines(path)), "").split()
    if len(first) == trec.FIELDS and first[-1].lstrip("-").isdecimal():
        return trec.read(path)
    return table.read(path)


KINDS: dict[str, Callable[[Path], Judged]] = {
    ".tsv": _tsv,
    ".csv": table.read,
    ".parquet": table.read,
    ".npz": matrix.read,
    ".qrels": trec.read,
    ".txt": trec.read,
}
