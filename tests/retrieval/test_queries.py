"""Expanded queries against the equations of the three spaces; doors are tested where an index is (`test_index`)."""

import pickle

import numpy as np
import oracle
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from retrieval.test_index import make_index, make_vectors, make_weights

from compressae_jax import data
from compressae_jax.base import devices
from compressae_jax.codes import spaces
from compressae_jax.model import encoders, on_device
from compressae_jax.model.encoders import Encoder
from compressae_jax.notation import InputError
from compressae_jax.retrieval.queries import Expander


@pytest.mark.parametrize("on_cpu", [True, False])
@pytest.mark.parametrize("encoder", encoders.ENCODERS)
@pytest.mark.parametrize("space", spaces.SPACES)
def test_u_is_that_of_the_equations(space, encoder, on_cpu, monkeypatch):
    """Jitted calls, which an accelerator gets, run on a CPU as well."""
    weights, x = make_weights(), make_vectors(9)
    x[3] = 0
    codes = Encoder(weights, encoder, "float32").encode(x)
    monkeypatch.setattr(devices, "on_cpu", lambda: on_cpu)
    expander = pickle.loads(pickle.dumps(Expander(weights, space, encoder, "float32")))
    decoder_w = weights.params["decoder_w"].astype(np.float64)
    asked = x if space == "dense_query" else None
    wanted = oracle.expanded(space, asked, codes.to_dense(), decoder_w)
    assert_allclose(expander.expand(x), wanted, atol=2e-5)
    of_codes = oracle.expanded(space, codes.to_dense().astype(np.float64) @ decoder_w, codes.to_dense(), decoder_w)
    assert_allclose(expander.expand(codes), of_codes, atol=2e-5)
    assert_array_equal(expander.expand(x)[3], 0)
    assert expander.expand(x[:0]).shape == (0, weights.h)


def test_any_number_of_queries_costs_few_compilations_on_a_device(monkeypatch):
    index, x = make_index("sparse"), make_vectors(5)
    wanted = index.search(x, 3)
    monkeypatch.setattr(devices, "on_cpu", lambda: False)
    before = on_device.encode._cache_size()
    for q in range(1, 6):
        assert_array_equal(index.search(x[:q], 3, backend="host").rows, wanted.rows[:q])
    assert on_device.encode._cache_size() - before <= 4  # of 1, 2, 4 and 8 queries


def test_queries_from_wherever_vectors_may_be(tmp_path):
    pandas, polars = pytest.importorskip("pandas"), pytest.importorskip("polars")
    expander, x = Expander(make_weights(), "dense_query"), make_vectors(9)
    wanted = expander.expand(x)
    np.save(tmp_path / "x.npy", x)
    np.save(tmp_path / "none.npy", x[:0])
    lists = polars.DataFrame({"v": x.tolist()}, schema={"v": polars.List(polars.Float32)})
    frame = pandas.DataFrame({"id": range(9), "v": list(x)})
    for held in (
        tmp_path / "x.npy",
        str(tmp_path / "x.npy"),
        data.open_source(x),
        frame,
        frame["v"],
        lists,
        lists["v"],
    ):
        assert_array_equal(expander.expand(held), wanted)
    for none in (tmp_path / "none.npy", [], x[:0].tolist(), lists[:0], frame[:0]):
        assert expander.expand(none).shape == (0, expander.weights.h)
    small = (x * 20).astype(np.int8)
    np.save(tmp_path / "small.npy", small)
    for held in (small, tmp_path / "small.npy"):
        with pytest.raises(InputError, match="int8"):
            expander.expand(held)
    assert_allclose(expander.expand(data.open_source(small, scale=0.5)), expander.expand(small.astype(np.float32)))
    for wrong, message in (
        ("gone.npy", "there is no file gone.npy"),
        (lists.lazy(), "collect"),
        (frame["id"], "row 0"),
    ):
        with pytest.raises(InputError, match=message):
            expander.expand(wrong)
