import os
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from compression.test_to_folder import make_vectors
from numpy.testing import assert_array_equal
from retrieval.test_segments import KINDS, N, make, same

from compressae_jax.base import sealed
from compressae_jax.codes import folder as codes_folder
from compressae_jax.model import weights as model_weights
from compressae_jax.notation import BusyError, FolderError
from compressae_jax.retrieval import index_folder
from compressae_jax.retrieval.index import Index, open_folder


def numbers(folder):
    return sorted(int(name) for name in os.listdir(folder / "segments"))


def times(folder):
    """When each file was last written."""
    return {path: path.stat().st_mtime_ns for path in sorted(folder.rglob("*")) if path.is_file()}


def make_saved(folder, kind="texts", **options):
    index = make(range(20), kind, **options)
    index.save(folder)
    return index


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("storage", ["float16", "packed4", "fast4"])
def test_only_what_is_new_is_written(tmp_path, storage, kind):
    index, folder = make_saved(tmp_path / "index", kind, storage=storage), tmp_path / "index"
    before = times(folder)
    index = Index.load(folder)
    index.add(make_vectors(N)[20:30], KINDS[kind](range(20, 30)))
    index.add(make_vectors(N)[30:], KINDS[kind](range(30, N)))
    index.save(folder)
    assert numbers(folder) == [1, 2]
    after = times(folder)
    assert [path for path in before if before[path] != after[path]] == [folder / "index.json"]
    same(Index.load(folder), make(range(N), kind, storage))
    index.remove(KINDS[kind]([3, 25]) or [3, 25])
    index.save(folder)
    assert {path.relative_to(folder).as_posix() for path in set(times(folder)) - set(after)} == {
        "removed/000001-3.npy",
        "removed/000002-3.npy",
    }
    for again in (Index.load(folder), Index.load(folder, verify=False), index):
        assert_array_equal(again.removed, [3, 25])
        assert len(again) == N - 2
    index.compact()
    index.save(folder)
    assert numbers(folder) == [3] and not os.listdir(folder / "removed")
    rest = [i for i in range(N) if i not in (3, 25)]
    same(Index.load(folder), make(rest, kind, storage))
    assert sorted(os.listdir(tmp_path)) == ["index"]


def test_saving_what_did_not_change_writes_no_rows(tmp_path):
    index, folder = make_saved(tmp_path / "index"), tmp_path / "index"
    index.remove(["item 3"])
    index.save(folder)
    before = times(folder)
    Index.load(folder).save(folder)
    assert [path for path, when in times(folder).items() if before.get(path) != when] == [folder / "index.json"]


def test_many_small_additions_are_merged(tmp_path):
    folder, x = tmp_path / "index", make_vectors(N)
    make_saved(folder)
    index, most = Index.load(folder), 0
    for i in range(20, N):
        index.add(x[i : i + 1], [f"item {i}"])
        if i % 7 == 0:
            index.remove([f"item {i - 1}"])
        index.save(folder)
        most = max(most, len(numbers(folder)))
    assert 20 < most <= index_folder.MOST
    other = make(range(N), "texts")
    other.remove([f"item {i - 1}" for i in range(20, N) if i % 7 == 0])
    same(index, other)
    same(Index.load(folder), other)


def test_an_index_saved_elsewhere_lives_there_from_then_on(tmp_path):
    index = make_saved(tmp_path / "one")
    index.remove(["item 3"])
    index.save(tmp_path / "other")
    index.add(make_vectors(N)[20:], KINDS["texts"](range(20, N)))
    index.save(tmp_path / "other")
    assert numbers(tmp_path / "other") == [1, 2] and len(Index.load(tmp_path / "one")) == 20
    same(Index.load(tmp_path / "other"), index)
    index.save(tmp_path / "one")  # an older index of that name is replaced as a whole
    same(Index.load(tmp_path / "one"), index)


def test_of_two_that_change_one_index_the_second_gets_a_word(tmp_path):
    folder = tmp_path / "index"
    make_saved(folder)
    first, second = Index.load(folder), Index.load(folder)
    first.remove(["item 3"])
    first.save(folder)
    second.remove(["item 4"])
    with pytest.raises(BusyError, match="was changed by another writer since this index was opened"):
        second.save(folder)
    again = Index.load(folder)
    assert len(again) == 19 and "item 3" not in list(again.ids)
    second.save(tmp_path / "mine")
    assert len(Index.load(tmp_path / "mine")) == 19


def test_an_index_without_rows_is_saved_and_filled_again(tmp_path):
    for storage in ("float16", "packed4"):
        folder = tmp_path / storage
        index = make_saved(folder, storage=storage)
        index.remove(KINDS["texts"](range(20)))
        index.compact()
        assert len(index) == 0 and (index.search(make_vectors(2)).rows == -1).all()
        index.save(folder)
        again = Index.load(folder)
        assert len(again) == 0 and (again.search(make_vectors(2)).rows == -1).all() and len(again.ids) == 0
        again.add(make_vectors(N)[:20], KINDS["texts"](range(20)))
        again.save(folder)
        same(Index.load(folder), make(range(20), "texts", storage))


def test_folders_of_the_first_version_are_read_and_become_the_second(tmp_path):
    index, folder = make(range(20), "texts"), tmp_path / "index"
    header = {"fingerprint": index.weights.fingerprint, "encoder": index.encoder}
    codes_folder.write(folder / "codes", index.codes, d=index.weights.d, header=header)
    model_weights.save(index.weights, folder / "model")
    sealed.write(folder / "index.json", {"format_version": 1, "space": "dense_query", **header})
    older = Index.load(folder)
    same(older, index)
    older.remove(["item 3"])
    older.save(folder)
    assert sorted(os.listdir(folder)) == ["index.json", "model", "removed", "segments"]
    assert len(Index.load(folder)) == 19
    same(open_folder(folder, space="dense_query"), older)


def test_what_a_killed_writer_left_goes_and_what_is_not_ours_stays(tmp_path):
    index, folder = make_saved(tmp_path / "index"), tmp_path / "index"
    codes_folder.write(folder / "segments" / "000007", index.codes, d=index.weights.d)
    (folder / "segments" / "notes").mkdir()
    (folder / "removed").mkdir()
    (folder / "removed" / "000001-9.npy").write_bytes(b"")
    assert len(Index.load(folder)) == 20
    index.remove(["item 3"])
    index.save(folder)
    assert sorted(os.listdir(folder / "segments")) == ["000001", "notes"]
    assert os.listdir(folder / "removed") == ["000001-2.npy"]


@pytest.mark.parametrize("name", ["segments/000001", "segments/000002/values.npy", "removed/000001-2.npy", "model"])
def test_a_part_that_is_missing_or_of_another_index_is_refused(tmp_path, name):
    index, folder = make_saved(tmp_path / "index"), tmp_path / "index"
    index.add(make_vectors(N)[20:], KINDS["texts"](range(20, N)))
    index.remove(["item 3"])
    index.save(folder)
    (folder / name).rename(tmp_path / "away")
    with pytest.raises(FolderError, match=name.split("/")[0]):
        Index.load(folder)


@pytest.mark.parametrize("kind", ["integers", "texts"])
@pytest.mark.parametrize("segments", [1, 2])
def test_ids_of_a_file_that_shrinks_are_an_error_not_the_end(tmp_path, kind, segments):
    index, folder = make_saved(tmp_path / "index", kind=kind), tmp_path / "index"
    if segments > 1:
        index.add(make_vectors(N)[20:], KINDS[kind](range(20, N)))
        index.save(folder)
    there = Index.load(folder)
    found = there.search(make_vectors(2), top=3)
    os.truncate(folder / "segments/000001" / ("ids.npy" if kind == "integers" else "ids.utf8"), 3)
    for use in (lambda: found.ids, lambda: there.remove(KINDS[kind](range(3)))):
        with pytest.raises(FolderError, match="shrank"):
            use()


def test_a_segment_of_another_index_is_refused(tmp_path):
    folder = tmp_path / "index"
    make_saved(folder)
    other = make(range(20, 40), "texts")
    header = {"fingerprint": other.weights.fingerprint, "encoder": other.encoder}
    codes_folder.write(folder / "segments" / "000001", other.codes, d=other.weights.d, header=header)
    with pytest.raises(FolderError, match=r"meta\.json is not the one that index\.json names"):
        Index.load(folder, verify=False)


def test_readers_meanwhile_see_the_older_index_or_the_newer_one(tmp_path):
    folder, x = tmp_path / "index", make_vectors(N)
    index, done = make_saved(folder), threading.Event()

    def look():
        sizes = []
        while not done.is_set() or not sizes:
            sizes.append(len(Index.load(folder)))
        return sizes

    with ThreadPoolExecutor(2) as pool:
        looking = [pool.submit(look) for _ in range(2)]
        try:
            for i in range(20, 50, 3):
                index.add(x[i : i + 3], KINDS["texts"](range(i, i + 3)))
                if i % 2:
                    index.compact()
                index.save(folder)
        finally:
            done.set()
    for one in looking:
        assert set(one.result()) <= set(range(20, 51, 3)) and one.result() == sorted(one.result())
