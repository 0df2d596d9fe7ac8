import sys

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from compressae_jax import data
from compressae_jax.notation import InputError

h5py = pytest.importorskip("h5py")
X = np.random.default_rng(0).standard_normal((11, 5)).astype(np.float32)
NAMES = [f"é{i}" for i in range(11)]


@pytest.fixture
def file(tmp_path):
    """An open file that is written to, and its path."""
    with h5py.File(tmp_path / "x.hdf5", "w") as opened:
        yield opened, tmp_path / "x.hdf5"


def closed(file):
    file[0].close()
    return file[1]


def test_files_of_ann_benchmarks(file):
    for name, x in (("train", X), ("test", -X), ("distances", X), ("neighbors", np.zeros((11, 5), np.int32))):
        file[0][name] = x
    file[0].attrs["distance"] = "angular"
    path = closed(file)
    assert_array_equal(data.open_source(path, key="train").read(0, 11), X)
    queries = data.open_source(path, key="test")
    assert_array_equal(queries.take(np.array([3, 0])), -X[[3, 0]])
    for key, message in (
        (None, r"holds 4 2-d datasets \(.*train.*\); give the wanted one as key"),
        ("trian", "did you mean 'train'"),
        ("neighbors", "must hold float16, .*not int32"),
    ):
        with pytest.raises(InputError, match=message):
            data.open_source(path, key=key)


@pytest.mark.parametrize("chunks", [None, (1, 5), (4, 2), (11, 5), (3, 5)])
def test_chunks_of_any_shape(chunks, file):
    file[0].create_dataset("deep/in/v", data=X, chunks=chunks, compression=chunks and "gzip", shuffle=bool(chunks))
    source = data.open_source(closed(file), key="/deep/in/v")
    assert source.random_access == (chunks is None)
    for start in (0, 3, 10, 11):
        assert_array_equal(source.read(start, 11), X[start:])
    assert_array_equal(np.concatenate([block for _, block in source.batches(2, start=5)]), X[5:])


def test_small_pieces_are_whole_chunks(file, monkeypatch):
    from compressae_jax.data import sources

    file[0].create_dataset("v", data=X, chunks=(3, 5))
    monkeypatch.setattr(sources, "PIECE_BYTES", 4 * 5 * 4)  # four rows
    source = data.open_source(closed(file))
    assert [len(piece) for piece in source.pieces(1)] == [2, 3, 3, 2]
    assert_array_equal(source.read(1, 11), X[1:])


@pytest.mark.parametrize("names", [NAMES, np.arange(11) * 3, np.array([name.encode() for name in NAMES])])
def test_ids(names, file):
    file[0]["v"], file[0]["id"] = X, names  # texts of any length, integers, bytes of one length
    source = data.open_source(closed(file), ids_key="id")
    assert list(source.ids) == [name.decode() if isinstance(name, bytes) else name for name in names]


def test_a_scale_as_attribute_or_dataset(file):
    q = (X * 40).astype(np.int8)
    file[0]["v"], file[0]["scale"] = q, np.linspace(1, 2, 11).astype(np.float32)
    file[0].flush()
    path = file[1]
    assert_array_equal(data.open_source(path).read(0, 11), q * np.linspace(1, 2, 11).astype(np.float32)[:, None])
    file[0]["v"].attrs["scale"] = 0.5
    source = data.open_source(closed(file))
    assert_array_equal(source.read(0, 11), 0.5 * q)
    assert_array_equal(source.take(np.array([4])), 0.5 * q[[4]])


def test_numbers_that_lie_in_other_files(file, tmp_path):
    with h5py.File(tmp_path / "other.h5", "w") as other:
        other["v"] = X
    X.tofile(tmp_path / "raw")
    opened = file[0]
    opened.create_dataset("raw", (11, 5), "f4", external=[(str(tmp_path / "raw"), 0, X.nbytes)])
    layout = h5py.VirtualLayout((11, 5), "f4")
    layout[:] = h5py.VirtualSource(str(tmp_path / "other.h5"), "v", (11, 5))
    opened.create_virtual_dataset("virtual", layout)
    opened["linked"] = h5py.ExternalLink(str(tmp_path / "other.h5"), "v")
    path = closed(file)
    for key in ("raw", "virtual"):
        with pytest.raises(InputError, match="keeps its numbers in other files"):
            data.open_source(path, key=key)
    with pytest.raises(InputError, match="must be one of 'raw', 'virtual'"):
        data.open_source(path, key="linked")


@pytest.mark.parametrize(
    "value", [np.array([["a"]], "S1"), np.ones((2, 2), complex), np.ones(3, np.float32), np.ones((2, 2, 2))]
)
def test_datasets_that_are_no_vectors(value, file):
    file[0]["v"] = value
    with pytest.raises(InputError, match=r"must|holds 0"):
        data.open_source(closed(file), key="v")


def test_a_dataset_that_was_never_filled(file):
    file[0].create_dataset("v", (11, 5), "f4")
    assert not data.open_source(closed(file)).read(0, 11).any()


def test_nothing_in_it(file):
    file[0].create_group("empty")
    with pytest.raises(InputError, match="holds no dataset"):
        data.open_source(closed(file))


def test_without_the_library(file, monkeypatch):
    file[0]["v"] = X
    path = closed(file)
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(InputError, match=r"\.hdf5 needs h5py: pip install h5py"):
        data.open_source(path)
