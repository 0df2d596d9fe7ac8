"""Filters in every backend: the results are the oracle's, which scores all rows and masks afterwards."""

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from retrieval import oracle

from compressae_jax.codes.joined import join
from compressae_jax.notation import InputError
from compressae_jax.retrieval.backends import bcoo, host, lists, running_top, scan
from compressae_jax.retrieval.filters import Without, cut

C = 16
SIDES = {
    "host": (host, lambda rows: rows),
    "lists": (lists, lambda rows: lists.build(rows, C)),
    "scan, streamed": (scan, lambda rows: rows),
    "scan, one device": (scan, lambda rows: scan.Placed(rows, jax.devices()[:1])),
    "scan, three devices": (scan, lambda rows: scan.Placed(rows, jax.devices()[:3])),
    "bcoo": (bcoo, lambda rows: rows),
}


@pytest.fixture(params=SIDES)
def side(request):
    return SIDES[request.param]


def check(side, rows, u, top, allowed=None, without=None):
    backend, form = side
    scores, found = backend.search(form(rows), "sparse", u, top, allowed=allowed, without=without, chunk=C)
    assert scores.dtype == np.float32 and found.dtype == np.int64
    wanted_scores, wanted = oracle.search(rows, "sparse", u, top, allowed, without)
    assert_array_equal(found, wanted)
    assert_array_equal(scores, wanted_scores)


def without_of(taken):
    """Of a boolean matrix (q, n)."""
    return Without(np.concatenate([[0], np.cumsum(taken.sum(axis=1))]), np.nonzero(taken)[1])


@st.composite
def problems(draw):
    """Rows full of ties, and filters of any density; now and then a query may get nothing."""
    n, q, top = draw(st.sampled_from([(6 * C + 1, 9, 7), (6 * C + 1, 1, 130), (1, 9, 7)]))  # each is compiled
    rng = np.random.default_rng(draw(st.integers(0, 2**16)))
    rows, _, u = oracle.integer_problem(n, q, seed=int(rng.integers(2**16)))
    shares = st.sampled_from([0, 0.03, 0.5, 0.9, 1])
    allowed = rng.random(n) < draw(shares) if draw(st.booleans()) else None
    taken = rng.random((q, n)) < draw(shares)
    taken[rng.random(q) < 0.2] = True
    return rows, u, top, allowed, without_of(taken) if draw(st.booleans()) else None


@pytest.mark.parametrize("name", SIDES)
@given(problem=problems())
def test_search_is_the_oracles(name, problem):
    check(SIDES[name], *problem)


def test_more_than_there_are(side):
    rows, _, u = oracle.integer_problem(2 * C + 1, 3)
    check(side, rows, u, 50)
    check(side, rows, u, 50, np.arange(2 * C + 1) == C)
    check(side, rows, u, 5, without=without_of(np.ones((3, 2 * C + 1), bool)))


def test_no_rows_and_no_queries(side):
    backend, form = side
    rows, _, u = oracle.integer_problem(C, 3)
    scores, found = backend.search(form(rows), "sparse", u[:0], 4, allowed=np.ones(C, bool))
    assert scores.shape == found.shape == (0, 4)
    if backend is not lists and form(rows) is rows:
        scores, found = backend.search(rows[:0], "sparse", u, 4, allowed=np.zeros(0, bool))
        assert np.isneginf(scores).all() and (found == -1).all()


@pytest.mark.parametrize("storage", ["packed3", "fast4"])
def test_packed_rows(side, storage):
    rows, _, u = oracle.packed_problem(6 * C + 1, 9, storage=storage)
    rows = oracle.replaced(rows.codes(), norms=np.ones((6 * C + 1, 2), np.float32)) if side[0] is lists else rows
    space = "sparse" if side[0] is lists else "reconstructed"
    taken = np.random.default_rng(0).random((9, 6 * C + 1)) < 0.4
    for share in (0.03, 0.5):
        filters = np.random.default_rng(1).random(6 * C + 1) < share, without_of(taken)
        found = side[0].search(side[1](rows), space, u, 11, allowed=filters[0], without=filters[1])
        for ours, wanted in zip(found, oracle.search(rows, space, u, 11, *filters), strict=True):
            assert_array_equal(ours, wanted)


@pytest.mark.parametrize("q", [1, 3, 65, 200])  # one by one, a block and a query more, several groups
def test_each_query_has_its_own(side, q, monkeypatch):
    monkeypatch.setattr(host, "HEAPS", 2 * 12 * 7 * 70)
    monkeypatch.setattr(running_top, "WINDOW", 32)
    rows, _, u = oracle.integer_problem(2 * C + 1, 1)
    u = np.repeat(u, q, axis=0)
    taken = np.random.default_rng(q).random((q, 2 * C + 1)) < 0.5
    check(side, rows, u, 7, without=without_of(taken))


@pytest.mark.parametrize("side", [(host, True), (scan, True), (scan, False)], ids=["host", "scan", "scan, floats"])
@pytest.mark.parametrize("parts", [1, 3])
def test_only_the_rows_of_few_are_read(side, parts, monkeypatch):
    backend, packed = side
    rows, space, u = (oracle.packed_problem if packed else oracle.integer_problem)(6 * C + 1, 9)
    allowed = np.arange(6 * C + 1) % 5 == 3
    allowed[-C:] = False
    read, reader = [], type(rows).reader

    def watched(*given, **more):
        part = reader(*given, **more)

        def counted(here):
            some = part(here)
            read.append(len(some.values))
            return some

        return counted

    monkeypatch.setattr(type(rows), "reader", watched)
    form = join([rows[start : start + 40] for start in (0, 40, 80)]) if parts > 1 else rows
    taken = without_of(np.random.default_rng(0).random((9, 6 * C + 1)) < 0.3)
    found = backend.search(form, space, u, 11, allowed=allowed, without=taken, chunk=7)
    for ours, wanted in zip(found, oracle.search(rows, space, u, 11, allowed, taken), strict=True):
        assert_array_equal(ours, wanted)
    assert sum(read) == allowed.sum()


def test_few_rows_that_nobody_verified_are_never_scored_outside_h():
    rows, space, u = oracle.integer_problem(6 * C + 1, 3)
    rows.columns[C + 3, 2] = 37
    unverified = oracle.replaced(rows, verified=False)
    allowed = np.arange(6 * C + 1) % 19 == 0
    with pytest.raises(InputError, match=rf"row {C + 3} has a column outside 0\.\.36"):
        scan.search(unverified, space, u, 3, allowed=allowed, chunk=C)


def test_threads_agree(monkeypatch):
    monkeypatch.setattr(lists, "SHARE", 1)
    rows, _, u = oracle.integer_problem(500, 9)
    taken = np.random.default_rng(0).random((9, 500)) < 0.5
    for backend in (host, lists):
        monkeypatch.setattr(backend, "cores", lambda: 7)
    for name in ("host", "lists"):
        check(SIDES[name], rows, u, 30, np.arange(500) % 3 > 0, without_of(taken))


def test_one_compilation_of_each_loop_serves_all_filters(tmp_path):
    from compressae_jax.retrieval.backends import kernels

    rows, _, u = oracle.integer_problem(C, 9)
    taken = without_of(np.eye(9, C, dtype=bool))
    built = lists.build(rows)
    loops = kernels.scan_one, kernels.scan_block, kernels.scan_lists, kernels.merge
    np.save(tmp_path / "mask.npy", np.arange(C) % 2 == 0)
    host.search(rows, "sparse", u, 3), host.search(rows, "sparse", u[:1], 3), lists.search(built, "sparse", u[:1], 3)
    before = [len(loop.signatures) for loop in loops]
    of_scipy = Without(taken.indptr.astype(np.int32), taken.rows.astype(np.int32))
    masks = None, np.ones(C, bool), np.load(tmp_path / "mask.npy", mmap_mode="r"), (np.arange(2 * C) % 2 == 0)[::2]
    for mask in masks:
        for without in (None, taken, of_scipy):
            for q in (1, 9):
                some = None if without is None else cut(without, 0, q)
                host.search(rows, "sparse", u[:q], 3, allowed=mask, without=some)
                lists.search(built, "sparse", u[:q], 3, allowed=mask, without=some)
    assert [len(loop.signatures) for loop in loops] == before


@pytest.mark.parametrize("backend", [scan, bcoo])
def test_any_number_of_exclusions_costs_few_compilations(backend):
    rows, _, u = oracle.integer_problem(2 * C + 1, 16)
    count = {scan: lambda: scan._absorb_chunks._cache_size(), bcoo: lambda: running_top.absorb._cache_size()}[backend]
    before = count()
    for share in np.linspace(0, 1, 9):
        taken = np.random.default_rng(0).random((16, 2 * C + 1)) < share
        backend.search(rows, "sparse", u, 3, without=without_of(taken), chunk=C)
    assert count() - before <= 2  # without any, and with some
