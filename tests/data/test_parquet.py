import subprocess
import sys

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from data import files
from numpy.testing import assert_array_equal

from compressae_jax import data
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
    assert data.open_source(tmp_path, ids_column="id").ids is None


def test_ids_that_are_none(tmp_path):
    names = ["a", None, *"cdefghijk"]
    path = write(tmp_path / "x.parquet", {"v": list(X), "name": names, "price": X[:, 0]})
    for column, message in (
        ("name", "1 empty values"),
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
    assert "pip install 'compressae_jax[parquet]'" in done.stdout
