import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from compressae_jax.baselines import pq
from compressae_jax.baselines.units import unit_rows


@pytest.fixture(scope="module")
def vectors():
    return np.random.default_rng(0).normal(size=(400, 24)).astype(np.float32)


def test_equals_faiss_where_the_width_divides(vectors):
    faiss = pytest.importorskip("faiss")
    theirs = faiss.IndexPQ(24, 8, 8, faiss.METRIC_INNER_PRODUCT)
    theirs.train(unit_rows(vectors))
    theirs.add(unit_rows(vectors))

    ours = pq.fit(vectors, 8).add(vectors)

    assert_array_equal(ours.encode(vectors), faiss.vector_to_array(theirs.codes).reshape(400, 8))
    cosines = unit_rows(vectors[:9]) @ unit_rows(theirs.reconstruct_n(0, 400)).T
    assert_allclose(ours.search(vectors[:9], 10)[0], -np.sort(-cosines, axis=1)[:, :10], atol=1e-5)


@pytest.mark.parametrize("subspaces", [1, 5, 7, 23, 24])
def test_any_number_of_subspaces_covers_every_dimension(vectors, subspaces):
    pytest.importorskip("faiss")
    parts = pq.quantiser("PQ", 24, subspaces, seed=0)
    widths = np.concatenate([[one.dsub] * one.M for one in parts.quantisers])
    assert widths.sum() == 24 and len(widths) == parts.width == subspaces
    assert widths.max() - widths.min() <= 1


def test_what_is_unpacked_lies_near_what_was_packed(vectors):
    pytest.importorskip("faiss")
    units = unit_rows(vectors)
    parts = pq.quantiser("PQ", 24, 17, seed=0).train(units)
    assert (parts.unpack(parts.pack(units)) * units).sum(axis=1).min() > 0.9
