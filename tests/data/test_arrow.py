import json

import numpy as np
import pyarrow
import pytest
from data import files
from numpy.testing import assert_array_equal
from pyarrow import ipc

from compressae_jax import data
from compressae_jax.data import opened
from compressae_jax.notation import InputError

X = np.random.default_rng(0).standard_normal((11, 5)).astype(np.float32)
NAMES = [f"row-{i}" for i in range(11)]
KINDS = ["arrow, stream", "arrow, file", "feather, compressed"]


@pytest.mark.parametrize("kind", KINDS)
def test_ids(kind, tmp_path):
    path = files.write(kind, tmp_path, X)
    source = data.open_source(path, ids_column="id")
    assert list(source.ids) == NAMES and source.random_access == ("compressed" not in kind)
    assert data.open_source(path).ids is None
    assert source.identity()["sample"] != data.open_source(path).identity()["sample"]
    with pytest.raises(InputError, match="did you mean 'id'"):
        data.open_source(path, ids_column="ids")


def write(path, lists, chunks=2):
    table = pyarrow.table({"v": lists, "other": range(len(lists))})
    with pyarrow.OSFile(str(path), "wb") as file, ipc.new_stream(file, table.schema) as writer:
        writer.write_table(table, max_chunksize=chunks)
    return path


def test_all_kinds_of_lists(tmp_path):
    fixed = pyarrow.array(X.tolist(), pyarrow.list_(pyarrow.float32(), 5))
    tensors = pyarrow.ExtensionArray.from_storage(pyarrow.fixed_shape_tensor(pyarrow.float32(), [5]), fixed)
    for lists in (fixed, tensors, pyarrow.array(X.tolist(), pyarrow.large_list(pyarrow.float64()))):
        source = data.open_source(write(tmp_path / "x.arrow", lists))
        assert_array_equal(source.read(0, 11), X)
        assert_array_equal(source.take(np.array([10, 0, 3])), X[[10, 0, 3]])


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([[1.0, 2.0], [3.0], [1.0, 2.0]], "row 1 has width 1, the first row has 2"),
        ([[1.0, 2.0], [1.0, 2.0], None], "row 2 is empty"),
        ([[1.0, 2.0], [1.0, None]], "row 1 has an empty value"),
        ([], "is empty"),
        ([None], "row 0 is empty"),
    ],
)
def test_rows_that_are_none(values, message, tmp_path):
    path = write(tmp_path / "x.arrow", pyarrow.array(values, pyarrow.list_(pyarrow.float32())))
    for read in (lambda source: source.read(0, len(values)), lambda source: source.take(np.arange(len(values)))):
        with pytest.raises(InputError, match=message):
            read(data.open_source(path))


def test_a_stream_that_was_cut_between_two_batches(tmp_path):
    path = files.write("arrow, stream", tmp_path, X)
    content = path.read_bytes()
    with pyarrow.OSFile(str(path)) as file:
        reader = ipc.open_stream(file)
        reader.read_next_batch()
        place = file.tell()
    path.write_bytes(content[:place])
    with pytest.raises(InputError, match="is truncated"):
        data.open_source(path)


def test_offsets_that_lead_outside(tmp_path):
    path = write(tmp_path / "x.arrow", pyarrow.array(X.tolist(), pyarrow.list_(pyarrow.float32())), 11)
    content = path.read_bytes()
    offsets = np.arange(0, 60, 5, dtype=np.int32).tobytes()
    assert content.count(offsets) == 1
    path.write_bytes(content.replace(offsets, np.arange(0, 60 * 10**6, 5 * 10**6, dtype=np.int32).tobytes()))
    source = None
    with pytest.raises(InputError, match=r"x\.arrow"):
        source = data.open_source(path)
        source.read(0, 11)
    if source is not None:
        with pytest.raises(InputError, match=r"x\.arrow"):
            source.take(np.array([10]))


def test_a_map_is_parsed_once_and_closed(tmp_path, monkeypatch):
    monkeypatch.setattr(opened, "_most", lambda: 2)
    for number in range(9):
        files.write("arrow, stream", tmp_path, X[number : number + 1], str(number))
    source = data.open_source(tmp_path)
    rows = np.random.default_rng(0).integers(0, 9, 50)
    for _ in range(2):
        assert_array_equal(source.take(rows), X[rows])


def test_a_compressed_file_is_decoded_batch_by_batch(tmp_path):
    x = np.random.default_rng(0).standard_normal((4000, 64)).astype(np.float32)
    table = pyarrow.table({"v": list(x)})
    options = ipc.IpcWriteOptions(compression="lz4")
    with ipc.new_file(str(tmp_path / "x.arrow"), table.schema, options=options) as writer:
        writer.write_table(table, max_chunksize=100)
    source = data.open_source(tmp_path / "x.arrow")
    del table
    before, most = pyarrow.total_allocated_bytes(), 0
    for first, block in source.batches(500):
        assert_array_equal(block, x[first : first + 500])
        most = max(most, pyarrow.total_allocated_bytes() - before)
    assert most < x.nbytes / 8 and source.kind == "arrow, compressed"


def test_feather_of_version_1(tmp_path):
    (tmp_path / "x.feather").write_bytes(b"FEA1" + bytes(40))
    with pytest.raises(InputError, match="is Feather of version 1"):
        data.open_source(tmp_path / "x.feather")


class TestSaved:
    """Folders that `save_to_disk` writes."""

    def saved(self, folder):
        datasets = pytest.importorskip("datasets")
        given = datasets.Dataset.from_dict({"v": X.tolist(), "id": NAMES})
        given = given.cast_column("v", datasets.List(datasets.Value("float32")))
        given.save_to_disk(folder, num_shards=3)
        return given

    def test_a_dataset(self, tmp_path):
        self.saved(tmp_path / "saved")
        files.write("arrow, stream", tmp_path / "saved", X, "cache-0123456789abcdef")
        source = data.open_source(tmp_path / "saved", ids_column="id")
        assert_array_equal(source.read(0, 11), X)
        assert_array_equal(source.take(np.array([10, 0])), X[[10, 0]])
        assert list(source.ids) == NAMES
        alone = data.open_source(tmp_path / "saved" / "data-00001-of-00003.arrow")
        assert_array_equal(alone.read(0, len(alone)), X[4 : 4 + len(alone)])

    def test_splits(self, tmp_path):
        datasets = pytest.importorskip("datasets")
        datasets.DatasetDict({"train": self.saved(tmp_path / "one")}).save_to_disk(tmp_path / "both")
        with pytest.raises(InputError, match=r"is a saved DatasetDict; give one of its splits: '.*both/train'"):
            data.open_source(tmp_path / "both")
        assert len(data.open_source(tmp_path / "both" / "train")) == 11

    @pytest.mark.parametrize(
        ("state", "message"),
        [
            ("{", "is damaged"),
            ("[]", "is damaged"),
            ("{}", "names no files"),
            ('{"_data_files": [{"filename": "../x.arrow"}]}', "names no files"),
            ('{"_data_files": [{"filename": 3}]}', "names no files"),
            ('{"_data_files": [{"filename": "x.arrow"}], "_indices_data_files": [{}]}', "flatten_indices"),
            ('{"_data_files": [{"filename": "gone.arrow"}]}', "is not a file"),
        ],
    )
    def test_damage(self, state, message, tmp_path):
        (tmp_path / "in").mkdir()
        files.write("arrow, stream", tmp_path, X)
        files.write("arrow, stream", tmp_path / "in", X)
        (tmp_path / "in" / "state.json").write_text(state)
        with pytest.raises(InputError, match=message):
            data.open_source(tmp_path / "in")
        (tmp_path / "in" / "state.json").write_text(json.dumps({"_data_files": [{"filename": "x.arrow"}]}))
        assert len(data.open_source(tmp_path / "in")) == 11


def test_a_column_without_a_name(tmp_path):
    lists = pyarrow.array(X.tolist(), pyarrow.list_(pyarrow.float32()))
    with ipc.new_file(str(tmp_path / "x.arrow"), pyarrow.schema([("", lists.type)])) as writer:
        writer.write_table(pyarrow.table({"": lists}))
    source = data.open_source(tmp_path / "x.arrow")
    assert_array_equal(source.take(np.array([10, 0])), X[[10, 0]])
