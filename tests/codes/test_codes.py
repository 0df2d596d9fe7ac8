import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.testing import assert_array_equal

from compressae_jax.codes.codes import Codes, checked, column_dtype
from compressae_jax.notation import InputError


@st.composite
def some_codes(draw, kinds=("float16", "float32")):
    """Codes as an encoder makes them: falling magnitudes, ties among them, distinct columns, zeros last."""
    n, h = draw(st.integers(0, 6)), draw(st.integers(1, 19))
    k = draw(st.integers(1, h))
    numbers = draw(hnp.arrays(np.float32, (n, k), elements=st.integers(-4, 4).map(float)))
    order = np.argsort(-np.abs(numbers), axis=1, kind="stable")
    columns = np.random.default_rng(draw(st.integers(0, 99))).random((n, h)).argsort(axis=1)[:, :k]
    values = np.take_along_axis(numbers, order, axis=1).astype(draw(st.sampled_from(kinds)))
    return Codes(values, columns.astype(column_dtype(h)), h)


def dense(codes):
    matrix = np.zeros(codes.shape, np.float32)
    for row in range(len(codes)):
        for value, column in zip(codes.values[row], codes.columns[row], strict=True):
            matrix[row, column] += value
    return matrix


@settings(max_examples=20)  # each shape is a compilation
@given(some_codes())
def test_dense_and_csr_and_bcoo_hold_the_same_matrix(codes):
    wanted = dense(codes)
    assert_array_equal(codes.to_dense(), wanted, strict=True)
    assert_array_equal(codes.to_csr().toarray(), wanted)
    if len(codes):
        bcoo = codes.to_bcoo()
        assert bcoo.n_batch == 1 and bcoo.shape == codes.shape
        assert_array_equal(bcoo.todense(), wanted)


@given(some_codes(kinds=("float32",)))
def test_csr_and_back_is_the_same_code(codes):
    again = Codes.from_csr(codes.to_csr(), k=codes.k)
    assert_array_equal(again.values, codes.values, strict=True)
    assert_array_equal(again.columns, codes.columns, strict=True)
    assert again.h == codes.h


@given(some_codes(), st.data())
def test_prefix_is_the_code_of_a_smaller_budget(codes, data):
    k = data.draw(st.integers(1, codes.k))
    small = codes.prefix(k)
    assert small.k == k and small.h == codes.h
    for row in range(len(codes)):
        kept, left = np.abs(codes.values[row, :k]), np.abs(codes.values[row, k:])
        assert kept.min() >= left.max(initial=0)
    assert_array_equal(small.values, codes.values[:, :k])
    assert_array_equal(small.columns, codes.columns[:, :k])


@given(some_codes())
def test_nbytes_counts_values_and_columns(codes):
    n, k = codes.values.shape
    assert codes.nbytes == n * k * (codes.values.itemsize + 2) and len(codes) == n


def test_the_papers_row_takes_twelve_times_less():
    codes = Codes(np.ones((1, 32), np.float32), np.zeros((1, 32), np.int32), 4096)
    assert 768 * 4 / codes.nbytes == 12
    assert 768 * 4 / Codes(np.ones((1, 32), np.float16), np.zeros((1, 32), np.uint16), 4096).nbytes == 24


@pytest.mark.parametrize("use", [abs, lambda m: m > 0.5, lambda m: m.max(), lambda m: m.sort_indices(), lambda m: m.T])
@pytest.mark.parametrize("columns", [np.int32, np.uint16])
def test_what_scipy_does_to_the_matrix_leaves_codes_alone(use, columns):
    codes = Codes(np.array([[3, -2, 1]], np.float32), np.array([[4, 0, 2]], columns), 5)
    use(codes.to_csr())
    assert_array_equal(codes.values, [[3, -2, 1]])
    assert_array_equal(codes.columns, [[4, 0, 2]])
    matrix = codes.to_csr()
    matrix.data[:] = 0
    matrix.indices[:] = 0
    assert_array_equal(codes.to_dense(), [[-2, 0, 1, 0, 3]])


def test_repeated_columns_of_a_matrix_are_summed():
    twice = scipy.sparse.csr_matrix((np.array([3.0, 1, 1, 2]), np.array([5, 7, 7, 9]), np.array([0, 3, 4])), (2, 12))
    codes = Codes.from_csr(twice)
    assert codes.k == 2
    assert_array_equal(codes.values, [[3, 2], [2, 0]])
    assert_array_equal(codes.to_dense(), twice.toarray())
    assert twice.nnz == 4  # nobody else's matrix is changed


def test_csr_survives_a_file_as_scipy_saves_it(tmp_path):
    codes = Codes(np.array([[2, -1], [3, 0]], np.float16), np.array([[4, 0], [1, 2]], np.uint16), 5)
    scipy.sparse.save_npz(tmp_path / "codes.npz", codes.to_csr())
    again = Codes.from_csr(scipy.sparse.load_npz(tmp_path / "codes.npz"))
    assert_array_equal(again.to_dense(), codes.to_dense())


def test_from_csr_of_ragged_rows_sorts_and_fills():
    matrix = scipy.sparse.csr_matrix(np.array([[0, 1, -3, 2], [0, 0, 0, 0], [0, 0, 0, -5.0]]))
    codes = Codes.from_csr(matrix)
    assert_array_equal(codes.values, [[-3, 2, 1], [0, 0, 0], [-5, 0, 0]])
    assert_array_equal(codes.columns[0], [2, 3, 1])
    assert_array_equal(codes.to_dense(), matrix.toarray())
    assert Codes.from_csr(matrix, k=4).k == 4
    with pytest.raises(InputError, match="k=2 does not hold the 3 nonzeros of row 0"):
        Codes.from_csr(matrix, k=2)
    with pytest.raises(InputError, match="k must be an integer from 1 to 4, not 5"):
        Codes.from_csr(matrix, k=5)


def test_rows_are_slices_or_arrays():
    codes = Codes(np.arange(8, dtype=np.float32).reshape(4, 2), np.zeros((4, 2), np.uint16), 3)
    assert_array_equal(codes[1:3].values, [[2, 3], [4, 5]])
    assert np.shares_memory(codes[1:3].values, codes.values)
    assert_array_equal(codes[np.array([3, 0])].values, [[6, 7], [0, 1]])
    assert_array_equal(codes[np.array([True, False, False, True])].values, [[0, 1], [6, 7]])
    with pytest.raises(InputError, match="single number 2"):
        codes[2]
    for k in (0, 3):
        with pytest.raises(InputError, match=f"k must be an integer from 1 to 2, not {k}"):
            codes.prefix(k)


def test_codes_go_through_jit():
    codes = Codes(jnp.ones((4, 2)), jnp.zeros((4, 2), jnp.uint16), 3)
    again = jax.jit(lambda codes: Codes(2 * codes.values, codes.columns, codes.h))(codes)
    assert again.h == 3 and (again.values == 2).all()


def test_column_dtype_is_the_narrowest():
    assert column_dtype(2) == column_dtype(2**16) == np.uint16
    assert column_dtype(2**16 + 1) == np.uint32
    assert np.iinfo(column_dtype(2**16)).max == 2**16 - 1


def test_checked_names_the_first_bad_row():
    n, k, h = 2**22 // 3 + 5, 3, 11  # a piece, and some rows more
    values, columns = np.ones((n, k), np.float16), np.full((n, k), h - 1, np.int8)
    assert checked(values, columns, h).h == h
    for row, bad in [(n - 1, h), (n - 2, -1)]:
        columns[row, 1] = bad
        with pytest.raises(InputError, match=rf"row {row} has a column outside 0\.\.10"):
            checked(values, columns, h)
    columns[:] = 0
    values[n - 3, 2] = np.inf
    with pytest.raises(InputError, match=f"row {n - 3} has a value that is not finite"):
        checked(values, columns, h)


@pytest.mark.parametrize(
    ("values", "columns", "h", "message"),
    [
        (np.ones(3), np.zeros(3, int), 4, r"shape \(n, k\), not \(3,\) and \(3,\)"),
        (np.ones((3, 2)), np.zeros((3, 1), int), 4, r"\(3, 2\) and \(3, 1\)"),
        (np.ones((3, 2), int), np.zeros((3, 2), int), 4, "floats and columns integers, not int64"),
        (np.ones((3, 2)), np.zeros((3, 2)), 4, "not float64 and float64"),
        (np.ones((3, 2)), np.zeros((3, 2), int), 1, "nonzeros a row.* from 1 to 1, not 2"),
    ],
)
def test_checked_refuses_other_arrays(values, columns, h, message):
    with pytest.raises(InputError, match=message):
        checked(values, columns, h)
