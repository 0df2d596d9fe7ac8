"""Rows of nonzeros and coordinates against a slow truth: Python integers for their bytes, from docs/FORMAT.md."""

import dataclasses

import numpy as np
import pytest
from codes.storage.test_packed import some_codes, some_levels
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from compressae_jax.codes.codes import Codes
from compressae_jax.codes.storage import residual_kernels
from compressae_jax.codes.storage.packed import Packed, check_records, pack
from compressae_jax.codes.storage.residual import ERRORS, GROUP, HEAD, Residual, dealt, numbers
from compressae_jax.notation import InputError

SHAPES = [(41, 3, 16, 5), (600, 4, 20, 9), (64, 1, 9, 2), (512, 9, 128, 40)]  # h of the nonzeros, k, d, bytes dealt


def shared(seed=0):
    rng = np.random.default_rng(seed)
    return np.concatenate([np.sort(rng.uniform(0.1, 3, 2**bits)) for bits in range(8)])


def packing(h, k, d, count, seed=0):
    deviations = np.sort(np.random.default_rng(seed).uniform(0.01, 1, d))[::-1]
    counts = dealt(deviations, count)
    levels = numbers(some_levels(4, seed), (0.25, 1.01), counts, shared(seed), deviations)
    return Residual(h + d, k + min(GROUP * int(counts.sum()), d), 4, levels)


def some_rows(how, n=20, seed=0):
    """Nonzeros of the first columns and coordinates on levels, at a scale a row; every fifth row is zero."""
    rng = np.random.default_rng(seed)
    m = how.coordinates
    few = some_codes(how.first.h, how.first.k, n, seed)
    scales = rng.integers(0, 256, n)
    places = rng.integers(0, 2**how.widths, (n, m))
    coordinates = how.tables[how.widths, places] * (how.deviations * how.scales_of_rows[scales][:, None])
    levels = np.array(how.levels[:8], np.float32)
    magnitudes = levels[np.abs(np.abs(few.values)[:, :, None] - levels).argmin(axis=2)]
    values = np.where(few.values != 0, np.copysign(magnitudes, few.values), 0)
    values = np.concatenate([values, coordinates], axis=1).astype(np.float32)
    values[::5] = 0
    values[~values[:, : how.first.k].any(axis=1)] = 0
    columns = np.concatenate([few.columns, np.tile(how.first.h + np.arange(m), (n, 1))], axis=1).astype(np.uint16)
    return Codes(values, columns, how.h), scales, places


def oracle_tail(scale, places, how):
    """Scale and coordinates of a row, a byte a bit of a group."""
    found = [int(scale)]
    for start in range(0, how.coordinates, GROUP):
        bits = int(how.widths[start])
        for plane in reversed(range(bits)):
            some = places[start : start + GROUP]
            found.append(sum((int(number) >> plane & 1) << i for i, number in enumerate(some)))
    return bytes(found)


@pytest.mark.parametrize(("h", "k", "d", "count"), SHAPES)
def test_records_are_those_of_the_oracle(h, k, d, count):
    how = packing(h, k, d, count)
    codes, scales, places = some_rows(how)
    packed = pack(codes, how)
    at, used = how.first.width, codes.values.any(axis=1)
    few = Codes(codes.values[:, : how.first.k], codes.columns[:, : how.first.k], h)
    assert_array_equal(packed.records[:, :at], pack(few, how.first).records)
    for record, is_used, *row in zip(packed.records, used, scales, places, strict=True):
        assert record[at:].tobytes() == (oracle_tail(*row, how) if is_used else bytes(how.width - at))
    assert packed.storage == "residual4" and how.width == at + 1 + count
    check_records(packed)


def test_the_row_of_the_format_page():
    levels = np.concatenate([[1.0], [0.5, 1.5], *(np.arange(1.0, 2**bits + 1) for bits in range(2, 8))])
    how = Residual(
        10, 3, 4, numbers([float(i) for i in range(1, 9)], (0.5, 1.01), [0, 1, 0, 0, 0, 0, 0, 0], levels, [0.8, 0.4])
    )
    codes = Codes(np.array([[2, 0.6, -0.1]], np.float32), np.array([[5, 8, 9]], np.uint16), 10)
    record = pack(codes, how).records[0]
    assert record[how.first.width :].tobytes() == bytes.fromhex("00 01 03")
    assert record[: how.first.width].any()


@settings(max_examples=30, deadline=None)
@given(st.sampled_from(SHAPES), st.integers(0, 2**32))
def test_round_trip(shape, seed):
    how = packing(*shape, seed=seed)
    codes, _, _ = some_rows(how, 8, seed)
    packed = pack(codes, how)
    again, order = packed.codes(), np.argsort(codes.columns, axis=1, kind="stable")
    assert_array_equal(again.values, np.take_along_axis(codes.values, order, axis=1))
    used = codes.values.any(axis=1)
    assert_array_equal(again.columns[used], np.take_along_axis(codes.columns, order, axis=1)[used])
    assert_array_equal(pack(again, how).records, packed.records)


def test_floats_go_to_the_scale_and_the_levels_of_least_error():
    how = packing(41, 3, 16, 5)
    codes, _, _ = some_rows(how, 12, 3)
    values = codes.values * np.random.default_rng(0).uniform(0.9, 1.1, codes.values.shape).astype(np.float32)
    found = pack(dataclasses.replace(codes, values=values), how).codes().values[:, how.first.k :]
    wanted = values[:, how.first.k :]
    units = how.deviations * how.scales_of_rows[:, None]
    levels = how.tables[how.widths][None] * units[:, :, None]
    legal = np.arange(256) < (2**how.widths)[:, None]
    for row in np.flatnonzero(wanted.any(axis=1)):
        errors = np.where(legal, np.square(levels - wanted[row][None, :, None]), np.inf).min(axis=2).sum(axis=1)
        assert np.square(found[row] - wanted[row]).sum() == pytest.approx(errors.min(), rel=1e-4)


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(SHAPES), st.integers(0, 2**32))
def test_any_bytes_are_safe_to_score_and_refused_unless_they_are_rows(shape, seed):
    how, rng = packing(*shape), np.random.default_rng(seed)
    records = np.where(rng.random((30, how.width)) < 0.5, rng.integers(0, 256, (30, how.width)), 0).astype(np.uint8)
    codes = Packed(records, how).codes()
    assert (codes.columns < how.h).all() and np.isfinite(codes.values).all()
    for row, good in enumerate(how.sound(records)):
        if good:
            assert_array_equal(pack(codes[row : row + 1], how).records, records[row : row + 1])
        else:
            with pytest.raises(InputError, match="the record of row 0 is none"):
                check_records(Packed(records[row : row + 1], how))


def test_columns_that_are_not_the_coordinates_are_refused():
    how = packing(41, 3, 16, 1)
    codes, _, _ = some_rows(how)
    columns = codes.columns.copy()
    columns[:, -1] = 41 + 15
    with pytest.raises(InputError, match="a row must have 3 columns below 41, and the first"):
        pack(dataclasses.replace(codes, columns=columns), how)


def test_bytes_go_where_they_lessen_the_error_most():
    deviations = np.sort(np.random.default_rng(0).uniform(0.01, 1, 24))[::-1]
    squares = np.square(deviations).reshape(-1, GROUP).sum(axis=1)

    def error(bits):
        return sum(square * ERRORS[b] for square, b in zip(squares, bits, strict=True))

    for count in (1, 5, 11, 24):
        bits = np.repeat(np.arange(8, 0, -1), dealt(deviations, count)[::-1])
        bits = np.pad(bits, (0, 3 - len(bits)))
        every = [b for b in np.ndindex(9, 9, 9) if sum(b) == count]
        assert bits.sum() == count and error(bits) == pytest.approx(min(map(error, every)))
    with pytest.raises(InputError, match="bytes of coordinates must be an integer from 1 to 24, not 25"):
        dealt(deviations, 25)


@pytest.mark.parametrize(
    ("place", "number", "message"),
    [
        (8, 0.0, "scales of residual rows must rise from above 0"),
        (9, 1.0, "scales of residual rows must rise"),
        (9, 16.0, "scales of residual rows must rise"),
        (9, float("nan"), "levels must be finite numbers"),
        (10, 0.5, "groups of residual rows must be 1 to 2"),
        (10, 9.0, "groups of residual rows must be 1 to 2"),
        (18, -1.0, "levels of 1 bits must be positive and rising"),
        (20, 0.0, "levels of 2 bits must be positive and rising"),
        (HEAD, -1.0, "deviations of residual rows must not be negative"),
        (0, 0.0, "levels must be positive, finite and rising"),
    ],
)
def test_levels_that_cannot_be(place, number, message):
    how = packing(41, 3, 16, 5)
    levels = list(how.levels)
    levels[place] = number
    with pytest.raises(InputError, match=message):
        dataclasses.replace(how, levels=tuple(levels))


def test_sizes_that_cannot_be():
    how = packing(41, 3, 16, 5)
    for changes, message in (
        ({"k": how.coordinates}, "k of residual rows must be"),
        ({"levels": how.levels[:HEAD]}, f"more than {HEAD} numbers"),
        ({"bits": 5}, "bits of a value of residual rows"),
        ({"h": 2**16 + 1}, "h must be an integer from 1 to 65536"),
    ):
        with pytest.raises(InputError, match=message):
            dataclasses.replace(how, **changes)


@pytest.mark.parametrize(("h", "k", "d", "count"), [*SHAPES, (600, 9, 128, 126), (64, 3, 200, 4), (4096, 8, 384, 111)])
def test_vectors_take_apart_what_loops_do(h, k, d, count):
    """Any bytes, zero rows among them, and nothing is written beside the rows."""
    if not residual_kernels.with_vectors():
        pytest.skip("this machine has no such vectors")
    how, rng = packing(h, k, d, count), np.random.default_rng(d)
    for n in (1, 3, 50):
        records = rng.integers(0, 256, (n, how.width), np.uint8)
        few = rng.standard_normal((n, k)).astype(np.float32)
        few[::4] = 0
        given = how.deviations, how.scales_of_rows, how.widths, how.tables
        loops = [residual_kernels.unpack, *(module.unpack for module in residual_kernels.with_vectors())]
        found = np.full((len(loops), n + 1, how.k), 7, np.float32)
        for unpack, values in zip(loops, found, strict=True):
            unpack(records, how.first.width, few, *given, values[:n])
            assert_array_equal(values, found[0])
        assert (found[:, n] == 7).all() and (found[:, :n, :k] == few).all()
