import numpy as np
import pytest
from data import files
from numpy.testing import assert_array_equal

from compressae_jax import data
from compressae_jax.notation import InputError

X = np.random.default_rng(0).standard_normal((11, 5)).astype(np.float32)


def test_every_row_tells_its_width(tmp_path):
    path = files.write("fvecs", tmp_path, X)
    table = np.fromfile(path, np.int32).reshape(11, 6)
    table[8, 0] = 4
    table.tofile(path)
    source = data.open_source(path)
    assert_array_equal(source.read(0, 8), X[:8])
    for reading in (lambda: source.read(6, 9), lambda: source.take(np.array([8])), lambda: list(source.batches(5))):
        with pytest.raises(InputError, match=r"x\.fvecs: row 8 has width 4, the first row 5"):
            reading()


@pytest.mark.parametrize("width", [0, -1, 4, 2**31 - 1])
def test_a_first_row_that_lies(width, tmp_path):
    path = files.write("fvecs", tmp_path, X)
    path.write_bytes(np.int32(width).tobytes() + path.read_bytes()[4:])
    with pytest.raises(InputError, match=f"width {width}"):
        data.open_source(path)
