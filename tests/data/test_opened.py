import os

import numpy as np
import pytest
from data import files
from numpy.testing import assert_array_equal

from compressae_jax import data
from compressae_jax.data import opened
from compressae_jax.notation import InputError

X = np.random.default_rng(0).standard_normal((5000, 8)).astype(np.float32)


def test_more_files_than_may_be_open(tmp_path, monkeypatch):
    monkeypatch.setattr(opened, "_most", lambda: 3)
    for number in range(40):
        files.npy(tmp_path / f"{number}.npy", X[number : number + 1])
    before = len(os.listdir("/proc/self/fd")) if os.path.exists("/proc/self/fd") else None
    source = data.open_source(tmp_path)
    rows = np.random.default_rng(0).integers(0, 40, 200)
    for _ in range(2):
        assert_array_equal(source.take(rows), X[rows])
        assert_array_equal(source.read(0, 40), X[:40])
        if before is not None:
            assert len(os.listdir("/proc/self/fd")) <= before + 2 * 3


@pytest.mark.parametrize("kind", files.WRITERS)
@pytest.mark.parametrize("seen", [False, True])
def test_a_file_that_shrinks_is_an_error_and_no_end_of_the_process(kind, seen, tmp_path):
    path = files.write(kind, tmp_path, X)
    source = data.open_source(path)
    if seen and source.random_access:
        source.take(np.array([4999, 0]))
    os.truncate(path, path.stat().st_size // 3)
    with pytest.raises(InputError, match=rf"{path.name} changed while it was in use"):
        source.read(0, 5000)
    if source.random_access:
        with pytest.raises(InputError, match=rf"{path.name} changed while it was in use"):
            source.take(np.array([4999]))


@pytest.mark.parametrize("kind", files.WRITERS)
def test_a_file_that_is_replaced_is_noticed(kind, tmp_path):
    path = files.write(kind, tmp_path, X)
    source = data.open_source(path)
    files.write(kind, tmp_path, -X)
    os.utime(path, ns=(0, 1))
    with pytest.raises(InputError, match="changed while it was in use"):
        source.read(0, 5000)
    with pytest.raises(InputError, match="changed while it was in use"):
        source.identity()


@pytest.mark.parametrize("kind", files.WRITERS)
def test_a_file_that_is_gone_is_the_systems_word(kind, tmp_path):
    path = files.write(kind, tmp_path, X)
    source = data.open_source(path)
    path.unlink()
    with pytest.raises(FileNotFoundError):
        source.read(0, 10)


def test_no_read_is_longer_than_the_system_takes(tmp_path, monkeypatch):
    monkeypatch.setattr(opened, "_LONGEST", 1000)
    assert_array_equal(data.open_source(files.write("npy", tmp_path, X)).read(0, 5000), X)


@pytest.mark.parametrize("ending", [".npy", ".npz", ".safetensors", ".parquet", ".fvecs"])
def test_a_pipe_keeps_nobody_waiting(ending, tmp_path):
    os.mkfifo(tmp_path / f"x{ending}")
    with pytest.raises(InputError, match="is not a file"):
        data.open_source(tmp_path / f"x{ending}")
    with pytest.raises(InputError, match="not a regular file"):
        opened.File(tmp_path / f"x{ending}")
