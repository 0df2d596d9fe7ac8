import numpy as np
import pytest
from data import files
from numpy.testing import assert_array_equal
from safetensors.numpy import save_file

from compressae_jax import data
from compressae_jax.notation import InputError

X = np.random.default_rng(0).standard_normal((4, 3)).astype(np.float32)


def test_a_key_picks_one_of_several(tmp_path):
    path = tmp_path / "x.safetensors"
    save_file({"one": X, "two": -X, "steps": np.arange(6).reshape(2, 3), "bias": X[0]}, path, {"format": "pt"})
    assert_array_equal(data.open_source(path, key="two").read(0, 4), -X)
    for key, message in (
        (None, r"holds 3 2-d tensors \(.*\); give the wanted one as key"),
        ("twoo", "did you mean 'two'"),
        ("steps", "must hold F16, F32, F64, BF16, I8, U8, not I64"),
        ("bias", "must be 2-d"),
    ):
        with pytest.raises(InputError, match=message):
            data.open_source(path, key=key)


def tensor(shape=(4, 3), start=0, stop=48, dtype="F32"):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [start, stop]}


@pytest.mark.parametrize(
    "header",
    [
        {"x": tensor((4, 4))},  # more than its bytes
        {"x": tensor((2**62, 2**62))},
        {"x": tensor((-4, -3))},
        {"x": tensor(start=-48, stop=0)},
        {"x": tensor((4, 2), 16, 48)},  # a hole before it
        {"x": tensor((3, 3), 0, 36)},  # bytes after it
        {"x": tensor(), "y": tensor((2, 3), 0, 24)},  # overlapping
        {"x": tensor(dtype="FF")},
        {"x": [1, 2]},
        [1, 2],
        {"x": {"dtype": "F32"}},
    ],
)
def test_a_header_that_lies(header, tmp_path):
    path = tmp_path / "x.safetensors"
    path.write_bytes(files.safetensors_bytes({"x": tensor()}, X.tobytes()))
    assert_array_equal(data.open_source(path).read(0, 4), X)
    path.write_bytes(files.safetensors_bytes(header, X.tobytes()))
    with pytest.raises(InputError, match=r"x\.safetensors (is damaged|has 1\d\d bytes)"):
        data.open_source(path)


def test_a_header_longer_than_the_file(tmp_path):
    path = tmp_path / "x.safetensors"
    path.write_bytes((2**63).to_bytes(8, "little") + b"{}")
    with pytest.raises(InputError, match="a header of 9223372036854775808 bytes in a file of 10"):
        data.open_source(path)
