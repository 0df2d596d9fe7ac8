"""What a search found, as a file: scores, rows and ids in .npz or .parquet; sources read the other way."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

from compressae_jax.notation import InputError


def check_path(path: str | os.PathLike) -> Path:
    """The path, when its name ends in .npz or .parquet (which needs pyarrow) and its folder exists."""
    path = Path(path)
    if path.suffix not in (".npz", ".parquet"):
        raise InputError(f"out must end in .npz or .parquet, not {path.name!r}")
    if not path.absolute().parent.is_dir():
        raise InputError(f"out: there is no folder {path.absolute().parent}")
    if path.suffix == ".parquet":
        _pyarrow()
    return path


def write(
    path: str | os.PathLike,
    scores: Float[np.ndarray, "q r"],
    rows: Int[np.ndarray, "q r"],
    ids: Sequence[str] | np.ndarray | None = None,
) -> None:
    """Write arrays `scores`, `rows` and, where the index has ids, `ids` (q, r); aside, then renamed.

    In parquet these are columns of lists, one row a query.
    """
    path = check_path(path)
    arrays: dict[str, np.ndarray] = {"scores": scores, "rows": rows}
    if ids is not None:
        arrays["ids"] = np.asarray(ids)[rows]
    aside = path.with_name(f".{path.name}.partial{path.suffix}")
    if path.suffix == ".npz":
        with aside.open("wb") as file:
            np.savez(file, allow_pickle=False, **arrays)
    else:
        from pyarrow import parquet

        table = _pyarrow().table({name: list(array) for name, array in arrays.items()})
        parquet.write_table(table, aside)
    os.replace(aside, path)


def _pyarrow():
    try:
        import pyarrow
    except ImportError as error:
        raise InputError(".parquet needs pyarrow: pip install 'compressae_jax[parquet]'") from error
    return pyarrow
