import sys

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from compressae_jax.baselines import pq
from compressae_jax.baselines.units import unit_rows
from compressae_jax.notation import InputError


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
    assert_allclose(ours.search(vectors[:9], 10)[0], theirs.search(unit_rows(vectors[:9]), 10)[0], atol=1e-5)


@pytest.mark.parametrize("subspaces", [1, 5, 7, 23, 24])
def test_any_number_of_subspaces_covers_every_dimension(vectors, subspaces):
    pytest.importorskip("faiss")
    quantiser = pq.Quantiser(24, subspaces)
    assert_array_equal(quantiser._pad(vectors)[:, quantiser._places], vectors)
    used = np.bincount(quantiser._places // -(-24 // subspaces), minlength=subspaces)
    assert used.min() >= 1 and used.max() - used.min() <= 1


def test_what_is_unpacked_lies_near_what_was_packed(vectors):
    pytest.importorskip("faiss")
    quantiser = pq.Quantiser(24, 17)
    units = unit_rows(vectors)
    quantiser.train(units)
    assert (quantiser.unpack(quantiser.pack(units)) * units).sum(axis=1).min() > 0.9


def test_too_few_vectors(vectors):
    pytest.importorskip("faiss")
    with pytest.raises(InputError, match="PQ must be trained on at least 256 vectors, not 255"):
        pq.fit(vectors[:255], 8)


def test_without_faiss_the_error_names_the_extra(vectors, monkeypatch):
    monkeypatch.setitem(sys.modules, "faiss", None)  # what an import finds where the package is missing
    with pytest.raises(InputError, match=r"'pq' needs faiss: pip install 'compressae_jax\[bench\]'"):
        pq.fit(vectors, 8)
