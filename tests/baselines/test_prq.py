import numpy as np
import pytest
from numpy.testing import assert_array_equal

from compressae_jax.baselines import prq, rq
from compressae_jax.baselines.units import unit_rows

VECTORS = np.random.default_rng(0).normal(size=(400, 12)).astype(np.float32)


def test_equals_faiss_where_budget_and_width_divide(monkeypatch):
    faiss = pytest.importorskip("faiss")
    monkeypatch.setattr(prq, "STAGES", 2)
    theirs = faiss.ProductResidualQuantizer(12, 2, 2, 8)
    each = [faiss.downcast_AdditiveQuantizer(theirs.subquantizer(part)) for part in range(2)]
    for one in each:
        one.max_beam_size = rq.TRAINING_BEAM
    theirs.train(unit_rows(VECTORS))
    for one in each:
        one.max_beam_size, one.use_beam_LUT = rq.BEAM, 1

    assert_array_equal(prq.fit(VECTORS, 4).encode(VECTORS), theirs.compute_codes(unit_rows(VECTORS)))


@pytest.mark.parametrize(("budget", "stages"), [(4, [4]), (5, [2, 3])])
def test_parts_have_no_more_stages_than_are_quick(monkeypatch, budget, stages):
    pytest.importorskip("faiss")
    monkeypatch.setattr(prq, "STAGES", 4)  # 16 take six seconds to learn
    parts = prq.fit(VECTORS, budget).storage
    assert [one.M for one in parts.quantisers] == stages
