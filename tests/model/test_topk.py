import functools

import cuda_on_cpu
import jax
import jax.numpy as jnp
import numpy as np
import oracle
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.testing import assert_array_equal

from compressae_jax.base import cuda
from compressae_jax.model import topk, topk_host
from compressae_jax.notation import InputError

# Few distinct numbers, so that most rows are full of ties, also between signs.
TIED = st.sampled_from([-2.0, -1.0, -0.5, 0.0, 0.5, 1.0, 2.0])
ANY = st.floats(-(2.0**60), 2.0**60, width=32, allow_subnormal=False)


@st.composite
def problems(draw, shapes=((1, 1), (3, 1), (2, 7), (5, 12), (1, 33))):
    shape = draw(st.sampled_from(shapes))
    a = draw(hnp.arrays(np.float32, shape, elements=draw(st.sampled_from([TIED, ANY]))))
    return a, draw(st.integers(1, shape[1]))


@given(problems())
def test_largest_is_a_stable_sort(problem):
    a, k = problem
    values, columns = topk.largest(a, k)
    order = np.argsort(-np.abs(a), axis=1, kind="stable")[:, :k]
    assert_array_equal(columns, order)
    assert_array_equal(values, np.take_along_axis(a, order, axis=1))


@given(problems(), st.booleans())
def test_keep_is_a_stable_sort_for_every_k(problem, compiled):
    a, k = problem
    ks = (k, 1, a.shape[1])
    keep = jax.jit(topk.keep, static_argnums=1) if compiled else topk.keep
    for some, kept in zip(ks, keep(jnp.asarray(a), ks), strict=True):
        assert_array_equal(kept, np.where(oracle.kept(a, some), a, 0))


@given(problems())
def test_both_forms_choose_alike(problem):
    a, k = problem
    values, columns = topk.largest(a, k)
    dense = np.zeros_like(a)
    np.put_along_axis(dense, np.asarray(columns), np.asarray(values), axis=1)
    assert_array_equal(topk.keep(jnp.asarray(a), (k,))[0], dense)


def test_gradient_goes_through_the_kept_entries_only():
    a = np.random.default_rng(0).normal(size=(4, 9)).astype(np.float32)
    weight = np.arange(36, dtype=np.float32).reshape(4, 9)
    for i, k in enumerate((2, 5)):
        gradient = jax.grad(lambda a, i=i: (topk.keep(a, (2, 5))[i] * weight).sum())(jnp.asarray(a))
        assert_array_equal(gradient, np.where(oracle.kept(a, k), weight, 0))


def test_activations():
    a = jnp.asarray([[3.0, -4.0, 1.0, 2.0], [-1.0, -2.0, -3.0, -4.0]])
    (signed,) = topk.activate(a, (2,), "topk")
    assert_array_equal(signed, [[3, -4, 0, 0], [0, 0, -3, -4]])
    (positive,) = topk.activate(a, (2,), "relu_topk")
    assert_array_equal(positive, [[3, 0, 0, 2], [0, 0, 0, 0]])
    (squares,) = topk.activate(a, (2,), "relu2_topk")
    assert_array_equal(squares, [[9, 0, 0, 4], [0, 0, 0, 0]])
    assert_array_equal(topk_host.rectify(np.array(a), "relu2_topk"), topk.rectified(a, "relu2_topk"))
    for everything in topk.activate(a, (2, 4), "identity"):
        assert_array_equal(everything, a)
    with pytest.raises(InputError, match="did you mean 'relu_topk'"):
        topk.activate(a, (2,), "relutopk")


@pytest.mark.parametrize("k", [0, 5, -1])
def test_k_out_of_range(k):
    with pytest.raises(InputError, match=f"k must be an integer from 1 to 4, not {k}"):
        topk.keep(jnp.zeros((2, 4)), (2, k))


@pytest.mark.devices(8)
@pytest.mark.parametrize(("data", "model"), [(8, 1), (4, 2), (1, 8)])
def test_a_sharded_batch_is_selected_where_it_lies(data, model):
    mesh = jax.make_mesh((data, model), ("data", "model"), axis_types=(jax.sharding.AxisType.Auto,) * 2)
    a = np.random.default_rng(0).integers(-3, 4, (16, 64)).astype(np.float32)  # full of ties
    spread = jax.device_put(a, jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("data", "model")))
    keep = jax.jit(lambda a: topk.keep(a, (3, 12)))
    for kept, wanted in zip(keep(spread), keep(a), strict=True):
        assert_array_equal(kept, wanted)
    if model == 1:
        assert "all-gather" not in keep.lower(spread).compile().as_text()


def test_the_gradient_goes_through_what_was_kept_or_through_all():
    a = jnp.asarray([[3.0, -2.0, 1.0, 0.5]])
    for gradient, through in (("kept", [1, 1, 0, 0]), ("all", [1, 1, 1, 1])):
        (kept,) = topk.keep(a, (2,), gradient)
        assert_array_equal(kept, [[3, -2, 0, 0]])
        assert_array_equal(jax.grad(lambda a, g=gradient: topk.keep(a, (2,), g)[0].sum())(a), [through])


@pytest.mark.parametrize(("h", "k"), [(1, 1), (33, 33), (100, 9), (1000, 1000), (2048, 1), (4096, 128), (20_000, 64)])
def test_the_kernel_is_a_stable_sort(h, k):
    rng = np.random.default_rng(h)
    a = rng.standard_normal((8, h)).astype(np.float32)
    a[1], a[2], a[3] = np.round(a[1]), 0, rng.choice([-1, 1], h)
    a[4, : h // 2], a[5], a[6, h // 2] = 0, a[5] * np.float32(2) ** -135, -np.inf
    a[7] = np.arange(h) // 2
    out = [jax.ShapeDtypeStruct((8, k), dtype) for dtype in (np.float32, np.int32)]
    values, columns = cuda_on_cpu.called(topk.lister(8, h, k), out, a)
    order = np.argsort(-np.abs(a.astype(np.float64)), axis=1, kind="stable")[:, :k]
    assert_array_equal(columns, order)
    assert_array_equal(values, np.take_along_axis(a, order, axis=1))


@given(problems())
def test_the_kernel_breaks_ties_as_the_sort(problem):
    a, k = problem
    out = [jax.ShapeDtypeStruct((len(a), k), dtype) for dtype in (np.float32, np.int32)]
    _, columns = cuda_on_cpu.called(topk.lister(*a.shape, k), out, a)
    assert_array_equal(columns, np.argsort(-np.abs(a), axis=1, kind="stable")[:, :k])


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize(
    ("h", "ks"), [(1, (1,)), (100, (9, 36)), (33, (4, 33)), (4096, (32, 128)), (300, (8, 32, 4, 2))]
)
def test_the_kernel_zeroes_what_the_masks_do(h, ks, dtype):
    rng = np.random.default_rng(h)
    a = rng.standard_normal((7, h)).astype(np.float32)
    a[1], a[2], a[3], a[4] = np.round(a[1]), 0, rng.choice([-1, 1], h), np.arange(h) // 2
    a[5, h // 2], a[6] = -np.inf, a[6] * np.float32(2) ** -120
    wanted = topk.keep(jnp.asarray(a), ks, dtype=dtype)
    out = [jax.ShapeDtypeStruct(a.shape, jnp.dtype(dtype))] * len(ks)
    for one, other in zip(cuda_on_cpu.called(topk.keeper(7, h, ks, dtype), out, a), wanted, strict=True):
        assert_array_equal(one.view(np.uint8), np.asarray(other).view(np.uint8))


@pytest.mark.parametrize(("h", "k"), [(1, 1), (33, 33), (1000, 1000), (2048, 1), (6000, 100)])
@pytest.mark.parametrize("rising", [False, True])
def test_the_greatest_numbers_are_those_of_a_stable_sort(h, k, rising):
    rng = np.random.default_rng(h)
    a = rng.standard_normal((8, h)).astype(np.float32)
    a[1], a[2], a[3] = np.round(a[1]) + 0.0, 0, rng.choice([-1, 1], h)
    a[4, : h // 2], a[5], a[6] = -np.inf, -abs(a[5]) * np.float32(2) ** -135, -np.inf
    a[7] = np.arange(h) // 2
    columns = np.argsort(-a.astype(np.float64), axis=1, kind="stable")[:, :k]
    columns = np.sort(columns, axis=1) if rising else columns
    out = [jax.ShapeDtypeStruct((8, k), dtype) for dtype in (np.float32, np.int32)]
    for found in (topk.greatest(jnp.asarray(a), k, rising), cuda_on_cpu.called(topk.selector(8, h, k, rising), out, a)):
        assert_array_equal(found[1], columns)
        assert_array_equal(found[0], np.take_along_axis(a, columns, axis=1))


def test_the_gradient_of_what_the_kernel_lists_is_its_twins(monkeypatch):
    a = jnp.asarray(np.random.default_rng(0).standard_normal((4, 40)), jnp.float32)
    weight = np.arange(12, dtype=np.float32).reshape(4, 3)
    lists = [topk.largest, topk.greatest, functools.partial(topk.greatest, rising=True)]
    gradients = [jax.grad(lambda a, listed=listed: (listed(a, 3)[0] * weight).sum()) for listed in lists]
    wanted = [gradient(a) for gradient in gradients]
    monkeypatch.setattr(cuda, "called", lambda *given: list(map(jnp.asarray, cuda_on_cpu.called(*given))))
    monkeypatch.setattr(cuda, "dispatched", lambda kernel, twin, *arrays: kernel(*arrays))
    for gradient, one in zip(gradients, wanted, strict=True):
        assert_array_equal(gradient(a), one)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_a_gradient_has_the_dtype_of_what_it_is_of(dtype):
    a = jnp.asarray([[3.0, -2.0, 1.0, 0.5]], dtype)
    for of in (lambda a: topk.keep(a, (2,))[0], lambda a: topk.keep(a, (2, 1), dtype=jnp.bfloat16)[1]):
        assert jax.grad(lambda a, of=of: of(a).sum())(a).dtype == a.dtype
