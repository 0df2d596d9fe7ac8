import pytest
from hypothesis import given
from hypothesis import strategies as st

from compressae_jax.codes.storage.kinds import record_width
from compressae_jax.model import budgets
from compressae_jax.notation import InputError


@given(st.integers(3, 256), st.sampled_from([32, 50, 128, 384, 768]), st.sampled_from([200, 2_600, 30_000, 10**8]))
def test_a_record_fits_and_one_more_nonzero_would_not(budget, d, n):
    if budget > 4 * d:
        return
    h, k, storage, encoder, _, residual_bytes = budgets.choose(budget, d, n)
    assert bool(residual_bytes) == (8 * budget >= 2 * d and n >= d >= 128)
    if residual_bytes:  # of which the nonzeros take few
        assert residual_bytes == budget and storage == "fast4" and record_width(storage, h, k) < budget / 2
        return
    assert record_width(storage, h, k) <= budget
    assert encoder == "pursuit" and k <= d and k <= h
    assert (storage == "additive8") == (d < 128 and n >= 2**16 and 8 <= budget <= min(budgets.MOST, 6 * d // 8))
    if storage == "additive8":
        assert (h, k) == (256 * budget, budget)
        assert budgets.choose(budget, d, n, cosines=False).storage != storage
        return
    if k < min(h // 2, d):
        assert record_width(storage, h, k + 1) > budget


def test_few_rows_get_few_latents():
    assert budgets.choose(32, 384, 2_600).h == 512
    assert budgets.choose(32, 384, 10**6).h == budgets.LARGEST_H


def test_ranks_are_for_what_holds_many_more_nonzeros_than_the_fast_form():
    for budget, n, storage in [
        (8, 2_000, "packed4"),
        (16, 2_000, "fast4"),
        (16, 10**6, "packed4"),
        (32, 10**6, "fast4"),
    ]:
        chosen = budgets.choose(budget, 384, n)
        ranked = budgets.largest_k(budget, chosen.h, "packed4")
        assert chosen.storage == storage
        assert (budgets.largest_k(budget, chosen.h, "fast4") >= budgets.FAST_SHARE * ranked) == (storage == "fast4")


def test_values_are_finer_where_atoms_would_fill_the_width():
    assert budgets.choose(32, 384, 10**6).storage == "fast4"
    assert budgets.choose(64, 50, 10**6).storage != "packed4"


@pytest.mark.parametrize("budget", [0, 1, -3, 4 * 384 + 1])
def test_budgets_out_of_range(budget):
    with pytest.raises(InputError, match="budget_bytes"):
        budgets.choose(budget, 384, 10**6)


@pytest.mark.parametrize(("h", "d"), [(4096, 384), (64, 16)])
def test_a_dictionary_that_is_there_makes_codes_of_other_budgets(h, d):
    found = [budgets.of_dictionary(budget, h, d) for budget in (8, 16, 32)]
    assert all(1 <= k <= d for k, _ in found)
    assert all(record_width(storage, h, k) <= b for (k, storage), b in zip(found, (8, 16, 32), strict=True))
    assert [k for k, _ in found] == sorted({k for k, _ in found})
    assert found[1] == budgets.choose(16, d, 4 * h)[1:3]
