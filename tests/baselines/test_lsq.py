import numpy as np
import pytest

from compressae_jax.baselines import lsq, pq
from compressae_jax.baselines.units import unit_rows

VECTORS = np.random.default_rng(0).normal(size=(600, 24)).astype(np.float32)


def test_codebooks_learned_together_beat_subspaces():
    pytest.importorskip("faiss")

    def error(baseline):
        return np.square(baseline.storage.unpack(baseline.encode(VECTORS)) - unit_rows(VECTORS)).sum(axis=1).mean()

    assert error(lsq.fit(VECTORS, 3)) < 0.8 * error(pq.fit(VECTORS, 3))


@pytest.mark.parametrize(("budget", "codebooks"), [(2, [2]), (3, [1, 2])])
def test_parts_are_small(monkeypatch, budget, codebooks):
    pytest.importorskip("faiss")
    monkeypatch.setattr(lsq, "CODEBOOKS", 2)
    parts = lsq.fit(VECTORS[:256], budget).storage
    assert [one.M for one in parts.quantisers] == codebooks
