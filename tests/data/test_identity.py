import json
import os
import tracemalloc

import numpy as np
import pytest
from data import files

from compressae_jax import data
from compressae_jax.data import identity

X = np.random.default_rng(0).standard_normal((3000, 5)).astype(np.float32)


def other(x, first=200, last=2800):
    """The same rows but for those in the middle."""
    x = x.copy()
    x[first:last] += 1
    return x


@pytest.fixture(params=["all bytes", "a sample"])
def much(request, monkeypatch):
    """Sources that are hashed whole, or sampled as large ones are."""
    if request.param == "a sample":
        monkeypatch.setattr(identity, "WHOLE", 1000)
        monkeypatch.setattr(identity, "BLOCK", 8)
        monkeypatch.setattr(identity, "BLOCKS", 200)


@pytest.mark.parametrize("kind", [*files.WRITERS, "array"])
def test_rows_in_the_middle_tell_sources_apart(kind, much, tmp_path):
    before = identified(kind, tmp_path, X)
    assert identity.difference(before, identified(kind, tmp_path, X)) is None
    changed = identified(kind, tmp_path, other(X))
    assert "other contents" in identity.difference(before, changed)


def identified(kind, folder, x):
    source = data.open_source(x if kind == "array" else files.write(kind, folder, x))
    noted = source.identity()
    assert noted is source.identity()
    return json.loads(json.dumps(noted))


def test_a_folder_is_its_files_in_their_order(much, tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        files.npy(tmp_path / name / "part-1.npy", X[:1000])
        files.npy(tmp_path / name / "part-2.npy", X[1000:2000])
    before, now = (data.open_source(tmp_path / name).identity() for name in ("one", "two"))
    assert identity.difference(before, now) is None and before["sample"] == now["sample"]
    files.npy(tmp_path / "two" / "part-2.npy", other(X[1000:2000], 400, 600))
    assert "other contents" in identity.difference(before, data.open_source(tmp_path / "two").identity())
    (tmp_path / "one" / "part-1.npy").rename(tmp_path / "one" / "part-3.npy")
    assert "other contents" in identity.difference(before, data.open_source(tmp_path / "one").identity())


def test_a_file_that_was_moved_or_touched_is_the_same(tmp_path):
    path = files.write("npy", tmp_path, X)
    before = data.open_source(path).identity()
    path = path.rename(tmp_path / "elsewhere.npy")
    os.utime(path, ns=(0, 12345))
    now = data.open_source(path).identity()
    assert identity.difference(before, now) is None and (now["modified"], now["name"]) == (12345, str(path))


def test_what_was_seen_need_not_be_looked_for_again(monkeypatch, tmp_path):
    path = files.write("npy", tmp_path, X)
    before = data.open_source(path).identity()
    array = data.open_source(X).identity()
    assert identity.surely_same(array, array)
    monkeypatch.setattr(identity, "WHOLE", 1000)
    assert identity.surely_same(before, before) and not identity.surely_same(array, array)
    assert not identity.surely_same(before, {**before, "modified": before["modified"] + 1})
    assert not identity.surely_same({}, before)


def test_the_difference_is_told():
    before = {"rows": 3, "width": 4, "dtype": "float32", "sample": "a", "modified": 10**18}
    assert identity.difference(before, {**before, "rows": 5}) == "rows 3, now 5"
    assert "dtype float32, now float16" in identity.difference(before, {**before, "dtype": "float16"})
    told = identity.difference(before, {**before, "sample": "b", "modified": 10**18 + 10**9})
    assert "other contents of the same shape (changed 20" in told
    assert identity.difference({"rows": 3, "width": 4}, before) is None  # of version 0.1


def test_the_column_counts(tmp_path):
    import pyarrow
    import pyarrow.parquet

    pyarrow.parquet.write_table(pyarrow.table({"a": list(X[:9]), "b": list(X[:9])}), tmp_path / "x.parquet")
    one, two = (data.open_source(tmp_path / "x.parquet", column=name).identity() for name in "ab")
    assert identity.difference(one, two)


def test_little_is_read_of_much(tmp_path):
    """A sparse file of 10^8 rows: the bytes held are those of a block."""
    path = tmp_path / "x.npy"
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": (10**8, 384)})
        file.truncate(file.tell() + 4 * 384 * 10**8)
    source = data.open_source(path)
    tracemalloc.start()
    source.identity()
    assert tracemalloc.get_traced_memory()[1] < 2**20
    tracemalloc.stop()
