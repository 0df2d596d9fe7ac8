import io
import subprocess
import sys

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from data import files
from numpy.testing import assert_array_equal

from compressae_jax import data
from compressae_jax.data import opened
from compressae_jax.notation import InputError

X = np.random.default_rng(0).standard_normal((11, 5)).astype(np.float32)


def write(path, columns):
    pyarrow.parquet.write_table(pyarrow.table(columns), path, row_group_size=4)
    return path


def test_ids_of_strings_and_of_numbers(tmp_path):
    one, two = tmp_path / "a.parquet", tmp_path / "b.parquet"
    files.parquet_lists(one, X)
    files.parquet_fixed(two, X)
    assert data.open_source(one).ids is None
    assert_array_equal(data.open_source(one, ids_column="id").ids, [f"row-{i}" for i in range(11)])
    assert_array_equal(data.open_source(two, ids_column="id").ids, np.arange(11))


def test_ids_of_a_folder(tmp_path):
    files.parquet_fixed(tmp_path / "part-2.parquet", X[:4])
    files.parquet_fixed(tmp_path / "part-10.parquet", X[4:])
    assert_array_equal(data.open_source(tmp_path, ids_column="id").ids, [*range(4), *range(7)])
    files.npy(tmp_path / "part-11.npy", X)
    with pytest.raises(InputError, match=r"part-11\.npy has no ids, but ids_column='id' was given"):
        data.open_source(tmp_path, ids_column="id")


def test_text_ids_of_a_folder(tmp_path):
    for number, part in enumerate((X[:4], X[4:4], X[4:])):
        files.parquet_lists(tmp_path / f"{number}.parquet", part, rows=3)
    source = data.open_source(tmp_path, ids_column="id")
    assert list(source.ids) == [f"row-{i}" for i in (*range(4), *range(7))]
    assert source.ids is source.ids  # joined once, however often a job asks for some
    assert list(source.ids[np.array([10, 0, 4])]) == ["row-6", "row-0", "row-0"]


def test_ids_of_two_kinds(tmp_path):
    files.parquet_lists(tmp_path / "a.parquet", X)
    files.parquet_fixed(tmp_path / "b.parquet", X)
    with pytest.raises(InputError, match=r"ids must be of one kind: .*a\.parquet has texts, .*b\.parquet integers"):
        _ = data.open_source(tmp_path, ids_column="id").ids


def test_one_long_id_costs_itself(tmp_path):
    names = ["a" * 10**6, *"bcdefghijk"]
    path = write(tmp_path / "x.parquet", {"v": list(X), "name": names})
    ids = data.open_source(path, ids_column="name").ids
    assert list(ids) == names and ids.nbytes < 1.1 * 10**6


def test_ids_that_are_no_text(tmp_path):
    names = pyarrow.array([b"\xff"] * 11, pyarrow.binary()).view(pyarrow.string())
    path = write(tmp_path / "x.parquet", {"v": list(X), "name": names})
    with pytest.raises(InputError, match=r"x\.parquet.*UTF"):
        _ = data.open_source(path, ids_column="name").ids


def test_files_whose_columns_have_unlike_names(tmp_path):
    write(tmp_path / "a.parquet", {"text_embedding": list(X)})
    write(tmp_path / "b.parquet", {"title_embedding": list(X)})
    with pytest.raises(InputError, match=r"'text_embedding' in .*a\.parquet, 'title_embedding' in .*b\.parquet"):
        data.open_source(tmp_path)


def test_ids_that_are_none(tmp_path):
    names = ["a", None, *"cdefghijk"]
    path = write(tmp_path / "x.parquet", {"v": list(X), "name": names, "price": X[:, 0]})
    for column, message in (
        ("name", "empty values"),
        ("price", "must hold ints or strs"),
        ("nam", "did you mean 'name'"),
    ):
        with pytest.raises(InputError, match=message):
            _ = data.open_source(path, ids_column=column).ids


def test_a_column_of_several(tmp_path):
    path = write(tmp_path / "x.parquet", {"one": list(X), "two": list(-X), "words": [["a"]] * 11})
    assert_array_equal(data.open_source(path, column="two").read(0, 11), -X)
    for column, message in (
        (None, r"2 columns of float lists \(one, two\); give the wanted one as column"),
        ("words", "must hold lists of floats"),
        ("tow", "did you mean 'two'"),
    ):
        with pytest.raises(InputError, match=message):
            data.open_source(path, column=column)


def test_no_column(tmp_path):
    path = write(tmp_path / "x.parquet", {"words": ["a"]})
    with pytest.raises(InputError, match=r"0 columns of float lists \(only words\)"):
        data.open_source(path)


@pytest.mark.parametrize("fixed", [False, True])
@pytest.mark.parametrize(
    ("row", "message"),
    [(None, "row 6 is empty"), ([1.0, 2, None, 4, 5], "row 6 has an empty value"), ([1.0], "row 6 has width 1, .* 5")],
)
def test_a_row_that_is_no_vector(row, message, fixed, tmp_path):
    if fixed and row == [1.0]:
        return  # pyarrow itself refuses to write it
    lists = [*X[:6].tolist(), row, *X[7:].tolist()]
    kind = pyarrow.list_(pyarrow.float32(), 5) if fixed else pyarrow.large_list(pyarrow.float32())
    source = data.open_source(write(tmp_path / "x.parquet", {"v": pyarrow.array(lists, kind)}))
    with pytest.raises(InputError, match=rf"x\.parquet: {message}"):
        list(source.batches(3))


def test_the_extra_is_named_where_pyarrow_is_not(tmp_path):
    files.parquet_lists(tmp_path / "x.parquet", X)
    program = (
        "import sys; sys.modules['pyarrow'] = None\n"
        "from compressae_jax import data\n"
        f"try: data.open_source({str(tmp_path / 'x.parquet')!r})\n"
        "except ValueError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "pip install pyarrow" in done.stdout


def lists(rows, kind=None):
    return pyarrow.array([None if row is None else list(map(float, row)) for row in rows], kind or LISTS)


LISTS = pyarrow.list_(pyarrow.float32())


def test_a_first_row_that_is_empty(tmp_path):
    source = data.open_source(write(tmp_path / "x.parquet", {"v": lists([None, *X])}))
    with pytest.raises(InputError, match="row 0 is empty, the first row has 5"):
        list(source.batches(3))
    with pytest.raises(InputError, match="row 0 is empty, as are all others"):
        data.open_source(write(tmp_path / "y.parquet", {"v": lists([None, None])}))


def test_tensors_of_a_fixed_shape(tmp_path):
    kind = pyarrow.fixed_shape_tensor(pyarrow.float32(), [5])
    tensors = pyarrow.ExtensionArray.from_storage(kind, lists(X, pyarrow.list_(pyarrow.float32(), 5)))
    source = data.open_source(write(tmp_path / "x.parquet", {"v": tensors}))
    assert_array_equal(source.read(0, 11), X)


def test_lists_of_others(tmp_path):
    small = pyarrow.array([[1, 2]] * 3, pyarrow.list_(pyarrow.int16()))
    path = write(tmp_path / "x.parquet", {"v": small, "id": ["a"] * 3})
    with pytest.raises(InputError, match=r"no column of float lists, only lists of others \(v of int16\)"):
        data.open_source(path)
    with pytest.raises(InputError, match=r"column 'v' .* must hold lists of floats, int8 or uint8, not list<.*int16"):
        data.open_source(path, column="v")


@pytest.mark.parametrize("kind", [pyarrow.uint64(), pyarrow.uint8(), pyarrow.int32()])
def test_ids_of_all_integers(kind, tmp_path):
    path = write(tmp_path / "x.parquet", {"v": list(X), "id": pyarrow.array(range(11), kind)})
    ids = data.open_source(path, ids_column="id").ids
    assert ids.dtype == np.int64
    assert_array_equal(ids, np.arange(11))


def test_an_id_that_is_too_large(tmp_path):
    path = write(tmp_path / "x.parquet", {"v": list(X), "id": np.array([2**63] * 11, np.uint64)})
    with pytest.raises(InputError, match=f"has {2**63}, wanted at most {2**63 - 1}"):
        _ = data.open_source(path, ids_column="id").ids


def test_ids_of_a_dictionary(tmp_path):
    names = pyarrow.array(["a", "b"] * 5 + ["a"]).dictionary_encode()
    path = write(tmp_path / "x.parquet", {"v": list(X), "id": names})
    assert list(data.open_source(path, ids_column="id").ids) == ["a", "b"] * 5 + ["a"]


@pytest.mark.parametrize("kind", [pyarrow.string(), pyarrow.large_string(), "dictionary"])
def test_ids_that_are_not_utf8(kind, tmp_path):
    ids = pyarrow.array([b"a", b"\xff\xfe"] * 5 + [b"c"]).view(pyarrow.string())
    ids = ids.dictionary_encode() if kind == "dictionary" else ids.cast(kind)
    path = write(tmp_path / "x.parquet", {"v": list(X), "id": ids})
    with pytest.raises(InputError, match="Invalid UTF8" if kind == "dictionary" else "'id' must hold UTF-8"):
        _ = data.open_source(path, ids_column="id").ids


@pytest.mark.parametrize("error", [OSError(5, "Input/output error"), OSError(116, "Stale file handle")])
@pytest.mark.parametrize("after", [0, 3, 6])  # reads that go well: while it is opened, while its rows are read
def test_an_error_of_the_system_stays_one(error, after, tmp_path, monkeypatch):
    path = write(tmp_path / "x.parquet", {"v": list(X)})
    calls = []

    class Failing(io.BufferedReader):
        def read(self, size=-1):
            calls.append(size)
            if len(calls) > after:
                raise error
            return super().read(size)

    monkeypatch.setattr(opened.File, "open", lambda self: Failing(io.FileIO(self.path)))
    with pytest.raises(OSError, match=error.strerror):
        list(data.open_source(path).batches(4))


@pytest.mark.parametrize("dictionary", [False, True])
def test_much_in_little_takes_small_pieces(dictionary, tmp_path):
    """128 MB of zeros in a file of a few KB."""
    flat = pyarrow.array(np.zeros(2**25, np.float32))
    table = pyarrow.table({"v": pyarrow.FixedSizeListArray.from_arrays(flat, 256)})
    path = tmp_path / "x.parquet"
    pyarrow.parquet.write_table(table, path, compression="zstd", row_group_size=2**20, use_dictionary=dictionary)
    del flat, table
    assert path.stat().st_size < 2**17
    before, pool = pyarrow.default_memory_pool(), pyarrow.proxy_memory_pool(pyarrow.default_memory_pool())
    pyarrow.set_memory_pool(pool)
    try:
        assert sum(len(block) for _, block in data.open_source(path).batches(1000)) == 2**17
    finally:
        pyarrow.set_memory_pool(before)
    assert pool.max_memory() < 2**25
