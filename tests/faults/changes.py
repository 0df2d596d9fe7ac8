"""Changes of an index that stands, as writers: additions, removals, compactions, merges, in memory and in its folder.

As in `writers`, nothing here may start JAX.
"""

import functools
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from faults import writers
from faults.injected import IN_MEMORY, same
from faults.readers import Reader
from faults.writers import N, Writer

from compressae_jax.codes.rows import Rows
from compressae_jax.data.opening import open_source
from compressae_jax.retrieval import folder_changes, index_folder
from compressae_jax.retrieval.index import Index

GONE = slice(3, N, 4)  # of the first rows, those that are removed


def table() -> list[Writer]:
    """Each change, by who has the index in memory and by who changes its folder; the same again has nothing to do."""
    return [
        _writer("index, added to", _one_segment, _in_memory(_add)),
        _writer("index, removed from", _one_segment, _in_memory(_remove)),
        _writer("index, compacted", _two_segments, _in_memory(_compact), compacts=True),
        _writer("index, merged", _many_segments, _in_memory(_add)),
        _writer("index folder, added to", _one_segment, _add_to_folder),
        _writer("index folder, removed from", _one_segment, _remove_from_folder),
        _writer("index folder, compacted", _two_segments, folder_changes.compact, compacts=True),
        _writer("index folder, added to and merged", _many_segments, _add_to_folder),
    ]


def changing() -> Writer:
    """An index that rows come to and go from, for readers meanwhile."""
    return Writer("index that changes", _to_and_fro, read)


def readers() -> list[Reader]:
    """An index of two segments, rows of both removed."""

    def make(root: Path) -> Path:
        _two_segments(root)
        return root / "it"

    return [Reader("index of segments", make, read)]


def read(path: Path) -> Any:
    """All rows that a search can find, and what they are searched by."""
    there = Index.load(path)
    rows = there.codes[np.setdiff1d(np.arange(len(there.codes)), there.removed)]
    ids = None if there.ids is None else list(there.ids)
    return [rows.arrays(), ids, there.weights.fingerprint, there.space, there.encoder]


def _writer(name: str, begins: Callable[[Path], Any], change: Callable[[Path], Any], compacts: bool = False) -> Writer:
    """`begins` puts the index at the name; what stands there before the change counts as nothing."""

    @functools.cache
    def before() -> Any:
        with tempfile.TemporaryDirectory(prefix="faults-", dir=IN_MEMORY) as scratch:
            begins(Path(scratch))
            return _state(Path(scratch) / "it", compacts)

    def changed(path: Path) -> Any:
        there = _state(path, compacts)
        return None if same(there, before()) else there

    def put(path: Path, which: int) -> None:
        change(path)

    return Writer(name, put, changed, replaces=False, beside=begins, read_whole=False, stands=True)


def _state(path: Path, compacts: bool) -> Any:
    """What a reader finds, and, where a change leaves that as it is, the segments and removed rows behind it."""
    there = read(path)
    if compacts:
        opened = index_folder.read(path)
        there.append([len(opened.segments.parts), len(opened.segments)])
    return there


def _rows(which: int) -> Rows:
    return writers.codes(which, "text").with_origin(writers.codes(0).made_by)


def _one_segment(root: Path) -> None:
    writers.index(0, lambda which: writers.codes(which, "text")).save(root / "it")


def _two_segments(root: Path) -> None:
    _one_segment(root)
    there = Index.load(root / "it")
    there.add(_rows(1))
    there.remove(list(_rows(0).ids)[GONE] + list(_rows(1).ids)[GONE])
    there.save(root / "it")


def _many_segments(root: Path) -> None:
    """As many as a folder may have."""
    _one_segment(root)
    there, rows = Index.load(root / "it"), _rows(2)
    for number in range(1, index_folder.MOST):
        there.add(rows[number % N : number % N + 1].with_ids(np.array([f"one more {number}"], object)))
        there.save(root / "it")


def _in_memory(change: Callable[[Index], Any]) -> Callable[[Path], None]:
    def put(path: Path) -> None:
        there = Index.load(path)
        change(there)
        there.save(path)

    return put


def _add(there: Index) -> None:
    if _rows(1).ids[0] not in list(there.ids):
        there.add(_rows(1))


def _compact(there: Index) -> None:
    if len(there.removed):
        there.compact()


def _remove(there: Index) -> None:
    if gone := [one for one in list(_rows(0).ids)[GONE] if one in list(there.ids)]:
        there.remove(gone)


def _add_to_folder(path: Path) -> None:
    source = open_source(writers.vectors(1), ids=list(_rows(1).ids))
    folder_changes.add(path, source, progress=False)


def _remove_from_folder(path: Path) -> None:
    folder_changes.remove(path, list(_rows(0).ids)[GONE])


def _to_and_fro(path: Path, which: int) -> None:
    if not path.exists():
        _one_segment(path.parent)
    there = Index.load(path)
    others = [one for one in list(_rows(1).ids) if one in set(there.ids)]
    if which and not others:
        there.add(_rows(1))
    if not which and others:
        there.remove(others)
    if len(there.removed) > 5 * N:
        there.compact()
    there.save(path)
