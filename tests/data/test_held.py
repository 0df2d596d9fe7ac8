"""What people hold vectors in: the same rows and ids whatever it is."""

import sys

import numpy as np
import pyarrow
import pytest
from numpy.testing import assert_array_equal

from compressae_jax import data
from compressae_jax.notation import InputError

pandas, polars = pytest.importorskip("pandas"), pytest.importorskip("polars")
X = np.random.default_rng(0).standard_normal((11, 5)).astype(np.float32)
NAMES = [f"é{i}" for i in range(11)]
LISTS = pyarrow.list_(pyarrow.float32())


def dataset(columns=None):
    datasets = pytest.importorskip("datasets")
    features = {"v": datasets.List(datasets.Value("float32")), "id": datasets.Value("string")}
    return datasets.Dataset.from_dict(columns or {"v": X.tolist(), "id": NAMES}, datasets.Features(features))


def arrow(kind=LISTS):
    chunks = [pyarrow.array(X[a:b].tolist(), kind) for a, b in ((0, 4), (4, 4), (4, 11))]
    return pyarrow.table({"v": pyarrow.chunked_array(chunks), "id": NAMES, "n": range(11)})


def tensors():
    fixed = pyarrow.array(X.tolist(), pyarrow.list_(pyarrow.float32(), 5))
    held = pyarrow.ExtensionArray.from_storage(pyarrow.fixed_shape_tensor(pyarrow.float32(), [5]), fixed)
    return pyarrow.table({"v": held, "id": NAMES})


def frame(rows):
    return pandas.DataFrame({"id": NAMES, "n": range(11), "v": rows})


def polars_frame(kind):
    return polars.DataFrame({"v": X.tolist(), "id": NAMES}, schema={"v": kind, "id": polars.String})


def selected():
    return dataset({"v": [*X[::-1].tolist(), [0.0]], "id": [*NAMES[::-1], "x"]}).select(range(10, -1, -1))


TABLES = {
    "pandas, arrays": lambda: frame(list(X)),
    "pandas, lists": lambda: frame(X.astype(np.float64).tolist()),
    "pandas, Arrow's lists": lambda: frame(pandas.Series(X.tolist(), dtype=pandas.ArrowDtype(LISTS))),
    "pandas, filtered": lambda: frame(list(X)).set_index(np.arange(11) % 3),
    "polars, lists": lambda: polars_frame(polars.List(polars.Float32)),
    "polars, arrays": lambda: polars_frame(polars.Array(polars.Float64, 5)),
    "polars, chunks": lambda: polars.concat(
        [polars_frame(polars.List(polars.Float32))[a:b] for a, b in ((0, 4), (4, 11))], rechunk=False
    ),
    "arrow": arrow,
    "arrow, large lists": lambda: arrow(pyarrow.large_list(pyarrow.float64())),
    "arrow, fixed size": lambda: arrow(pyarrow.list_(pyarrow.float32(), 5)),
    "arrow, sliced": lambda: pyarrow.concat_tables([arrow(), arrow()]).slice(11),
    "arrow, batch": lambda: arrow().combine_chunks().to_batches()[0],
    "arrow, tensors": tensors,
    "datasets": dataset,
    "datasets, selected": selected,
    "datasets, as torch": lambda: pytest.importorskip("torch") and dataset().with_format("torch"),
}
COLUMNS = {
    "pandas": lambda: frame(list(X))["v"],
    "polars": lambda: polars_frame(polars.List(polars.Float32))["v"],
    "polars, array": lambda: polars_frame(polars.Array(polars.Float32, 5))["v"],
    "arrow": lambda: arrow()["v"],
    "arrow, one": lambda: arrow()["v"].chunk(2),
    "datasets": lambda: dataset()["v"],
}
FLOATS = {
    "pandas": lambda: pandas.DataFrame(X),
    "pandas, nullable": lambda: pandas.DataFrame(X.astype(np.float64)).convert_dtypes(),
    "polars": lambda: polars.DataFrame(X, schema=list("abcde")),
    "arrow": lambda: pyarrow.table(dict(zip("abcde", X.T, strict=True))),
    "datasets, as a list": lambda: list(dataset()["v"]),
}


def same(source, x=X):
    n = len(x)
    assert (len(source), source.width) == (n, 5) and source.random_access
    assert_array_equal(source.read(3, n), x[3:])
    assert_array_equal(source.read(2, 2), x[2:2])
    some = np.array([n - 1, 0, n - 1, n // 2])
    assert_array_equal(source.take(some), x[some])
    assert_array_equal(source.take(some[:0]), x[:0])
    assert_array_equal(np.concatenate([block for _, block in source.batches(4, start=1)]), x[1:])


@pytest.mark.parametrize("made", TABLES.values(), ids=TABLES)
def test_tables(made):
    held = made()
    source = data.open_source(held, ids_column="id")
    same(source)
    assert list(source.ids) == NAMES and data.open_source(held).ids is None
    same(data.open_source(held, column="v"))
    assert list(data.open_source(held, ids=NAMES[::-1]).ids) == NAMES[::-1]
    with pytest.raises(InputError, match="did you mean 'id'"):
        data.open_source(held, ids_column="ids")
    with pytest.raises(InputError, match=r"column 'id' .* must hold"):
        data.open_source(held, column="id")
    with pytest.raises(InputError, match="key is for"):
        data.open_source(held, key="v")


@pytest.mark.parametrize("made", COLUMNS.values(), ids=COLUMNS)
def test_columns(made):
    held = made()
    same(data.open_source(held), X[4:] if len(held) == 7 else X)
    assert_array_equal(data.at_hand("queries", held), X[4:] if len(held) == 7 else X)
    with pytest.raises(InputError, match="are for"):
        data.open_source(held, column="v")


@pytest.mark.parametrize("made", FLOATS.values(), ids=FLOATS)
def test_columns_of_floats_side_by_side(made):
    same(data.open_source(made()))


def test_floats_beside_ids():
    held = pandas.DataFrame(X)
    held["id"] = NAMES
    texts = held.rename(columns=str)
    for given in (held, polars.from_pandas(texts), pyarrow.Table.from_pandas(texts)):
        source = data.open_source(given, ids_column="id")
        same(source)
        assert list(source.ids) == NAMES
        with pytest.raises(InputError, match="0 columns of"):
            data.open_source(given)
    held["id"] = range(11)  # an integer beside floats is no dimension
    with pytest.raises(InputError, match="0 columns of"):
        data.open_source(held)


def test_the_index_of_pandas_is_taken_when_it_is_named():
    held = frame(list(X)).set_index("id")
    assert data.open_source(held).ids is None
    assert list(data.open_source(held, ids_column="id").ids) == NAMES
    assert_array_equal(data.open_source(held, ids_column="n").ids, np.arange(11))


@pytest.mark.parametrize("made", TABLES.values(), ids=TABLES)
def test_rows_tell_tables_apart(made):
    first, again = (data.open_source(made()).identity()["sample"] for _ in range(2))
    assert first == again
    held = data.open_source(pandas.DataFrame({"v": list(X[::-1])}))
    assert held.identity()["sample"] != first


def lists(values):
    """The same column by every library."""
    return {
        "pandas": pandas.DataFrame({"v": pandas.Series(values, dtype=object)}),
        "polars": polars.DataFrame({"v": values}, schema={"v": polars.List(polars.Float32)}),
        "arrow": pyarrow.table({"v": pyarrow.array(values, LISTS)}),
    }


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([[1.0, 2.0], [3.0], [1.0, 2.0]], "row 1 has width 1, the first row has 2"),
        ([[1.0, 2.0], None, [1.0, 2.0]], "row 1 .*is empty"),
        ([[1.0, 2.0], [None, 1.0], [1.0, 2.0]], "row 1 has .*(empty value|not a finite)"),
        ([None, None, None], "is empty|0 columns|no column"),
        ([], "is empty"),
    ],
)
@pytest.mark.parametrize("library", ["pandas", "polars", "arrow"])
def test_rows_that_are_none(values, message, library):
    with pytest.raises(InputError, match=message):
        source = data.open_source(lists(values)[library])
        for _ in source.batches(2):
            pass


@pytest.mark.parametrize(
    "held",
    [
        pandas.DataFrame({"a": ["x"], "b": [1]}),
        pandas.DataFrame({"a": [[1.0]], "b": [[1.0]]}),
        pandas.DataFrame({"a": [[1j]]}),
        pandas.DataFrame({"a": [["x"]]}),
        pandas.DataFrame({"a": [{}]}),
        pandas.Series([1.0, 2.0]),
        polars.DataFrame({"a": ["x"]}),
        polars.DataFrame({"a": [[1.0]]}).lazy(),
        polars.Series([1.0, 2.0]),
        pyarrow.table({"a": [[1]]}),
        pyarrow.array([1.0]),
        pandas.DataFrame({"a": [[1.0]]}).iloc[:0],
        polars.DataFrame({"a": []}),
        pyarrow.table({}),
    ],
)
def test_tables_without_vectors(held):
    with pytest.raises(InputError):
        data.open_source(held)


def test_bytes_in_tables_need_a_scale():
    q = np.random.default_rng(1).integers(-128, 128, (4, 3)).astype(np.int8)
    held = pyarrow.table({"v": pyarrow.array(q.tolist(), pyarrow.list_(pyarrow.int8())), "id": list("abcd")})
    for given in (held, polars.from_arrow(held), pandas.DataFrame({"v": list(q)})):
        with pytest.raises(InputError, match="holds int8 without a scale"):
            data.open_source(given)
        assert_array_equal(data.open_source(given, scale=0.5).read(0, 4), 0.5 * q)


def test_splits_and_streams():
    datasets = pytest.importorskip("datasets")
    with pytest.raises(InputError, match="DatasetDict: take one of its splits, 'train', 'test'"):
        data.open_source(datasets.DatasetDict({"train": dataset(), "test": dataset()}))
    with pytest.raises(InputError, match="are a stream"):
        data.open_source(dataset().to_iterable_dataset())


def test_a_sparse_matrix():
    import scipy.sparse

    with pytest.raises(InputError, match="toarray"):
        data.open_source(scipy.sparse.csr_matrix(X))


def test_arrays_of_other_libraries():
    import jax.numpy as jnp

    torch = pytest.importorskip("torch")
    for held in (
        jnp.asarray(X),
        torch.tensor(X),
        torch.tensor(X, requires_grad=True),
        list(torch.tensor(X)),
        X.tolist(),
    ):
        same(data.open_source(held))
    half = torch.tensor(X).to(torch.bfloat16)
    assert_array_equal(data.open_source(half).read(0, 11), half.float().numpy())
    with pytest.raises(InputError, match="int8 without a scale"):
        data.open_source(torch.ones((2, 3), dtype=torch.int8))


def test_no_library_is_imported_unasked(tmp_path):
    import subprocess

    np.save(tmp_path / "x.npy", X)
    code = (
        "import sys, numpy; from compressae_jax import data;"
        "data.open_source(sys.argv[1]).read(0, 1), data.open_source(numpy.ones((2, 3)));"
        "names = 'pandas', 'polars', 'datasets', 'pyarrow', 'h5py', 'torch';"
        "print([name for name in names if name in sys.modules])"
    )
    told = subprocess.run([sys.executable, "-c", code, tmp_path / "x.npy"], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "[]"
