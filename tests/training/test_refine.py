import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from oracle import unit

from compressae_jax.data.sampling import Rest
from compressae_jax.data.sources import InMemory
from compressae_jax.training import refine

N, D, H, K = 900, 16, 48, 3


def sparse_vectors(seed=0):
    """Rows that are K atoms of a hidden dictionary each, and that dictionary."""
    rng = np.random.default_rng(seed)
    hidden = unit(rng.standard_normal((H, D)))
    columns = np.array([rng.choice(H, K, replace=False) for _ in range(N)])
    values = rng.uniform(0.5, 1.5, (N, K)) * rng.choice([-1, 1], (N, K))
    return np.einsum("nk,nkd->nd", values, hidden[columns]).astype(np.float32), hidden


def some_dictionary(seed=1):
    return unit(np.random.default_rng(seed).standard_normal((H, D))).astype(np.float32)


def rows_of(n):
    return Rest(n, np.zeros(0, np.int64))


def refined(rounds, decoder_w=None, x=None):
    """The dictionary after some rounds, and what each told."""
    source = InMemory(sparse_vectors()[0] if x is None else x, "sparse")
    decoder_w, told = some_dictionary() if decoder_w is None else decoder_w, []
    for number in range(rounds):
        looked_at = refine.looked_at(source, rows_of(len(source)), len(decoder_w), K, 0, number)
        decoder_w, each = refine.improved(decoder_w, K, looked_at)
        told.append(each)
    return decoder_w, told


def test_rounds_bring_reconstructions_closer():
    cosines = [each["cosine"] for each in refined(12)[1]]
    assert cosines[0] < cosines[3] < cosines[11]


def test_a_round_solves_least_squares():
    """With nothing held, the decoder is the one that NumPy finds for the same codes."""
    x = unit(sparse_vectors()[0]).astype(np.float32)
    decoder_w = some_dictionary()
    codes = refine._pursued(x, decoder_w, K)
    told = refine.Moments(codes.T.dot(codes).toarray(), np.asarray(codes.T @ x), np.ones(H))
    held = refine._solved(told, decoder_w)
    assert_allclose(held, np.linalg.solve(*_normal_equations(codes, x, decoder_w)), atol=1e-4)


def _normal_equations(codes, x, decoder_w):
    s = codes.toarray().astype(np.float64)
    moment = s.T @ s
    hold = refine.HOLD * np.trace(moment) / H
    return moment + hold * np.eye(H), s.T @ x + hold * decoder_w


def test_rounds_of_few_rows_find_more_with_a_share_of_what_earlier_ones_told():
    x = unit(sparse_vectors()[0]).astype(np.float32)
    found = []
    for share in (0.0, 0.6):
        decoder_w, past, rng = x[:H].copy(), None, np.random.default_rng(0)
        for _ in range(12):
            some = x[rng.choice(N, 90, replace=False)]
            decoder_w, _, past = refine.improved_after(past, share, decoder_w, K, some)
        found.append(refine.improved(decoder_w, K, x)[1]["cosine"])
    assert found[1] > found[0] + 0.01


def test_the_result_can_serve():
    decoder_w, _ = refined(2)
    params = refine.params(decoder_w)
    assert_allclose(np.linalg.norm(params["decoder_w"], axis=1), 1, atol=1e-5)
    assert_array_equal(params["encoder_w"], params["decoder_w"].T)
    assert not np.array_equal(decoder_w, some_dictionary())


def test_atoms_that_serve_no_row_are_replaced():
    decoder_w = some_dictionary()
    decoder_w[10:] = decoder_w[0]  # twins, of which pursuit takes the first
    after, told = refined(1, decoder_w)
    assert told[0]["replaced"] >= H - 11
    inner = np.abs(after @ after.T) - np.eye(H)
    assert (inner > 0.999).sum() < 30


@pytest.mark.parametrize("x", [np.eye(2, 4, dtype=np.float32), np.zeros((3, 4), np.float32)])
def test_rows_without_error_leave_the_atoms_that_they_have(x):
    decoder_w = np.eye(4, dtype=np.float32)
    for _ in range(3):
        decoder_w, _ = refine.improved(decoder_w, 1, x)
        assert_allclose(np.abs(decoder_w) @ np.ones(4), 1, atol=1e-5)


def test_the_start_is_rows_of_the_data():
    x, _ = sparse_vectors()
    decoder_w = refine.start(H, InMemory(x, "sparse"), rows_of(100), seed=3)
    cosines = decoder_w @ unit(x[:100]).T
    assert_allclose(cosines.max(axis=1), 1, atol=1e-5)
    assert len(set(cosines.argmax(axis=1).tolist())) == H
    assert not np.array_equal(decoder_w, refine.start(H, InMemory(x, "sparse"), rows_of(100), seed=4))


def test_fewer_rows_than_latents():
    x = sparse_vectors()[0][:20]
    start = refine.start(H, InMemory(x, "sparse"), rows_of(20))
    assert np.isfinite(refined(2, start, x)[0]).all()
