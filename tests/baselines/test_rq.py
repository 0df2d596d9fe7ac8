import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from compressae_jax.baselines import rq
from compressae_jax.baselines.units import unit_rows

VECTORS = np.random.default_rng(0).normal(size=(400, 12)).astype(np.float32)


def test_stages_add_up_and_each_takes_from_what_is_left():
    faiss = pytest.importorskip("faiss")
    units = unit_rows(VECTORS)
    (one,) = rq.quantiser("RQ", units, 3, 1, seed=0).quantisers
    books = faiss.vector_to_array(one.codebooks).reshape(3, 256, 12)
    codes = one.compute_codes(units)

    sums = np.cumsum([book[codes[:, stage]] for stage, book in enumerate(books)], axis=0)

    assert_allclose(one.decode(codes), sums[-1], atol=1e-6)
    assert (np.diff([np.square(units - partial).sum() for partial in sums]) < 0).all()


def test_rows_are_encoded_by_the_wider_beam():
    faiss = pytest.importorskip("faiss")
    units = unit_rows(VECTORS)
    theirs = faiss.ResidualQuantizer(12, 3, 8)
    theirs.max_beam_size = rq.TRAINING_BEAM
    theirs.train(units)
    fresh = unit_rows(np.random.default_rng(1).normal(size=(300, 12)).astype(np.float32))
    narrow = theirs.compute_codes(fresh)
    theirs.max_beam_size = rq.BEAM

    codes = rq.fit(VECTORS, 3).encode(fresh)

    assert (codes == theirs.compute_codes(fresh)).mean() > 0.99  # by tables: ties may fall otherwise
    assert (codes == narrow).mean() < 0.99


def test_the_largest_form_has_tables_that_fit_in_memory():
    assert rq.largest(24) == 24 and rq.largest(768) == rq.STAGES


def test_splits_fill_the_budget():
    pytest.importorskip("faiss")
    parts = rq.quantiser("PRQ", unit_rows(VECTORS), 5, 2, seed=0)
    assert_array_equal([(one.d, one.M) for one in parts.quantisers], [(6, 2), (6, 3)])
