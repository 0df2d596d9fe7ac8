"""Lists against the oracle and `host`: sums of small integers are exact in any order, so rows and scores are equal."""

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from retrieval import oracle

from compressae_jax.codes.codes import Codes
from compressae_jax.notation import InputError
from compressae_jax.retrieval.backends import host, lists

BLOCK = 16


def sparse_queries(q, h, k, seed=0):
    """u (q, h) of at most k small integers, zeros among them."""
    rng = np.random.default_rng(seed)
    u = np.zeros((q, h), np.float32)
    where = rng.random((q, h)).argsort(axis=1)[:, :k]
    np.put_along_axis(u, where, rng.integers(-3, 4, where.shape).astype(np.float32), axis=1)
    return u


def check(problem, top, block=BLOCK, narrow=None):
    rows, _, u = problem
    scores, rows = lists.search(lists.build(rows, block), "sparse", u, top)
    assert scores.dtype == np.float32 and rows.dtype == np.int64
    for wanted_scores, wanted_rows in (oracle.search(*(narrow or problem), top), host.search(*problem, top)):
        assert_array_equal(rows, wanted_rows)
        assert_array_equal(scores, wanted_scores)


@st.composite
def problems(draw):
    """Rows that repeat, with places that are not used, as narrow codes and as the same latents among `h`."""
    n, k, width = draw(st.integers(1, 4 * BLOCK + 1)), draw(st.integers(1, 7)), draw(st.sampled_from([7, 37]))
    rng = np.random.default_rng(draw(st.integers(0, 2**16)))
    distinct = -(-n // draw(st.integers(1, 3)))
    used = np.arange(k) < rng.integers(0, k + 1, (distinct, 1))
    values = rng.integers(-3, 4, (distinct, k)) * used
    columns = rng.random((distinct, width)).argsort(axis=1)[:, :k] * used  # column 0 where there is none
    norms = np.repeat(rng.choice([0, 0.5, 1, 2], (distinct, 1)).astype(np.float32), 2, axis=1)
    some = rng.integers(0, distinct, n)
    values, norms = values[some].astype(draw(st.sampled_from([np.float16, np.float32]))), norms[some]
    u = sparse_queries(draw(st.integers(1, 20)), width, draw(st.integers(1, 7)), int(rng.integers(2**16)))
    narrow = Codes(values, columns[some].astype(np.uint16), width, norms), "sparse", u
    h, dtype = draw(st.sampled_from([(width, np.uint16), (width, np.uint32), (70_001, np.uint32)]))
    latents = np.sort(rng.permutation(h)[:width])
    wide = np.zeros((len(u), h), np.float32)
    wide[:, latents] = u
    return narrow, (Codes(values, latents[columns[some]].astype(dtype), h, norms), "sparse", wide)


@given(problems(), st.data())
def test_search_is_the_oracles(problem, data):
    narrow, wide = problem
    n = len(narrow[0])
    top = data.draw(st.sampled_from([1, -(-n // 2), n]))
    check(wide, top, data.draw(st.sampled_from([5, BLOCK, 2**15])), narrow)


@pytest.mark.parametrize("n", [1, BLOCK, BLOCK + 1, 2 * BLOCK + 1])
def test_sizes_around_a_block(n):
    check((*oracle.integer_problem(n, 3)[:2], sparse_queries(3, 37, 4)), n)


def test_rows_that_no_list_has_rank_between_positive_and_negative_ones():
    values = np.array([-1, 2, 0, 5, -2, 1], np.float16)[:, None]
    codes = Codes(values, np.array([3, 3, 3, 4, 3, 3], np.uint16)[:, None], 6, np.ones((6, 2), np.float32))
    u = np.eye(6, dtype=np.float32)[3:4]
    scores, rows = lists.search(lists.build(codes, 4), "sparse", u, 6)
    assert_array_equal(rows[0], [1, 5, 2, 3, 0, 4])
    assert_array_equal(scores[0], [2, 1, 0, 0, -1, -2])


def test_any_u_is_answered_exactly():
    problem = oracle.integer_problem(45, 3)
    check(problem, 45)
    check((*problem[:2], np.zeros((2, 37), np.float32)), 45)


def test_identical_rows_tie_exactly_wherever_they_stand():
    rng = np.random.default_rng(1)
    codes = Codes(
        np.tile(rng.standard_normal((1, 13)).astype(np.float32), (101, 1)),
        np.tile(rng.permutation(200)[:13].astype(np.uint16), (101, 1)),
        200,
    )
    u = rng.standard_normal((2, 200)).astype(np.float32)
    _, rows = lists.search(lists.build(codes, BLOCK), "sparse", u, 101)
    assert_array_equal(rows, np.tile(np.arange(101), (2, 1)))


def test_real_scores_are_close_to_float64():
    rng = np.random.default_rng(2)
    columns = oracle.integer_problem(300, 1, 99, 32)[0].columns
    codes = Codes(rng.standard_normal((300, 32)).astype(np.float16), columns, 99, np.ones((300, 2), np.float32))
    u = rng.standard_normal((10, 99)).astype(np.float32)
    scores, rows = lists.search(lists.build(codes, BLOCK), "sparse", u, 40)
    exact = u.astype(np.float64) @ codes.to_dense().astype(np.float64).T
    assert_allclose(scores, -np.sort(-exact, axis=1)[:, :40], rtol=1e-5, atol=1e-5)
    assert_allclose(np.take_along_axis(exact, rows, 1), scores, rtol=1e-5, atol=1e-5)


def test_every_finite_float16_is_read_exactly():
    everything = np.arange(2**16, dtype=np.uint16).view(np.float16)
    everything = everything[np.isfinite(everything)]
    n = len(everything)
    built = lists.build(Codes(everything[:, None], np.zeros((n, 1), np.uint16), 1, np.ones((n, 2), np.float32)))
    scores, rows = lists.search(built, "sparse", np.ones((1, 1), np.float32), n)
    assert_array_equal(scores[0], everything[rows[0]].astype(np.float32))
    assert_array_equal(rows[0], np.argsort(-everything.astype(np.float32), kind="stable"))


@pytest.mark.parametrize("threads", [1, 3, 64])
def test_threads_share_one_ranking(threads, monkeypatch):
    monkeypatch.setattr(lists, "cores", lambda: threads)
    monkeypatch.setattr(lists, "SHARE", 1)
    check((*oracle.integer_problem(500, 1)[:2], sparse_queries(12, 37, 4)), 30)


def test_memory_maps_jax_arrays_prefixes_and_packed_rows(tmp_path):
    codes, space, _ = oracle.integer_problem(45, 1, k=9, values="float16")
    u = sparse_queries(4, 37, 4)
    for name in ("values", "columns"):
        np.save(tmp_path / f"{name}.npy", getattr(codes, name))
    mapped = {name: np.load(tmp_path / f"{name}.npy", mmap_mode="r") for name in ("values", "columns")}
    on_device = {name: jnp.asarray(getattr(codes, name)) for name in ("values", "columns")}
    prefix = oracle.replaced(codes.prefix(4), norms=codes.norms)
    for form in (oracle.replaced(codes, **mapped), oracle.replaced(codes, **on_device), prefix):
        check((form, space, u), 11)
    packed = oracle.packed_problem(45, 1)[0]
    for found, wanted in zip(
        lists.search(lists.build(packed, BLOCK), "sparse", u, 45), host.search(packed, "sparse", u, 45), strict=True
    ):
        assert_allclose(found, wanted, rtol=1e-6)


def test_lists_hold_every_nonzero_once():
    codes, _, _ = oracle.integer_problem(2 * BLOCK + 1, 1)
    built = lists.build(codes, BLOCK)
    assert built.starts.shape == (3, codes.h + 1) and built.nbytes == 33 * (5 * (2 + 4) + 4) + 3 * 38 * 4
    again = np.zeros((2 * BLOCK + 1, codes.h), np.float32)
    for number, starts in enumerate(built.starts):
        for latent in range(codes.h):
            here = slice(*(number * BLOCK * codes.k + starts[latent : latent + 2]))
            assert (np.diff(built.rows[here].astype(int)) > 0).all()
            again[number * BLOCK + built.rows[here], latent] = built.values[here]
    assert_array_equal(again, codes.to_dense())


def test_share_of_the_nonzeros_that_queries_touch():
    codes = oracle.integer_problem(2 * BLOCK + 1, 1)[0]
    u = sparse_queries(5, 37, 4)
    counts = np.bincount(codes.columns.reshape(-1), minlength=37)
    wanted = np.mean([counts[one != 0].sum() for one in u]) / counts.sum()
    assert lists.touched(lists.build(codes, BLOCK), u) == pytest.approx(wanted)


def test_sizes_out_of_range():
    codes, _, u = oracle.integer_problem(45, 2)
    for top, chunk, message in ((0, None, "top must be an integer from 1 .* not 0"), (3, 0, "chunk must .* not 0")):
        with pytest.raises(InputError, match=message):
            lists.search(lists.build(codes), "sparse", u, top, chunk=chunk)
    with pytest.raises(InputError, match="space must be one of 'sparse', not 'dense_query'"):
        lists.search(lists.build(codes), "dense_query", u, 3)
    with pytest.raises(InputError, match="block must be an integer from 1 to 65536, not 65537"):
        lists.build(codes, 65_537)
