"""kANNolo in this process: an exhaustive index, or a graph, of sparse rows in a folder (extra `[kannolo]`).

It makes a query dense once, so all terms of u cost no more than some, and it keeps values in float16; so the best few
hundred rows are scored again from the folder, with the numbers that our own search has. An index is built at once:
what changed builds it anew, what did not builds nothing.
"""

from __future__ import annotations

import importlib.metadata
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import xxhash
from jaxtyping import Float, Float32, Int, Int64, UInt16

from compressae_jax.base import files, sealed, threads
from compressae_jax.base.progress import bar as progress_bar
from compressae_jax.codes import ids as named
from compressae_jax.codes.ids import Ids, TextIds
from compressae_jax.codes.mapped import Map, MappedFiles
from compressae_jax.notation import Expanded, FolderError, InputError, check_choice, check_range
from compressae_jax.retrieval.index import Index
from compressae_jax.retrieval.queries import Expander
from compressae_jax.serving import terms as terms_of
from compressae_jax.serving import uploaded
from compressae_jax.serving.stored import PIECE, stored
from compressae_jax.serving.uploaded import Answers, MadeBy

FORMAT_VERSION = 1
META = "kannolo.json"
IDS, OFFSETS, UTF8 = "ids.npy", "ids.offsets.npy", "ids.utf8.npy"
STARTS, COLUMNS, VALUES, BUILT = "starts.npy", "columns.npy", "values.npy", "index.bin"
HOLDS = (META, IDS, OFFSETS, UTF8, STARTS, COLUMNS, VALUES, BUILT)
REMEDY = "upload the index again"
FORMS = ("flat", "hnsw")
UNSIGNED = ("fixed_u8", "fixed_u16", "dot_packing8")  # its other graphs
WIDEST = 2**16  # columns are 16 bits there
FEWEST = 64  # rows of a graph; of one row it ends the process


class Table(NamedTuple):
    """What a folder holds: rows as CSR, their ids, and what kANNolo built of them, None of no rows."""

    fields: dict[str, Any]
    stamp: tuple[int, ...]  # of the file that these are from
    ids: Ids
    starts: Int64[np.ndarray, " n_and_1"]
    columns: UInt16[np.ndarray, " nonzeros"]
    values: Float32[np.ndarray, " nonzeros"]
    built: Any
    maps: MappedFiles

    @property
    def width(self) -> int:
        """Columns that kANNolo knows: it ends the process over a query with others."""
        return int(self.fields["width"])


def upload(
    index: Index,
    folder: str | os.PathLike,
    payload: Mapping[str, Any] | None = None,
    zero_rows: str = "stop",
    batch: int = PIECE,
    progress: bool = True,
    form: str = "flat",
    links: int = 16,
    effort: int = 200,
) -> None:
    """Make a folder's rows those of the index in its space: `form` 'flat', exhaustive, or 'hnsw', a graph.

    The graph has `links` of a row on its upper floors and twice as many below, found with `effort` candidates; fewer
    than 64 rows get none. Rows that are there already, under the same ids, build nothing; others build all of it anew,
    and the folder is replaced in one step. `batch` rows are read at once.

    Raises:
        InputError: payload, which kANNolo has no place for; a form that ranks signed values wrongly; h above 65,536;
            rows that `stored` refuses; vectors of another model or space; no kannolo.
        FolderError: something else stands at that name.
        BusyError: another process writes it.
    """
    check_range("batch", batch, 1, 2**24)
    _check_form(form, links, effort)
    if payload:
        raise InputError(
            "payload: kANNolo holds rows and nothing beside them; keep it in a table of your own, by id, or upload "
            "into an engine that carries it along, such as DuckDB, SQLite or Qdrant"
        )
    if index.codes.h > WIDEST:
        raise InputError(
            f"kANNolo has columns of 16 bits, h up to {WIDEST:,}, not h={index.codes.h:,}; DuckDB, ClickHouse and "
            "Qdrant take any h"
        )
    kannolo = uploaded.engine("kannolo", "kANNolo", "kannolo")
    folder, made = files.check_out(folder), uploaded.made_by(index)
    with files.locked(folder):
        there = _there(folder)
        if there is not None:
            uploaded.check_same(str(folder), _made_by(there), made)
        files.check_replaceable(files.real(folder), HOLDS, META)
        ids, arrays = _arrays(index, zero_rows, batch, progress)
        form = form if len(arrays[STARTS]) > FEWEST else "flat"
        how = {"form": form, "links": links, "effort": effort} if form == "hnsw" else {"form": form}
        fields = {"format_version": FORMAT_VERSION, "kannolo": _version(), **made._asdict(), **how}
        fields["content"] = _content(ids, arrays)
        if there is not None and fields.items() <= there.items() and _whole(folder, there):
            return
        with files.renewing(folder, HOLDS, META) as aside:
            _write(kannolo, aside, fields, ids, arrays)


class Engine:
    """A folder that `upload` wrote, opened for queries of one space.

    Raises:
        InputError: vectors of another model or space; no kannolo.
        FolderError: no such folder, or a damaged one.
    """

    def __init__(self, folder: str | os.PathLike, expander: Expander) -> None:
        self._kannolo = uploaded.engine("kannolo", "kANNolo", "kannolo")
        self.folder, self.expander = Path(os.path.expanduser(os.fspath(folder))), expander
        self._table = self._read()

    def search(
        self,
        queries: Any,
        top: int = 10,
        where: Any = None,
        terms: int | None = None,
        rescored: int | None = None,
    ) -> Answers:
        """The best rows of each query, ties to the row that the index had first.

        The best `rescored` (default: 500, or `top` if that is more) of kANNolo are scored again; a graph looks through
        as many candidates. What an upload has changed since is seen by the next search.

        Raises:
            InputError: queries that `Expander.expand` refuses, `where`, which kANNolo cannot do, `terms`, `rescored`
                below `top`.
        """
        if where is not None:
            raise InputError(
                "kANNolo has no filter, so where must be left out: ask for a larger top and leave out what you do not "
                "want, or search with index.search(allow=…) or an engine that filters, such as Qdrant or DuckDB"
            )
        if terms is not None:
            raise InputError(
                "kANNolo takes all terms of a query as fast as some, so that a part would cost answers and save "
                "nothing: leave terms out"
            )
        u = uploaded.expanded(self.expander, queries, top)
        rescored = max(top, terms_of.RESCORED) if rescored is None else rescored
        terms_of.check_rescored(rescored, top)
        check_range("rescored", rescored, 1, uploaded.TOP)
        table = self._table = self._read(self._table)
        if table.built is None or not len(u):
            return uploaded.collected([], len(u), top, u)
        found = []
        for one, candidates in zip(u, _candidates(table, u, rescored), strict=True):
            numbers = np.sort(candidates[candidates >= 0])
            scores = _scores(table, one, numbers)
            best = np.lexsort((numbers, -scores))[:top]
            ids = table.ids[numbers[best]]
            plain = list(ids) if isinstance(ids, TextIds) else ids.tolist()
            found.append(list(zip(plain, scores[best].tolist(), strict=True)))
        return uploaded.collected(found, len(u), top, u)

    def _read(self, known: Table | None = None) -> Table:
        """The table as it is now; `known` if it is still that one."""

        def read() -> Table:
            if not self.folder.is_dir():
                raise FolderError(f"{self.folder} is no folder; {REMEDY}")
            stamp = _stamp(self.folder)
            if known is not None and stamp and known.stamp == stamp:
                return known
            fields = sealed.read(self.folder / META, FORMAT_VERSION, REMEDY)
            uploaded.check_expander(str(self.folder), _made_by(fields), self.expander)
            return _opened(self._kannolo, self.folder, fields, stamp)

        return files.steadily(self.folder, read)


def _version() -> str:
    return importlib.metadata.version("kannolo")


def _check_form(form: str, links: int, effort: int) -> None:
    if form in UNSIGNED:
        raise InputError(
            f"form {form!r}: kANNolo's fixed-point graphs lose the sign of values without a word, and find less than "
            "half of the answers; 'flat' and 'hnsw' keep float16 values, with signs"
        )
    check_choice("form", form, FORMS)
    check_range("links", links, 2, 256)
    check_range("effort", effort, links, 2**16)


def _there(folder: Path) -> dict[str, Any] | None:
    if not (folder / META).is_file():
        return None
    return sealed.read(folder / META, FORMAT_VERSION, f"remove {folder} and {REMEDY}")


def _made_by(fields: dict[str, Any]) -> MadeBy:
    return MadeBy(*(str(fields.get(name)) for name in MadeBy._fields))


def _arrays(index: Index, zero_rows: str, batch: int, progress: bool) -> tuple[Ids, dict[str, np.ndarray]]:
    """All rows that are there, as `stored` gives them, in one."""
    parts, sizes = [], [np.zeros(1, np.int64)]
    with progress_bar(len(index), "read", shown=progress) as bar:
        for some in stored(index, zero_rows, batch):
            sizes.append(np.diff(some.starts))
            parts.append(some)
            bar.update(len(some))
    arrays = {
        STARTS: np.cumsum(np.concatenate(sizes)),
        COLUMNS: np.concatenate([np.empty(0, np.uint16), *(some.columns.astype(np.uint16) for some in parts)]),
        VALUES: np.concatenate([np.empty(0, np.float32), *(some.values for some in parts)]),
    }
    ids = named.joined([some.ids for some in parts]) if parts else np.empty(0, np.int64)
    return ids, arrays


def _content(ids: Ids, arrays: dict[str, np.ndarray]) -> str:
    """What tells rows and their ids from any others."""
    seen = xxhash.xxh3_128()
    for name, array in {**arrays, **_of_ids(ids)}.items():
        seen.update(f"{name} {array.dtype.str} {array.shape}".encode())
        seen.update(np.ascontiguousarray(array).data)
    return seen.hexdigest()


def _of_ids(ids: Ids) -> dict[str, np.ndarray]:
    return {OFFSETS: ids.offsets, UTF8: ids.utf8} if isinstance(ids, TextIds) else {IDS: np.asarray(ids)}


def _write(kannolo: Any, aside: Path, fields: dict[str, Any], ids: Ids, arrays: dict[str, np.ndarray]) -> None:
    for name, array in {**arrays, **_of_ids(ids)}.items():
        np.save(aside / name, array)
    width = 0
    if len(ids):
        columns, values, starts = arrays[COLUMNS], arrays[VALUES], arrays[STARTS]
        width = int(columns.max()) + 1
        # A power of two changes no rank, and keeps any length of rows within float16.
        scale = np.exp2(-np.ceil(np.log2(np.abs(values).max().astype(np.float64))))
        if fields["form"] == "hnsw":
            build, how = kannolo.SparsePlainHNSW, {"m": fields["links"], "ef_construction": fields["effort"]}
        else:
            build, how = kannolo.SparseFlatIndex, {}
        built = build.build_from_arrays(columns.astype(np.int32), (values * scale).astype(np.float32), starts, **how)
        built.save(os.fspath(aside / BUILT))
    digests = {}
    for path in sorted(aside.iterdir()):
        with files.open_regular(path) as file:
            digests[path.name] = files.digest(file).hexdigest()
    sealed.write(aside / META, {**fields, "rows": len(ids), "width": width, "files": digests})


def _whole(folder: Path, fields: dict[str, Any]) -> bool:
    """Whether the files are what they were when they were written."""
    try:
        _check_files(folder, fields)
    except (FolderError, OSError):
        return False
    return True


def _check_files(folder: Path, fields: dict[str, Any]) -> None:
    if not isinstance(fields.get("files"), dict) or not set(fields["files"]) <= set(HOLDS):
        raise FolderError(f"{folder / META} names files that are none of ours; {REMEDY}")
    for name, wanted in fields["files"].items():
        with files.open_regular(folder / name) as file:
            if files.digest(file).hexdigest() != wanted:
                raise FolderError(f"{folder / name} is damaged; {REMEDY}")


def _stamp(folder: Path) -> tuple[int, ...]:
    """What changes with every upload that writes; nothing of a file that is not there."""
    try:
        stat = os.stat(folder / META)
    except OSError:
        return ()
    return stat.st_dev, stat.st_ino, stat.st_mtime_ns, stat.st_size


def _opened(kannolo: Any, folder: Path, fields: dict[str, Any], stamp: tuple[int, ...]) -> Table:
    _check_files(folder, fields)  # kANNolo ends the process over some files that are not its own
    if fields.get("kannolo") != _version():
        was = fields.get("kannolo")
        raise FolderError(f"{folder} was built by kANNolo {was}, this is {_version()}, which may not read it; {REMEDY}")
    try:
        arrays = {
            name: np.load(folder / name, mmap_mode="r", allow_pickle=False)
            for name in fields["files"]
            if name.endswith(".npy")
        }
        maps = MappedFiles(
            [
                Map(folder / name, array._mmap, os.stat(folder / name).st_size)  # type: ignore[attr-defined]
                for name, array in arrays.items()
                if getattr(array, "_mmap", None) is not None
            ]
        )
        ids = TextIds(arrays[OFFSETS], arrays[UTF8], maps) if OFFSETS in arrays else arrays[IDS]
        built = None
        if fields["rows"]:
            kind = kannolo.SparsePlainHNSW if fields["form"] == "hnsw" else kannolo.SparseFlatIndex
            built = kind.load(os.fspath(folder / BUILT))
        return Table(fields, stamp, ids, arrays[STARTS], arrays[COLUMNS], arrays[VALUES], built, maps)
    except (KeyError, ValueError, OSError) as error:
        if isinstance(error, FileNotFoundError):
            raise
        raise FolderError(f"{folder} is damaged, or of another version of kANNolo: {error}; {REMEDY}") from None


def _candidates(table: Table, u: Expanded, rescored: int) -> Int[np.ndarray, "q c"]:
    """Row numbers that kANNolo finds for each query, -1 in the place of none."""
    known = u[:, : table.width]
    largest = np.abs(known).max(axis=1, keepdims=True, initial=0)
    parts = terms_of.largest(known / np.where(largest > 0, largest, 1))  # any length of a query, within float32
    columns = np.concatenate([np.empty(0, np.int32), *(part.columns.astype(np.int32) for part in parts)])
    weights = np.concatenate([np.empty(0, np.float32), *(part.weights for part in parts)])
    starts = np.cumsum([0, *(len(part.columns) for part in parts)]).astype(np.int64)
    k = min(rescored, int(table.fields["rows"]))
    how = {"ef_search": k} if table.fields["form"] == "hnsw" else {}
    if len(u) == 1:
        _, rows = table.built.search(columns, weights, k, **how)
    else:
        cores = max(1, min(threads.cores(), len(u)))
        _, rows = table.built.batch_search(columns, weights, starts, k, num_threads=cores, **how)
    return np.asarray(rows, np.int64).reshape(len(u), k)


def _scores(table: Table, one: Float[np.ndarray, " h"], numbers: Int[np.ndarray, " c"]) -> Float[np.ndarray, " c"]:
    """The exact scores of some rows; none of them is without a nonzero."""
    table.maps.check()
    first, sizes = table.starts[numbers], table.starts[numbers + 1] - table.starts[numbers]
    ends = np.cumsum(sizes)
    at = np.repeat(first - (ends - sizes), sizes) + np.arange(ends[-1] if len(ends) else 0)
    products = table.values[at].astype(np.float64) * one[table.columns[at]]
    scores = np.add.reduceat(products, ends - sizes) if len(ends) else np.empty(0)
    return np.clip(scores, -np.finfo(np.float32).max, np.finfo(np.float32).max).astype(np.float32)
