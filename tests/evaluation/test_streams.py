import numpy as np
import pytest
from evaluation import small
from numpy.testing import assert_array_equal

from compressae_jax import data
from compressae_jax.evaluation import streams
from compressae_jax.notation import InputError

N, D = 23, 5


@pytest.fixture(params=["npy", "parquet"])
def source(request, tmp_path):
    """One that gives rows by number, and one that only streams."""
    rows = small.vectors(N, D)
    if request.param == "npy":
        np.save(tmp_path / "rows.npy", rows)
        return data.open_source(tmp_path / "rows.npy")
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    parquet.write_table(pyarrow.table({"vector": list(rows)}), tmp_path / "rows.parquet", row_group_size=4)
    return data.open_source(tmp_path / "rows.parquet")


@pytest.mark.parametrize("left_out", [[], [0], [3, 4, 5, 6, 22], list(range(N))])
def test_pieces_are_all_other_rows_in_order(source, left_out, monkeypatch):
    monkeypatch.setattr(streams, "PIECE_BYTES", 3 * 4 * D)  # three rows at a time
    rows, vectors = zip(*streams.pieces(source, np.array(left_out, np.int64)), strict=True)
    kept = np.setdiff1d(np.arange(N), left_out)
    assert_array_equal(np.concatenate(rows), kept)
    assert_array_equal(np.concatenate(vectors), small.vectors(N, D)[kept])


def test_take_in_any_order(source, monkeypatch):
    monkeypatch.setattr(streams, "PIECE_BYTES", 3 * 4 * D)
    rows = np.array([22, 0, 8, 7, 7, 3])
    assert_array_equal(streams.take(source, rows), small.vectors(N, D)[rows])
    assert streams.take(source, rows[:0]).shape == (0, D)


@pytest.mark.parametrize("row", [-1, N])
def test_take_refuses_other_rows(source, row):
    with pytest.raises(InputError, match=rf"rows must lie in 0\.\.{N - 1} "):
        streams.take(source, np.array([1, row]))
