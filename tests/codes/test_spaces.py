import jax
import jax.numpy as jnp
import numpy as np
import oracle
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from compressae_jax.codes import on_device, spaces
from compressae_jax.codes.codes import Codes
from compressae_jax.notation import InputError

N, Q, D, H, K = 23, 7, 11, 37, 5


def some_codes(n, seed, values="float32"):
    rng = np.random.default_rng(seed)
    columns = rng.random((n, H)).argsort(axis=1)[:, :K].astype(np.uint16)
    numbers = rng.normal(size=(n, K)).astype(values)
    numbers[2] = 0  # a zero row keeps an all-zero code
    return Codes(numbers, columns, H)


@pytest.fixture
def decoder_w():
    return oracle.unit(np.random.default_rng(9).normal(size=(H, D))).astype(np.float32)


def scores(row_codes, row_norms, u, space):
    """The kernel of the served similarity, in float64."""
    sums = np.asarray(u, np.float64) @ row_codes.to_dense().astype(np.float64).T
    return sums * spaces.row_scales(row_norms, space)


def cosines(a, b):
    return oracle.unit(a) @ oracle.unit(b).T


@pytest.mark.parametrize("values", ["float16", "float32"])
def test_one_kernel_scores_the_cosines_of_all_three_spaces(decoder_w, values):
    rows, queries = some_codes(N, 0, values), some_codes(Q, 1, values)
    x_q = 3 * np.random.default_rng(2).normal(size=(Q, D)).astype(np.float32)
    s_y, s_q, w = rows.to_dense().astype(float), queries.to_dense().astype(float), decoder_w.astype(float)
    row_norms = on_device.norms(rows, decoder_w)
    wanted = {
        "sparse": cosines(s_q, s_y),
        "reconstructed": cosines(s_q @ w, s_y @ w),
        "dense_query": cosines(x_q, s_y @ w),
    }
    assert set(wanted) == set(spaces.SPACES)
    for space, cosine in wanted.items():
        if space == "dense_query":
            u = on_device.expand_vectors(x_q, decoder_w)
        else:
            u = on_device.expand_codes(queries, decoder_w, space)
        assert_allclose(u, oracle.expanded(space, x_q, s_q, decoder_w), atol=2e-6, err_msg=space)
        assert_allclose(scores(rows, row_norms, u, space), cosine, atol=2e-6, err_msg=space)
        assert (scores(rows, row_norms, u, space)[:, 2] == 0).all()  # the zero row
        if space != "dense_query":
            assert (np.asarray(u)[2] == 0).all()


def test_codes_stand_in_for_dense_queries_by_their_reconstruction(decoder_w):
    queries = some_codes(Q, 1)
    u = on_device.expand_codes(queries, decoder_w, "dense_query")
    z = queries.to_dense() @ decoder_w
    assert_allclose(u, oracle.unit(z.astype(float)) @ decoder_w.T.astype(float), atol=2e-6)


@pytest.mark.parametrize("compiled", [True, False])
def test_reconstruct_and_norms_are_dense_products(decoder_w, compiled):
    codes = some_codes(N, 0)
    with jax.disable_jit(not compiled):
        z, row_norms = on_device.reconstruct(codes, decoder_w), on_device.norms(codes, decoder_w)
    dense = codes.to_dense().astype(float)
    assert_allclose(z, dense @ decoder_w, atol=1e-5)
    lengths = [np.linalg.norm(dense, axis=1), np.linalg.norm(dense @ decoder_w, axis=1)]
    assert_allclose(row_norms, np.stack(lengths, axis=1), atol=1e-5)


def test_repeated_columns_add_up(decoder_w):
    codes = Codes(np.array([[2.0, 1.0]], np.float32), np.array([[4, 4]], np.uint16), H)
    assert_allclose(on_device.reconstruct(codes, decoder_w), 3 * decoder_w[4:5], rtol=1e-6)
    assert on_device.expand_codes(codes, decoder_w, "sparse")[0, 4] == pytest.approx(3 / np.sqrt(5))


@pytest.mark.parametrize("scale", [1e-37, 1e-20, 1.0, 1e20, 1e38])
def test_unit_rows_at_any_magnitude(scale):
    x = (scale * np.random.default_rng(0).choice([-1, 0.5, 1, 3], (6, D))).astype(np.float32)
    x[1] = 0
    for unit_rows in (on_device.unit_rows, jax.jit(on_device.unit_rows)):
        assert_allclose(unit_rows(jnp.asarray(x)), oracle.unit(x.astype(float)), atol=1e-6)


def test_unit_rows_gradient_is_tangent_and_zero_at_zero():
    x = np.random.default_rng(0).normal(size=(6, D)).astype(np.float32)
    x[1] = 0
    weight = np.random.default_rng(1).normal(size=(6, D)).astype(np.float32)
    gradient = jax.grad(lambda x: (on_device.unit_rows(x) * weight).sum())(jnp.asarray(x))
    unit, length = oracle.unit(x.astype(float)), np.linalg.norm(x, axis=1, keepdims=True)
    slope = weight - (weight * unit).sum(axis=1, keepdims=True) * unit
    wanted = np.divide(slope, length, out=np.zeros_like(slope), where=length > 0)
    assert_allclose(gradient, wanted, atol=1e-5)


def test_row_scales_are_zero_for_zero_rows():
    row_norms = np.array([[2, 4], [0, 0], [0.5, 0]], np.float32)
    assert_array_equal(spaces.row_scales(row_norms, "sparse"), np.array([0.5, 0, 2], np.float32), strict=True)
    for space in ("reconstructed", "dense_query"):
        assert_array_equal(spaces.row_scales(row_norms, space), np.array([0.25, 0, 0], np.float32), strict=True)


def test_unknown_space_is_named(decoder_w):
    for call in (
        lambda: spaces.row_scales(np.ones((2, 2), np.float32), "sparce"),
        lambda: on_device.expand_codes(some_codes(Q, 1), decoder_w, "sparce"),
    ):
        with pytest.raises(InputError, match=r"'dense_query', not 'sparce' \(did you mean 'sparse'\?\)"):
            call()
