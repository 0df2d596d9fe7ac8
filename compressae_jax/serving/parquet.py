"""An index as a folder of Parquet files that SQL engines search: `duckdb`, `clickhouse`, or any that reads Parquet.

A row has `id`, `columns` (from 1, as arrays of SQL have it), `vals` (values × ρ) and the payload. `table.json` names
the files that count, and is replaced in one step, so who reads sees the rows before an upload or those after it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import xxhash

from compressae_jax.base import files, sealed
from compressae_jax.base.progress import bar as progress_bar
from compressae_jax.codes.ids import TextIds
from compressae_jax.data import columns
from compressae_jax.notation import FolderError, InputError, check_range
from compressae_jax.retrieval.index import Index
from compressae_jax.serving import uploaded
from compressae_jax.serving.stored import Stored, stored
from compressae_jax.serving.uploaded import MadeBy

FORMAT_VERSION = 1
META = "table.json"
PIECE = 2**16  # rows a file
GROUP = 2**14  # rows a group, which engines read in parallel
REMEDY = "upload the index again"


class Table(NamedTuple):
    """What a folder holds."""

    files: tuple[Path, ...]
    rows: int
    made_by: MadeBy


def upload(
    index: Index,
    folder: str | os.PathLike,
    payload: Mapping[str, Any] | None = None,
    zero_rows: str = "stop",
    batch: int = PIECE,
    progress: bool = True,
) -> None:
    """Make a folder's rows those of the index in its space, `batch` a file, with columns of `payload` beside them.

    Again after `add` and `remove`, only files whose rows changed are written; what was interrupted goes on. `payload`
    has one value a row, in the order of `index.ids`, of any kind that Arrow knows.

    Raises:
        InputError: rows that `stored` refuses, payload of another length, vectors of another model or space.
        FolderError: something else stands at that name.
        BusyError: another process writes it.
    """
    check_range("batch", batch, 1, 2**24)
    payload = uploaded.checked_payload(payload, len(index))
    folder, made = files.check_out(folder), uploaded.made_by(index)
    with files.locked(folder):
        _prepare(folder, made)
        names, rows = [], 0
        with progress_bar(len(index), "upload", shown=progress) as bar:
            for some in stored(index, zero_rows, batch):
                names.append(_write(folder, some, payload))
                rows += len(some)
                bar.update(len(some))
        _seal(folder, made, names, rows, complete=True)
        for path in _own(folder):
            if path.name not in names:
                path.unlink()


def read(folder: str | os.PathLike) -> Table:
    """The files of a folder that count.

    Raises:
        FolderError: no such folder, a damaged one, or one whose first upload did not end.
    """
    folder = Path(os.path.expanduser(os.fspath(folder)))
    if not folder.is_dir():
        raise FolderError(f"{folder} is no folder; {REMEDY}")
    meta = sealed.read(folder / META, FORMAT_VERSION, REMEDY)
    try:
        made, names = MadeBy(*(str(meta[field]) for field in MadeBy._fields)), meta["files"]
        if not all(isinstance(name, str) and _NAME.fullmatch(name) for name in names):
            raise ValueError("a file that is none of ours")
        if not meta["complete"]:
            raise FolderError(f"the upload into {folder} did not end; {REMEDY}")
        return Table(tuple(folder.resolve() / name for name in names), int(meta["rows"]), made)
    except (KeyError, TypeError, ValueError) as error:
        if isinstance(error, FolderError):
            raise
        raise FolderError(f"{folder / META} is damaged: {error}; {REMEDY}") from None


_NAME = re.compile(r"rows-[0-9a-f]{32}\.parquet")


def _own(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if _NAME.fullmatch(path.name)]


def _prepare(folder: Path, made: MadeBy) -> None:
    """See that the folder is new or ours, and holds the like; from its first file on it says whose it is."""
    if (folder / META).is_file():
        meta = sealed.read(folder / META, FORMAT_VERSION, f"remove {folder} and {REMEDY}")
        uploaded.check_same(str(folder), MadeBy(*(str(meta.get(field)) for field in MadeBy._fields)), made)
        return
    if folder.is_dir() and any(not path.name.startswith(files.PREFIX) for path in folder.iterdir()):
        raise FolderError(f"{folder} holds other files; choose another name")
    folder.mkdir(exist_ok=True)
    _seal(folder, made, [], 0, complete=False)


def _seal(folder: Path, made: MadeBy, names: list[str], rows: int, complete: bool) -> None:
    fields = {"format_version": FORMAT_VERSION, **made._asdict(), "files": names, "rows": rows, "complete": complete}
    sealed.replace(folder / META, fields)


def _write(folder: Path, some: Stored, payload: dict[str, Any]) -> str:
    """The name of the file of some rows, which is that of what stands in it: one that is there is complete."""
    pyarrow = columns.pyarrow(".parquet")
    from pyarrow import parquet

    table = _table(pyarrow, some, payload)
    sink = pyarrow.BufferOutputStream()
    parquet.write_table(table, sink, row_group_size=GROUP)
    content = sink.getvalue().to_pybytes()
    name = f"rows-{xxhash.xxh3_128_hexdigest(content)}.parquet"
    if not (folder / name).exists():
        files.write_bytes(folder / name, content)
    return name


def _table(pyarrow: Any, some: Stored, payload: dict[str, Any]) -> Any:
    """Rows as Arrow, nothing of ours nullable, which ClickHouse asks for."""
    starts = pyarrow.array(some.starts.astype(np.int32))

    def lists(flat: np.ndarray) -> Any:
        array = pyarrow.array(flat)
        kind = pyarrow.list_(pyarrow.field("element", array.type, nullable=False))
        return pyarrow.ListArray.from_arrays(starts, array, type=kind)

    try:
        ids = pyarrow.array(list(some.ids) if isinstance(some.ids, TextIds) else np.asarray(some.ids))
    except UnicodeEncodeError as error:
        raise InputError(f"ids must be texts that Parquet holds, UTF-8: {error}") from None
    arrays = {"id": ids, "columns": lists(some.columns + 1), "vals": lists(some.values)}
    fields = [pyarrow.field(name, array.type, nullable=False) for name, array in arrays.items()]
    for name, values in payload.items():
        try:
            there = [values[place] for place in some.places.tolist()] if not isinstance(values, np.ndarray) else None
            arrays[name] = pyarrow.array(values[some.places] if there is None else there)
        except (pyarrow.ArrowException, UnicodeEncodeError, KeyError) as error:
            raise InputError(f"payload: {name!r} is no column of one kind: {error}") from None
        fields.append(pyarrow.field(name, arrays[name].type))
    return pyarrow.table(list(arrays.values()), schema=pyarrow.schema(fields))
