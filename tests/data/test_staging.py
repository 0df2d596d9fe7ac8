import os

import numpy as np
import pytest
from data import files
from numpy.testing import assert_array_equal

from compressae_jax import data
from compressae_jax.base import files as base_files
from compressae_jax.data import staging
from compressae_jax.notation import BusyError, InputError

X = np.random.default_rng(0).standard_normal((11, 5)).astype(np.float32)


@pytest.mark.parametrize("kind", ["npz, deflated", "parquet, lists"])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_staged_rows_are_the_same(kind, dtype, tmp_path):
    x = X.astype(dtype)
    staged = data.stage(data.open_source(files.write(kind, tmp_path, x)), tmp_path / "staged.npy")
    assert staged.random_access and staged.dtype == ("float16" if dtype == np.float16 else "float32")
    assert_array_equal(staged.take(np.array([7, 0, 7])), x[[7, 0, 7]].astype(np.float32))
    assert_array_equal(np.load(tmp_path / "staged.npy"), x.astype(staged.dtype))
    assert not list(tmp_path.glob(".*"))


def test_random_access_needs_no_copy(tmp_path):
    source = data.open_source(X)
    assert data.stage(source, tmp_path / "staged.npy") is source and not list(tmp_path.iterdir())


def test_a_copy_is_made_once_for_each_state_of_the_file(tmp_path):
    staged = tmp_path / "staged.npy"
    path = files.write("npz, deflated", tmp_path, X)
    data.stage(data.open_source(path), staged)
    first = staged.stat().st_ino
    os.utime(path, ns=(0, 1))
    data.stage(data.open_source(path), staged)
    assert staged.stat().st_ino == first

    os.utime(files.write("npz, deflated", tmp_path, -X), ns=(0, 1))
    assert_array_equal(data.stage(data.open_source(path), staged).read(0, 11), -X)
    staged.write_bytes(staged.read_bytes()[:-4] + bytes(4))
    os.utime(staged, ns=(0, 1))
    assert_array_equal(data.stage(data.open_source(path), staged).read(0, 11), -X)


def test_a_copy_goes_and_nothing_else(tmp_path):
    source = data.open_source(files.write("npz, deflated", tmp_path, X))
    for name in ("staged.npy", "other.npy"):
        np.save(tmp_path / name, X)
    data.unstage(tmp_path / "other.npy")
    data.stage(source, tmp_path / "staged.npy")
    data.unstage(tmp_path / "staged.npy")
    data.unstage(tmp_path / "staged.npy")
    assert {path.name for path in tmp_path.iterdir()} == {"x.npz", "other.npy"}


def test_what_a_killed_process_left_goes_with_the_next_copy(tmp_path):
    source = data.open_source(files.write("npz, deflated", tmp_path, X))
    with pytest.raises(SystemExit), base_files.replacing(tmp_path / "staged.npy") as aside:
        left = aside.with_name(aside.name.replace(aside.stem[-8:], "0" * 8))
        left.write_bytes(b"half")
        raise SystemExit
    assert left.exists()
    data.stage(source, tmp_path / "staged.npy")
    assert {path.name for path in tmp_path.iterdir()} == {"x.npz", "staged.npy", "staged.npy.json"}


@pytest.mark.parametrize("step", ["_write", "_state"])
def test_one_at_a_time_until_the_note_is_written(step, tmp_path, monkeypatch):
    """Whether the first one writes its rows or its note."""
    path = tmp_path / "staged.npy"
    (tmp_path / "older").mkdir()
    data.stage(data.open_source(files.write("npz, deflated", tmp_path / "older", 2 * X)), path)
    first = data.open_source(files.write("npz, deflated", tmp_path, X))
    other = data.open_source(files.write("parquet, lists", tmp_path, -X))
    work, refused = getattr(staging, step), []

    def held(*given):
        monkeypatch.undo()
        for act in (lambda: data.stage(other, path), lambda: data.unstage(path)):
            with pytest.raises(BusyError, match="is being written by"):
                act()
            refused.append(act)
        return work(*given)

    monkeypatch.setattr(staging, step, held)
    assert_array_equal(data.stage(first, path).read(0, 11), X)
    assert len(refused) == 2
    monkeypatch.setattr(staging, "_write", None)
    assert_array_equal(data.stage(first, path).read(0, 11), X)
    assert not list(tmp_path.glob(".*"))


def test_a_refused_row_leaves_nothing_behind(tmp_path):
    x = X.copy()
    x[9] = np.nan
    source = data.open_source(files.write("npz, deflated", tmp_path, x))
    with pytest.raises(InputError, match="row 9 "):
        data.stage(source, tmp_path / "staged.npy")
    assert [path.name for path in tmp_path.iterdir()] == ["x.npz"]


def test_another_ending(tmp_path):
    source = data.open_source(files.write("npz, deflated", tmp_path, X))
    with pytest.raises(InputError, match=r"must end in \.npy, not 'staged'"):
        data.stage(source, tmp_path / "staged")
