"""The jitted pursuit and the compiled loops beside scikit-learn's, NumPy's least squares, and exhaustive search."""

import itertools

import jax
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from oracle import unit
from sklearn.linear_model import orthogonal_mp_gram

from compressae_jax.base import products
from compressae_jax.model import pursuit, pursuit_host, vector_kernels

B, D, H = 67, 24, 61


def dictionary(seed=0, h=H, d=D):
    return unit(np.random.default_rng(seed).standard_normal((h, d))).astype(np.float32)


def vectors(seed=1, b=B, d=D):
    return np.random.default_rng(seed).standard_normal((b, d)).astype(np.float32)


def correlations(x, decoder_w):
    return pursuit_host.correlations(x, products.strips(decoder_w.T))


def on_host(x, decoder_w, k):
    return pursuit_host.pursue(correlations(x, decoder_w), pursuit_host.gram(decoder_w), k)


def jitted(x, decoder_w, k):
    return tuple(map(np.asarray, pursuit.pursue(x, decoder_w, k)))


def dense(values, columns, h=H):
    s = np.zeros((len(values), h))
    np.add.at(s, (np.arange(len(values))[:, None], columns), values)
    return s


BOTH = pytest.mark.parametrize("pursue", [jitted, on_host])


@BOTH
@pytest.mark.parametrize("k", [1, 5, 8, 20])
def test_pursuit_is_scikit_learns(pursue, k):
    x, decoder_w = vectors(), dictionary()
    double, units = decoder_w.astype(np.float64), unit(x.astype(np.float64))
    wanted = orthogonal_mp_gram(double @ double.T, double @ units.T, n_nonzero_coefs=k).T
    assert_allclose(dense(*pursue(x, decoder_w, k)), wanted, atol=2e-4)


@BOTH
def test_the_length_of_a_row_does_not_matter(pursue):
    x, decoder_w = vectors(), dictionary()
    values, columns = pursue(x * np.float32(1e3), decoder_w, 4)
    wanted, wanted_columns = pursue(x, decoder_w, 4)
    assert_array_equal(columns, wanted_columns)
    assert_allclose(values, wanted, atol=1e-5)


@BOTH
def test_a_row_that_is_an_atom_needs_no_other(pursue):
    decoder_w = dictionary()
    values, columns = pursue(-2 * decoder_w[[7, 3]], decoder_w, 3)
    assert_array_equal(columns, [[7, 0, 1], [3, 0, 1]])  # the lowest others
    assert_allclose(values, [[-1, 0, 0], [-1, 0, 0]], atol=1e-5)


@BOTH
def test_twin_atoms_are_not_both_taken(pursue):
    decoder_w = dictionary()
    decoder_w[5] = decoder_w[9]
    values, columns = pursue(vectors(), decoder_w, 12)
    taken = dense(np.abs(values) > 1e-6, columns)
    assert not (taken[:, 5] * taken[:, 9]).any() and np.isfinite(values).all()
    assert np.abs(values).max() < 10


@BOTH
def test_a_zero_row_gets_a_zero_code(pursue):
    values, _ = pursue(np.zeros((2, D), np.float32), dictionary(), 3)
    assert_array_equal(values, 0)


@pytest.mark.parametrize("k", [1, 6])
def test_refit_is_least_squares(k):
    x, decoder_w = vectors(), dictionary()
    columns = np.argsort(-np.abs(x @ decoder_w.T), axis=1)[:, :k]
    values = np.asarray(pursuit.refit(x, columns, decoder_w))
    columns, units = columns.astype(np.int32), unit(x).astype(np.float32)
    of_few, gram = pursuit_host.correlations_among(units, decoder_w, columns), pursuit_host.gram(decoder_w)
    assert_allclose(pursuit_host.refit(of_few, gram, columns)[0], values, atol=1e-4)
    for i, row in enumerate(unit(x.astype(np.float64))):
        assert_allclose(
            values[i], np.linalg.lstsq(decoder_w[columns[i]].T.astype(float), row, rcond=None)[0], atol=1e-4
        )


def test_refit_takes_jitted_and_eager_rows_alike():
    x, decoder_w, columns = vectors(), dictionary(), np.tile(np.arange(4), (B, 1))
    with jax.disable_jit():
        eager = pursuit.refit(x[:3], columns[:3], decoder_w)
    assert_allclose(eager, pursuit.refit(x, columns, decoder_w)[:3], atol=1e-5)


def test_a_dictionary_beyond_memory_is_refused():
    with pytest.raises(ValueError, match="h must be at most"):
        pursuit_host.gram(np.broadcast_to(np.float32(1), (2**15 + 1, 2)))


LEVELS = np.float32([0.1, 0.3, 0.6, 1.0])


def distance(x, decoder_w, lengths, values, columns):
    """What `descend` lessens."""
    units = unit(x.astype(np.float64))
    z = dense(values, columns, len(decoder_w)) @ decoder_w
    along = (units * z).sum(axis=1)
    return ((lengths[:, None] * units - z) ** 2).sum(axis=1) + pursuit_host.WEIGHT * (lengths - along) ** 2


def levelled(x, decoder_w, k, swap):
    of_rows, gram = correlations(x, decoder_w), pursuit_host.gram(decoder_w)
    fitted = pursuit_host.pursue(of_rows, gram, k)
    _, lengths = pursuit_host.folded(of_rows, fitted)
    return fitted, lengths, pursuit_host.on_levels(of_rows, fitted, gram, LEVELS, swap)


@pytest.mark.parametrize("swap", [False, True])
def test_values_on_levels_cannot_be_bettered_one_at_a_time(swap, monkeypatch):
    monkeypatch.setattr(pursuit_host, "SWEEPS", 50)
    x, decoder_w = vectors(b=20), dictionary(h=30)
    _, lengths, (values, columns) = levelled(x, decoder_w, 4, swap)
    assert np.isin(np.abs(values), LEVELS).all()
    reached = distance(x, decoder_w, lengths, values, columns)
    for place, level in itertools.product(range(4), [*LEVELS, *-LEVELS]):
        for column in range(30) if swap else [None]:
            others = values.copy(), columns.copy()
            others[0][:, place] = level
            if column is not None:
                others[1][:, place] = column
            free = [len(set(row)) == 4 for row in others[1].tolist()]
            other = distance(x, decoder_w, lengths, *others)
            # The best atom is chosen by its best value, which then goes to the nearest level.
            slack = 1e-5 if not swap else 0.02
            assert (reached <= other + slack)[free].all()


@pytest.mark.parametrize("times", [None, np.linspace(0.5, 3, B, dtype=np.float32)])
@pytest.mark.parametrize("h", [H, 200])
def test_both_in_one_pass_are_one_after_the_other(times, h):
    x, decoder_w = vectors(), dictionary(h=h)
    x[4], x[9] = 0, decoder_w[17]
    of_rows, gram = correlations(x, decoder_w), pursuit_host.gram(decoder_w)
    wanted = pursuit_host.on_levels(of_rows, pursuit_host.pursue(of_rows, gram, 6), gram, LEVELS, True, None, times)
    kept = of_rows.copy()
    found = pursuit_host.pursue_on_levels(of_rows, gram, 6, LEVELS, times)
    assert_array_equal(found[1], wanted[1])
    assert_array_equal(found[0], wanted[0])
    assert_array_equal(of_rows, kept)
    assert not found[0][4].any()


@pytest.mark.parametrize("n", [1, 63, 64, 200, 256])
def test_the_largest_is_found_at_its_first_place(n):
    c = np.random.default_rng(n).standard_normal(n).astype(np.float32)
    for _ in range(min(n, 30)):
        assert vector_kernels.largest(c) == np.abs(c).argmax()
        c[np.abs(c).argmax()] = 0
    c[:] = 0
    c[n // 2 :] = -2
    assert vector_kernels.largest(c) == n // 2


def test_swaps_help():
    x, decoder_w = vectors(), dictionary()
    _, lengths, kept = levelled(x, decoder_w, 4, False)
    _, _, swapped = levelled(x, decoder_w, 4, True)
    assert distance(x, decoder_w, lengths, *swapped).mean() < distance(x, decoder_w, lengths, *kept).mean()


def test_places_that_pursuit_left_empty_are_filled_with_other_columns():
    decoder_w = dictionary()
    decoder_w[0] = decoder_w[1]
    x = np.concatenate([decoder_w[[7, 0]], vectors(b=3)])
    _, _, (values, columns) = levelled(x, decoder_w, 5, True)
    assert (values != 0).all()
    assert all(len(set(row)) == 5 for row in columns.tolist())


def test_without_swaps_the_row_s_own_columns_are_enough():
    x, decoder_w = vectors(), dictionary()
    fitted, lengths, wanted = levelled(x, decoder_w, 5, swap=False)
    gram, columns = pursuit_host.gram(decoder_w), fitted[1]
    of_few = pursuit_host.correlations_among(unit(x).astype(np.float32), decoder_w, columns)
    assert_allclose(of_few, np.take_along_axis(correlations(x, decoder_w), columns, axis=1), atol=1e-6)
    assert_allclose(pursuit_host.folded(of_few, fitted, columns)[1], lengths, atol=1e-6)
    found = pursuit_host.on_levels(of_few, fitted, gram, LEVELS, False, columns)
    assert_array_equal(found[0], wanted[0])
    assert_array_equal(found[1], wanted[1])


def test_zero_rows_stay_zero_on_levels():
    x = np.concatenate([np.zeros((1, D), np.float32), vectors(b=2)])
    _, _, (values, _) = levelled(x, dictionary(), 3, True)
    assert_array_equal(values.any(axis=1), [False, True, True])
