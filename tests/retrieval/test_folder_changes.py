import os
import signal
import subprocess
import sys

import numpy as np
import pytest
from compression.test_to_folder import make_vectors
from numpy.testing import assert_array_equal
from retrieval.test_index_folder import make_saved, numbers
from retrieval.test_segments import KINDS, N, make, same

from compressae_jax.base import files
from compressae_jax.compression import pipeline
from compressae_jax.data import open_source
from compressae_jax.notation import BusyError, FolderError, InputError
from compressae_jax.retrieval import folder_changes
from compressae_jax.retrieval.index import Index


def source(rows, kind="texts"):
    return open_source(make_vectors(N)[rows], ids=KINDS[kind](rows))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("storage", ["float16", "packed4"])
def test_an_index_folder_that_grows_is_the_index_of_all(tmp_path, storage, kind):
    folder, whole = tmp_path / "index", make(range(N), kind, storage)
    folder_changes.begin(folder, whole.weights, source(range(N), kind), "dense_query", "topk", storage)
    assert len(Index.load(folder)) == 0
    assert folder_changes.add(folder, source(range(20), kind)) == (20, 20)
    assert folder_changes.add(folder, source(range(20, N), kind)) == (N - 20, N)
    assert numbers(folder) == [1, 2]
    same(Index.load(folder), whole)
    gone = KINDS[kind]([0, 30]) or [0, 30]
    assert folder_changes.remove(folder, gone) == N - 2
    whole.remove(gone)
    same(Index.load(folder), whole)
    assert folder_changes.compact(folder) == N - 2
    whole.compact()
    same(Index.load(folder), whole)
    assert len(os.listdir(folder / "segments")) == 1 and not os.listdir(folder / "removed")
    folder_changes.remove(folder, list(range(N - 2)) if kind == "none" else list(whole.ids))
    assert folder_changes.compact(folder) == 0 and not os.listdir(folder / "segments")


def test_bad_additions_are_refused_before_any_work(tmp_path, monkeypatch):
    folder = tmp_path / "index"
    make_saved(folder)
    before = sorted(folder.rglob("*"))
    monkeypatch.setattr(pipeline, "compressed", lambda *_, **__: pytest.fail("vectors were read"))
    for given, message in (
        (source(range(19, 30)), "'item 19' is in the index already, in row 19"),
        (open_source(make_vectors(2)), "give ids="),
        (open_source(make_vectors(2), ids=["a", "a"]), "rows 0 and 1 of those to add are 'a'"),
        (open_source(make_vectors(2)[:, :5], ids=["a", "b"]), "width 5"),
    ):
        with pytest.raises(InputError, match=message):
            folder_changes.add(folder, given)
    with pytest.raises(InputError, match="not in the index"):
        folder_changes.remove(folder, ["item 99"])
    with pytest.raises(FolderError):
        folder_changes.add(tmp_path / "nothing", source(range(20)))
    assert sorted(folder.rglob("*")) == before and os.listdir(tmp_path) == ["index"]


@pytest.mark.parametrize("named", [True, False])
def test_the_same_change_again_is_done(tmp_path, named):
    """After a kill at its very end, the command of a change was refused by its own result, or added rows twice."""
    folder = tmp_path / "index"
    make(range(20), "texts" if named else "none").save(folder)
    new = source(range(20, 30)) if named else open_source(make_vectors(30)[20:])
    assert folder_changes.add(folder, new) == (10, 30)
    (folder / "segments" / "000009").mkdir()
    there = Index.load(folder)
    assert folder_changes.add(folder, new) == (0, 30)
    assert sorted(os.listdir(folder / "segments")) == ["000001", "000002"]
    same(Index.load(folder), there)

    gone = ["item 3", "item 21"] if named else [3, 21]
    assert folder_changes.remove(folder, gone) == folder_changes.remove(folder, gone) == 28
    if named:  # what was removed may come again
        assert folder_changes.add(folder, source(range(21, 22))) == (1, 29)
    else:
        assert folder_changes.add(folder, new) == (10, 38)
    rows = folder_changes.compact(folder)
    (folder / "segments" / "000009").mkdir()
    assert folder_changes.compact(folder) == rows and len(os.listdir(folder / "segments")) == 1


def test_a_second_writer_gets_a_word(tmp_path):
    folder = tmp_path / "index"
    make_saved(folder)
    with files.locked(folder):
        for change in (
            lambda: folder_changes.add(folder, source(range(20, 30))),
            lambda: folder_changes.remove(folder, ["item 1"]),
            lambda: folder_changes.compact(folder),
        ):
            with pytest.raises(BusyError, match="is being written by process"):
                change()


KILLED = """
import os, sys, signal
import numpy as np
from compressae_jax.codes import writer
from compressae_jax.data import open_source
from compressae_jax.retrieval import folder_changes
add = writer._Work.add
def killed(self, rows, count=True):
    add(self, rows, count)
    os.kill(os.getpid(), signal.SIGKILL)
writer._Work.add = killed
folder_changes.add(sys.argv[1], open_source(sys.argv[2], ids=sys.argv[3]), progress=False)
"""


def test_an_addition_that_was_killed_continues(tmp_path):
    folder, rows = tmp_path / "index", range(20, N)
    make_saved(folder)
    np.save(tmp_path / "new.npy", make_vectors(N)[rows])
    (tmp_path / "ids.txt").write_text("".join(f"item {i}\n" for i in rows), encoding="utf-8")
    arguments = [folder, tmp_path / "new.npy", tmp_path / "ids.txt"]
    ended = subprocess.run([sys.executable, "-c", KILLED, *map(str, arguments)], check=False)
    assert ended.returncode == -signal.SIGKILL
    same(Index.load(folder), make(range(20), "texts"))
    assert "adding.partial" in os.listdir(folder / "segments")
    assert folder_changes.remove(folder, ["item 3"]) == 19  # leaves the work alone
    assert "adding.partial" in os.listdir(folder / "segments")
    assert folder_changes.add(folder, open_source(arguments[1], ids=arguments[2])) == (40, 59)
    whole = make(range(N), "texts")
    whole.remove(["item 3"])
    same(Index.load(folder), whole)
    assert sorted(os.listdir(folder / "segments")) == ["000001", "000002"]


def test_a_smaller_budget_grows_in_memory_only(tmp_path):
    folder = tmp_path / "index"
    make(range(20)).prefix(2).save(folder)
    with pytest.raises(InputError, match="the first 2 of 4 nonzeros"):
        folder_changes.add(folder, open_source(make_vectors(2)))
    index = Index.load(folder)
    index.add(make_vectors(N)[20:])
    index.save(folder)
    assert_array_equal(Index.load(folder).codes.codes().columns, make(range(N)).prefix(2).codes.columns)
