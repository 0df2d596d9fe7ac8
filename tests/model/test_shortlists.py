"""The quick pursuit in whole numbers: the loops, the jitted form and NumPy find the same columns."""

import os
import subprocess
import sys

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from compressae_jax.model import pursuit, pursuit_host, shortlists
from compressae_jax.notation import InputError

B, D = 40, 24


def unit(x):
    return x / np.maximum(np.linalg.norm(x, axis=-1, keepdims=True), 1e-12)


def some(h, n=B):
    rng = np.random.default_rng(0)
    x = unit(rng.standard_normal((n, D)))
    x[7] = 0
    decoder_w = unit(rng.standard_normal((h, D)) + rng.standard_normal((-(-h // 10), D)).repeat(10, axis=0)[:h])
    return x.astype(np.float32), decoder_w.astype(np.float32)


def by_loops(x, decoder_w, k, more=0):
    of_rows, gram = (x @ decoder_w.T).astype(np.float32), pursuit_host.gram(decoder_w)
    return pursuit_host.shortlist(of_rows, gram, shortlists.coarse(decoder_w), k, more)


def oracle(x, decoder_w, k, more):
    """The columns of one row, one number at a time."""
    a, coarse = decoder_w @ x, shortlists.coarse(decoder_w)
    left, columns, parts = np.rint(a * 2**14).astype(int), [], []

    def take(column, part):
        factor = int(np.rint(part * float(coarse.scales[column]) * 2**21))
        left[:] -= (coarse.numbers[column, : len(left)].astype(int) * factor + 64) >> 7
        left[columns] = 0

    for t in range(k + more):
        column = int(np.argmax(np.abs(left)))
        if abs(left[column]) <= 2:
            return columns + [one for one in range(len(left)) if one not in columns][: k + more - t]
        columns.append(column)
        if t < k:
            parts.append(left[column] / 2**14)
            take(column, parts[-1])
        left[columns] = 0
        if t + 1 == shortlists.corrected(k):
            values = np.linalg.lstsq(decoder_w[columns].T.astype(float), x, rcond=None)[0]
            for column, change in zip(list(columns), values - parts, strict=True):
                take(column, change)
    return columns


@pytest.mark.parametrize(("h", "k", "more"), [(50, 5, 2), (256, 1, 0), (300, 12, 6), (520, 9, 0)])
def test_columns_are_those_of_matching_pursuit_in_whole_numbers(h, k, more):
    x, decoder_w = some(h)
    (values, chosen), columns = by_loops(x, decoder_w, k, more)
    assert_array_equal(chosen, columns[:, :k])
    wanted = np.array([oracle(row, decoder_w, k, more) for row in x])
    used = x.any(axis=1)
    assert (columns == wanted)[used].all(axis=1).mean() > 0.95  # of sums that round differently
    assert_allclose(values, pursuit.refit(x, chosen, decoder_w), atol=1e-4)
    assert not values[~used].any()
    assert_array_equal(columns[~used], [range(k + more)])


@pytest.mark.parametrize(("h", "k"), [(60, 3), (300, 12)])
def test_jitted_rows_are_those_of_the_loops(h, k):
    x, decoder_w = some(h, 200)
    values, columns = (np.asarray(one) for one in pursuit.shortlist(x, decoder_w, shortlists.coarse(decoder_w), k))
    (wanted, chosen), _ = by_loops(x, decoder_w, k)
    same = (columns == chosen).all(axis=1)
    assert same.mean() > 0.98
    assert_allclose(values[same], wanted[same], atol=2e-4)


def test_a_row_that_is_an_atom_needs_no_other_and_no_twin():
    x, decoder_w = some(60)
    decoder_w[5] = decoder_w[9]
    (values, columns), _ = by_loops(x := -decoder_w[[9, 30]], decoder_w, 4)
    jitted = pursuit.shortlist(x, decoder_w, shortlists.coarse(decoder_w), 4)
    assert columns[:, 0].tolist() == [5, 30] and not (columns[0] == 9).any()
    for found in (values, jitted[0]):
        assert_allclose(found, [[-1, 0, 0, 0]] * 2, atol=1e-5)
    assert_array_equal(jitted[1][:, 0], columns[:, 0])


def test_it_is_near_pursuit_where_one_pass_is_not():
    x, decoder_w = some(400, 200)
    of_rows, gram = x @ decoder_w.T, pursuit_host.gram(decoder_w)
    one_pass = np.argsort(-np.abs(of_rows), axis=1)[:, :6].astype(np.int32)
    all_ = (
        pursuit_host.refit(np.take_along_axis(of_rows, one_pass, axis=1), gram, one_pass),
        by_loops(x, decoder_w, 6)[0],
        pursuit_host.pursue(of_rows, gram, 6),
    )
    least, ours, most = ((unit((v[..., None] * decoder_w[c]).sum(axis=1)) * x).sum(axis=1).mean() for v, c in all_)
    assert least + 0.9 * (most - least) < ours < most


def test_the_coarse_gram_matrix_is_within_half_a_step():
    _, decoder_w = some(300)
    numbers, scales = shortlists.coarse(decoder_w)
    gram = decoder_w @ decoder_w.T
    np.fill_diagonal(gram, 0)
    assert numbers.shape == (300, 512) and numbers.dtype == np.int8 and not numbers[:, 300:].any()
    assert (np.abs(numbers[:, :300] * scales[:, None] - gram) <= 0.501 * scales[:, None]).all()
    assert (np.abs(numbers).max(axis=1) == 127).all() and not np.diagonal(numbers).any()


def test_too_many_latents_are_refused():
    with pytest.raises(InputError, match="h must be at most 32768"):
        shortlists.coarse(np.broadcast_to(np.float32(1), (2**15 + 1, 2)))


@pytest.mark.parametrize(("k", "h"), [(1, 1), (4, 50), (5, 50), (30, 30), (42, 4096)])
def test_corrections_and_spare_columns_fit(k, h):
    assert 0 <= shortlists.corrected(k) < max(k, 1)
    assert k <= k + shortlists.spare(k, h) <= h


ELSEWHERE = """
import hashlib
import numpy as np
from compressae_jax.model import pursuit_host, shortlists
rng = np.random.default_rng(0)
w = np.round(rng.normal(size=(300, 32))).astype("f4") / 8
a = np.round(rng.normal(size=(20, 32))).astype("f4") / 64 @ w.T  # exact, and below 1
numbers = rng.integers(-127, 128, (300, 512)).astype("i1")
numbers[:, 300:] = 0
found = pursuit_host.shortlist(a, w @ w.T, shortlists.Coarse(numbers, np.full(300, 1 / 1024, "f4")), 9, 4)[1]
print(hashlib.md5(found.tobytes()).hexdigest())
"""


def test_a_machine_without_the_newer_vectors_finds_the_same_columns(tmp_path):
    found = set()
    for own in ({}, {"NUMBA_CPU_NAME": "generic"}):
        env = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path), **own}
        found.add(subprocess.run([sys.executable, "-c", ELSEWHERE], env=env, capture_output=True, check=True).stdout)
    assert len(found) == 1
