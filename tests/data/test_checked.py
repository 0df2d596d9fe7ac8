import tracemalloc

import numpy as np
import pytest
from data import files
from numpy.testing import assert_array_equal

from compressae_jax import data
from compressae_jax.data import checked, identity, parquet, sources
from compressae_jax.notation import InputError


def with_zero_rows(n, zero):
    x = np.random.default_rng(0).standard_normal((n, 3)).astype(np.float32)
    x[zero] = 0
    x[1, :2] = 0  # not a zero row
    return data.open_source(x)


def test_zero_rows_are_found_in_every_piece(monkeypatch):
    monkeypatch.setattr(sources, "PIECE_BYTES", 4 * 3 * 4)  # four rows
    zero = [0, 3, 4, 12]
    assert_array_equal(data.find_zero_rows(with_zero_rows(13, zero), progress=False), zero)
    assert data.find_zero_rows(with_zero_rows(13, [])).dtype == np.int64


def test_zero_rows_are_told():
    source = with_zero_rows(40, np.arange(2, 35, 3))
    message = str(data.zero_rows_met(source, data.find_zero_rows(source)))
    assert "array has 11 zero rows" in message and "(rows 2, 5, 8, 11, 14, 17, 20, 23, 26, 29, …)" in message
    assert "(rows 7)" in str(data.zero_rows_met(source, np.array([7])))


def test_the_search_for_zero_rows_sees_what_is_not_finite():
    with pytest.raises(InputError, match="row 1 "):
        data.find_zero_rows(data.open_source(np.array([[0, 0], [0, np.nan]], np.float32)))


@pytest.fixture
def passes(monkeypatch):
    """How often a source was read from its start."""
    seen = []
    blocks = sources.Source.batches

    def counted(self, rows, start=0):
        seen.append(self.name)
        return blocks(self, rows, start)

    monkeypatch.setattr(sources.Source, "batches", counted)
    return seen


@pytest.mark.parametrize("kind", ["npy", "parquet, lists", "array"])
def test_what_was_seen_is_not_looked_for_again(kind, passes, tmp_path):
    checked._seen.clear()
    x = np.random.default_rng(1).standard_normal((30, 4)).astype(np.float32)
    x[[3, 7]] = 0
    given = x if kind == "array" else files.write(kind, tmp_path, x)
    for _ in range(2):
        source = data.open_source(given)
        for _ in range(2):
            assert_array_equal(data.find_zero_rows(source, progress=False), [3, 7])
    assert len(passes) == 1

    x[3] = np.nan
    source = data.open_source(x if kind == "array" else files.write(kind, tmp_path, x))
    with pytest.raises(InputError, match="row 3 "):
        data.find_zero_rows(source)


def test_large_arrays_are_looked_at_again(passes, monkeypatch):
    """Only a part of them is hashed, and no time tells that they were touched."""
    monkeypatch.setattr(identity, "WHOLE", 10)
    x = np.ones((30, 400), np.float32)
    for _ in range(2):
        source = data.open_source(x)
        assert len(data.find_zero_rows(source)) == len(data.find_zero_rows(source)) == 0
    assert len(passes) == 2


@pytest.mark.parametrize("kind", ["npz, deflated", "parquet, fixed-size lists"])
def test_a_copy_in_memory_is_held_once(kind, passes, tmp_path, monkeypatch):
    checked._seen.clear()
    monkeypatch.setattr(sources, "PIECE_BYTES", 2**18)
    monkeypatch.setattr(identity, "PIECE", 2**18)
    monkeypatch.setattr(parquet, "_PIECE_BYTES", 2**18)
    x = np.random.default_rng(1).standard_normal((2**14, 64)).astype(np.float32)  # 4 MiB
    path = tmp_path / files.write(kind, tmp_path, x)
    source = data.open_source(path)
    tracemalloc.start()
    copy = data.in_memory(source, progress=False)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1.5 * x.nbytes
    assert copy.random_access
    assert_array_equal(copy.read(0, len(x)), x)
    data.find_zero_rows(source)
    data.find_zero_rows(copy)
    staged = data.stage(source, tmp_path / "staged.npy")
    data.find_zero_rows(data.open_source(staged.name))
    assert len(passes) == 2
