import numpy as np
import pytest
from numpy.testing import assert_allclose

from compressae_jax.baselines import rabitq
from compressae_jax.baselines.units import unit_rows
from compressae_jax.notation import InputError

pytest.importorskip("faiss")
D, N = 21, 200  # no multiple of eight
VECTORS = np.random.default_rng(0).normal(0.3, 1, (N, D)).astype(np.float32)


@pytest.mark.parametrize("bits", rabitq.BITS)
def test_scores_are_those_of_faiss(bits):
    import faiss

    ours = rabitq.fit(VECTORS, rabitq.size(D, bits)).add(VECTORS)
    rotated = np.ascontiguousarray(ours._reduce(VECTORS)[:, :D])
    theirs = faiss.IndexRaBitQ(D, faiss.METRIC_INNER_PRODUCT, bits)
    theirs.qb = 0  # the query in float
    theirs.train(rotated)
    theirs.add(rotated)

    estimates = ours._reduce(VECTORS[:9]) @ ours.storage.unpack(ours.encode(VECTORS)).T

    assert ours.name == "RaBitQ"
    scores, rows = theirs.search(rotated[:9], 10)  # which may skip a row by a bound that holds with high probability
    assert_allclose(np.take_along_axis(estimates, rows, axis=1), scores, atol=2e-6)


def test_what_is_rotated_keeps_its_inner_products():
    reduced = rabitq.fit(VECTORS)._reduce(VECTORS)[:, :D]
    assert_allclose(reduced @ reduced.T, unit_rows(VECTORS) @ unit_rows(VECTORS).T, atol=1e-5)


def test_sizes_count_signs_bits_and_factors():
    assert rabitq.sizes(D)[:3] == [3 + 8, 3 + 12 + 3 + 8, 3 + 12 + 6 + 8]
    assert rabitq.largest(D) == rabitq.sizes(D)[-1]
    assert rabitq.size(1, 1) == rabitq.SMALLEST


def test_forms_hold_the_most_dimensions_at_every_number_of_bits():
    found = rabitq.forms(D, 30)
    assert found[0] == (D, 3)  # 29 bytes; fewer bits would waste more
    assert [bits for _, bits in found] == list(range(3, 10))
    for m, bits in found[1:]:
        assert rabitq.size(m, bits) <= 30 < rabitq.size(m + 1, bits)


def test_held_out_rows_choose_between_dimensions_and_bits():
    rng = np.random.default_rng(1)
    flat = rng.normal(size=(600, D)).astype(np.float32)
    low = (rng.normal(size=(600, 5)) @ rng.normal(size=(5, D))).astype(np.float32)  # rank 5

    assert rabitq.fit(flat, 30).name == "RaBitQ"
    assert rabitq.fit(low, 30).name == "PCA RaBitQ"
    scores, rows = rabitq.fit(low, 28).add(low).search(low[:9], 5)
    exact = np.take_along_axis(unit_rows(low[:9]) @ unit_rows(low).T, rows, axis=1)
    assert_allclose(scores, exact, atol=0.02)


def test_a_budget_below_one_dimension():
    with pytest.raises(InputError, match=r"budget must be an integer from 9 to \d+, not 8"):
        rabitq.fit(VECTORS, 8)
