"""Rows that are passed over against scans that score all of them, and bounds against exact scores in float64."""

import functools

import numpy as np
import pytest
from codes.storage.test_packed import some_levels
from codes.storage.test_residual import packing, shared, some_rows
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from compressae_jax.codes.codes import Codes
from compressae_jax.codes.storage.packed import Packed, pack
from compressae_jax.codes.storage.residual import Residual, numbers
from compressae_jax.retrieval import filters
from compressae_jax.retrieval.backends import bounds, host

# h of the nonzeros, k, d, bytes dealt: a last group that is not whole, one bit, a bitmap of several words, few and
# many bits.
SHAPES = [(600, 4, 20, 9), (512, 9, 128, 40), (300, 64, 40, 20), (41, 3, 16, 2), (512, 9, 60, 55)]
N = 900

needs_vectors = pytest.mark.skipif(not bounds.runs(), reason="this machine has no such vectors")


@pytest.fixture(scope="module", autouse=True)
def of_few_rows_too():
    with pytest.MonkeyPatch.context() as changed:
        changed.setattr(bounds, "LEAST_ROWS", 0)
        yield


@functools.cache
def rows_of(shape):
    how = packing(*shape)
    return how, pack(some_rows(how, N)[0], how).records


def problem(shape, kind, seed, q):
    """Rows and queries that are awkward in some way."""
    (how, records), rng = rows_of(shape), np.random.default_rng(seed)
    if kind == "any bytes":
        records = rng.integers(0, 256, (N, how.width), np.uint8)
        records[rng.random(N) < 0.1] = 0
        records[rng.random(N) < 0.1, : how.first.width] = 0  # no nonzero, yet coordinates: a damaged row scores 0
    if kind == "equal rows":
        records = records[rng.integers(1, 9, N)]
    if kind == "one scale":
        records = records.copy()
        records[:, how.first.width] = np.where(records.any(axis=1), 200, 0)
    u = rng.standard_normal((q, how.h)).astype(np.float32)
    if kind == "queries of zeros":
        u[::2] = 0
        u[:, how.first.h :] *= rng.integers(0, 2)
    if kind == "queries of any size":
        u *= np.float32(10) ** rng.integers(-44, 38, (q, 1)).astype(np.float32)
    if kind == "zero rows":  # and damaged ones: they score 0, whatever their coordinates, all of the lowest level, say
        records = np.where(rng.random((N, 1)) < 0.2, np.uint8(0), records)
        records[~records.any(axis=1) & (rng.random(N) < 0.5), how.first.width] = 255
        u[:, how.first.h :] = np.abs(u[:, how.first.h :])
    if kind == "ties":
        u[:] = 0
        u[:, how.first.h : how.first.h + 3] = 1
    return Packed(records, how), u


KINDS = ("any bytes", "equal rows", "one scale", "queries of zeros", "queries of any size", "zero rows", "ties")


@needs_vectors
@example(SHAPES[1], "zero rows", 2, 1, 600, None, 0)  # the worst result is below 0
@example(SHAPES[1], "zero rows", 2, 5, 600, None, 0)
@settings(max_examples=30, deadline=None)
@given(
    st.sampled_from(SHAPES),
    st.sampled_from(KINDS),
    st.integers(0, 2**32),
    st.sampled_from([1, 2, 5, 19]),
    st.sampled_from([1, 7, 100, 600]),
    st.sampled_from([100, 300, None]),
    st.sampled_from([0, 0, bounds.OFTEN]),  # 0: bounds are never given up
)
def test_results_are_the_bits_of_a_scan_that_scores_all_rows(shape, kind, seed, q, top, chunk, often):
    (rows, u), rng = problem(shape, kind, seed, q), np.random.default_rng(seed)
    allowed = rng.random(N) < 0.7 if seed % 3 == 0 else None
    without = None
    if seed % 2:
        each = [np.flatnonzero(rng.random(N) < 0.1) for _ in range(q)]
        without = filters.Without(np.concatenate([[0], np.cumsum([len(one) for one in each])]), np.concatenate(each))
    given = rows, "reconstructed", u, top
    with pytest.MonkeyPatch.context() as changed, np.errstate(all="ignore"):
        wanted = host.search(*given, allowed=allowed, without=without, bounded=False)
        changed.setattr(bounds, "OFTEN", often)
        found = host.search(*given, allowed=allowed, without=without, chunk=chunk)
    for ours, exact in zip(found, wanted, strict=True):
        assert_array_equal(ours, exact)


def bound(rows, u):
    """The bounds (q, n) that the loops compare, put together in float64 from their tables; and exact scores."""
    beside = rows.beside("reconstructed")
    form, q = bounds.form(beside), len(u)
    *_, tables, numbers = bounds.asked_of(form, beside, host.fixed(u), np.empty((rows.h, 16), np.float32))
    tail = rows.records[:, beside.bytes_before + 1 :]
    lines = np.zeros((len(rows), len(form.weights)), np.uint8)
    lines[:, : tail.shape[1]] = tail
    for line, other, first in form.mixed:
        lines[:, line] = lines[:, other] if first else lines[:, line] ^ lines[:, other]
    low, high = lines & 15, 16 + (lines >> 4)
    at = np.arange(lines.shape[1])
    sums = np.stack([tables[i][at, low].astype(int).sum(1) + tables[i][at, high].astype(int).sum(1) for i in range(q)])
    assert sums.max() < 2**16 and (tables[:, :, :16].max(2).astype(int) + tables[:, :, 16:].max(2) < 256).all()
    codes, some = rows.codes(), beside.first.k
    few = np.einsum("nk,qnk->qn", codes.values[:, :some].astype(np.float64), u[:, codes.columns[:, :some]])
    exact = np.einsum("nk,qnk->qn", codes.values.astype(np.float64), u[:, codes.columns])
    scales = beside.scales[rows.records[:, beside.bytes_before]].astype(np.float64)
    step, base, more = numbers.astype(np.float64).T[:, :, None]
    return scales * (step * sums + base) + few + more, exact


@needs_vectors
@pytest.mark.parametrize("shape", [*SHAPES, (2048, 9, 384, 111)])
def test_bounds_are_not_below_exact_scores_and_near_them(shape):
    how = packing(*shape)
    codes, _, _ = some_rows(how, 200)
    rows = pack(codes[np.flatnonzero(codes.values.any(axis=1))], how)
    u = np.random.default_rng(0).standard_normal((5, how.h)).astype(np.float32)
    least, exact = bound(rows, u)
    assert (least > exact).all()
    assert (least - exact).max() < (1.2 if how.widths.max() <= 3 else 6) * exact.std()


def test_levels_are_nearly_sums_of_products_of_their_bits():
    how = packing(*SHAPES[0])
    for bits in range(1, 9):
        levels = how.tables[bits, : 2**bits].astype(np.float64)
        masks, sizes, away = bounds.terms(levels)
        bit = 2 * (np.arange(2**bits)[:, None] >> np.arange(bits) & 1) - 1
        made = sum(
            size * bit[:, [b for b in range(bits) if mask >> b & 1]].prod(axis=1)
            for mask, size in zip(masks, sizes, strict=True)
        )
        assert np.abs(levels - made).max() == pytest.approx(away, abs=1e-12)
        assert {1 << b for b in range(bits)} <= set(masks)
        assert away < 1e-9 if bits <= 2 else away < 0.4 * levels.max()


def test_what_overflows_has_no_bound():
    how = packing(*SHAPES[0])
    beside = Packed(np.zeros((1, how.width), np.uint8), how).beside("reconstructed")
    form = bounds.form(beside)
    if form is None:
        pytest.skip("this machine has no such vectors")
    u = np.full((3, how.h), 1e38, np.float32)
    u[1], u[2] = 1e-40, np.inf
    *_, numbers = bounds.asked_of(form, beside, host.fixed(u), u.T)
    assert not np.isfinite(numbers[[0, 2], 1]).any() and np.isfinite(numbers[1]).all()


def with_scales(lowest, m=8, coordinates=None):
    """Rows of valid nonzeros and m coordinates of 2 bits, or `coordinates` in bytes, at scales from `lowest` on."""
    rng = np.random.default_rng(0)
    bits = 2 if coordinates is None else 8
    counts = [m // 8 if one == bits else 0 for one in range(1, 9)]
    levels = numbers(some_levels(4, 0), tuple(np.float32([lowest, 1.01]).tolist()), counts, shared(), np.ones(m))
    how = Residual(64 + m, 4 + m, 4, levels)
    few, _, _ = some_rows(packing(64, 4, 20, 9), N)
    few = Codes(few.values[:, :4], few.columns[:, :4], 64)
    few = Codes(few.values[few.values.any(axis=1)], few.columns[few.values.any(axis=1)], 64)
    records = np.full((len(few), how.width), 255, np.uint8)
    records[:, : how.first.width] = pack(few, how.first).records
    if coordinates is not None:
        records[:, how.first.width + 1 :] = coordinates(rng, (len(few), how.width - how.first.width - 1))
    records[:, how.first.width] = np.arange(len(few)) // 20
    return Packed(records, how)


@needs_vectors
@pytest.mark.parametrize(
    ("lowest", "entry"),
    [
        (1e30, 3e-45),  # scales make a score of what is nearly no number in a query
        (1e-20, 3e38),  # what is multiplied with the scale overflows, the score does not
    ],
)
def test_scales_and_queries_at_the_ends_of_float32(lowest, entry, monkeypatch):
    rows, rng = with_scales(lowest), np.random.default_rng(22)
    monkeypatch.setattr(bounds, "OFTEN", 0)
    u = np.zeros((40, rows.h), np.float32)
    u[:, 64:] = np.float32(entry) * rng.uniform(0.3, 1, (40, 8))
    for some in (u, *u[:, None]):
        wanted = host.search(rows, "reconstructed", some, 5, bounded=False)
        for ours, exact in zip(host.search(rows, "reconstructed", some, 5), wanted, strict=True):
            assert_array_equal(ours, exact)


@needs_vectors
def test_rows_of_more_bytes_than_sums_have_room_for():
    rows = with_scales(0.25, 2**14, lambda rng, shape: rng.integers(0, 256, shape, np.uint8))
    u = np.random.default_rng(1).standard_normal((3, rows.h)).astype(np.float32)
    wanted = host.search(rows, "reconstructed", u, 5, bounded=False)
    for ours, exact in zip(host.search(rows, "reconstructed", u, 5), wanted, strict=True):
        assert_array_equal(ours, exact)


@needs_vectors
def test_few_rows_are_all_scored_by_loops_that_are_soon_compiled(monkeypatch):
    how, records = rows_of(SHAPES[0])
    called, scan = [], bounds.scan
    monkeypatch.setattr(bounds, "scan", lambda *given: called.append(1) or scan(*given))
    u = np.random.default_rng(0).standard_normal((1, how.h), np.float32)
    for least, wanted in ((N + 1, False), (N, True)):
        monkeypatch.setattr(bounds, "LEAST_ROWS", least)
        host.search(Packed(records, how), "reconstructed", u, 5)
        assert bool(called) == wanted
