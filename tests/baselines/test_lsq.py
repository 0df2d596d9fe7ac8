import numpy as np
import pytest

from compressae_jax.baselines import lsq, pq
from compressae_jax.baselines.units import unit_rows

VECTORS = np.random.default_rng(0).normal(size=(600, 24)).astype(np.float32)


def test_codebooks_learned_together_beat_subspaces():
    pytest.importorskip("faiss")

    rows = np.random.default_rng(0).normal(size=(2100, 12)).astype(np.float32)

    def error(baseline):
        return np.square(baseline.storage.unpack(baseline.encode(rows)) - unit_rows(rows)).sum(axis=1).mean()

    assert error(lsq.fit(rows, 2)) < 0.95 * error(pq.fit(rows, 2))


@pytest.mark.parametrize(("budget", "codebooks"), [(2, [2]), (3, [1, 2])])
def test_parts_are_small(monkeypatch, budget, codebooks):
    pytest.importorskip("faiss")
    monkeypatch.setattr(lsq, "CODEBOOKS", 2)
    parts = lsq.fit(VECTORS[:256], budget).storage
    assert [one.M for one in parts.quantisers] == codebooks


def test_codebooks_as_large_as_the_rows_do_not_run_away():
    pytest.importorskip("faiss")
    rows = unit_rows(np.random.default_rng(1).normal(size=(900, 24)).astype(np.float32) * 0.8 ** np.arange(24))
    fitted = lsq.fit(rows[:520], 2)  # 512 codewords
    near = (fitted.storage.unpack(fitted.encode(rows[520:])) * rows[520:]).sum(axis=1).mean()
    alone = pq.fit(rows[:520], 2)
    assert near > (alone.storage.unpack(alone.encode(rows[520:])) * rows[520:]).sum(axis=1).mean() - 0.03
