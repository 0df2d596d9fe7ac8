"""Fast rows against a slow truth: Python integers for their bits; and loops with vectors against those without."""

import itertools
import math

import numpy as np
import pytest
from codes.storage.test_packed import nearest, rising, some_codes, some_levels
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from compressae_jax.codes.codes import Codes
from compressae_jax.codes.storage import fast_kernels, fast_on_device
from compressae_jax.codes.storage.fast import Fast, low_bits
from compressae_jax.codes.storage.kinds import record_width
from compressae_jax.codes.storage.packed import Packed, check_records, pack
from compressae_jax.notation import InputError

# Bitmaps of less and more than one, two and eight words, odd k and even, low bits from 1 to 8.
SMALL = [(1, 1), (7, 7), (41, 3), (256, 5), (256, 60), (257, 1), (300, 128), (512, 25), (512, 59), (1024, 49)]
LARGE = [(2048, 44), (4096, 39), (8192, 17), (8192, 33), (8192, 98), (65_536, 301)]
SHAPES = [*SMALL, *LARGE]


def packing(h, k, seed=0):
    return Fast(h, k, 4, some_levels(4, seed))


def oracle_record(values, columns, how):
    """One row as a Python integer, from the words of docs/FORMAT.md."""
    if not values.any():
        return 0
    record, k, low = 0, how.k, shortest(how.h, how.k)
    for i, column in enumerate(int(column) for column in columns):
        record |= column % 2**low << low * i
        record |= 1 << ((low + 4) * k + column // 2**low + i)
    for i, (value, number) in enumerate(zip(values, nearest(values, how.levels)[1], strict=True)):
        record |= (int(number) + (8 if value < 0 else 0)) << (low * k + 4 * i)
    return record


def shortest(h, k):
    """Low bits of the shortest rows, the most of equal ones, by trying all."""
    lengths = {low: (low + 5) * k + math.ceil(h / 2**low) - 1 for low in range(1, 9) if h <= 256 * 2**low}
    return max(low for low in lengths if lengths[low] == min(lengths.values()))


@pytest.mark.parametrize(("h", "k"), SHAPES)
def test_records_are_those_of_the_oracle(h, k):
    how, codes = packing(h, k), some_codes(h, k)
    packed = pack(codes, how)
    wanted = [oracle_record(*row, how) for row in zip(*rising(codes), strict=True)]
    assert [int.from_bytes(record.tobytes(), "little") for record in packed.records] == wanted
    assert packed.records.shape == (len(codes), math.ceil(how.bits_per_row / 8))
    assert packed.storage == "fast4" and packed.nbytes == packed.records.nbytes
    check_records(packed)


def test_the_row_of_the_format_page():
    how = Fast(600, 3, 4, (0.25, 0.5, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0))
    values, columns = np.array([[2, -0.5, 0.25], [0, 0, 0]], np.float32), np.array([[260, 599, 7]] * 2, np.uint16)
    wanted = bytes.fromhex("07 c2 15 26 93") + bytes(5)
    assert pack(Codes(values, columns, 600), how).records.tobytes() == wanted


@st.composite
def problems(draw):
    h = draw(st.one_of(st.integers(1, 600), st.sampled_from([4096, 8192, 65_535, 65_536])))
    k = draw(st.integers(1, min(h, 140)) if draw(st.booleans()) else st.integers(1, min(h, 12)))
    return h, k, draw(st.integers(0, 2**32))


@settings(max_examples=60, deadline=None)
@given(problems())
@example((140, 140, 0))
def test_round_trip(problem):
    h, k, seed = problem
    how, codes = packing(h, k, seed), some_codes(h, k, 5, seed)
    packed = pack(codes, how)
    values, columns = rising(codes)
    again, used = packed.codes(), values.any(axis=1)
    assert_array_equal(again.columns[used], columns[used], strict=True)
    assert_array_equal(again.columns[~used], np.tile(np.arange(k), ((~used).sum(), 1)))
    assert_array_equal(again.values, nearest(values, how.levels)[0], strict=True)
    assert_array_equal(pack(again, how).records, packed.records)
    check_records(packed)


@settings(max_examples=60, deadline=None)
@given(problems(), st.sampled_from([0, 1, 31, 33, 70]), st.sampled_from(["random", "flips", "no bits", "all bits"]))
@example((8192, 98, 0), 70, "no bits")
def test_damaged_rows_are_the_same_by_all_loops_and_safe_to_score(problem, n, damage):
    """Nothing is read or written outside, no column reaches h, too few and too many bits of a bitmap among them."""
    h, k, seed = problem
    how, rng = packing(h, k), np.random.default_rng(seed)
    records = rng.integers(0, 256, (n, how.width), np.uint8)
    if damage == "flips":
        records = np.where(rng.random(records.shape) < 0.02, records, pack(some_codes(h, k, 70, seed), how).records[:n])
    elif damage != "random":
        records[:, ((how.low + 4) * k + 7) // 8 :] = 0 if damage == "no bits" else 255
    found = []
    loops = [fast_kernels.unpack, *(module.unpack for module in fast_kernels.with_vectors())]
    for unpack in loops:
        values, columns = np.full((n + 2, k), 7, np.float32), np.full((n + 2, k), 7, np.uint16)
        unpack(records, h, how.low, how.signed, values[1:-1], columns[1:-1])
        assert (columns[1:-1] < h).all()
        assert (values[[0, -1]] == 7).all() and (columns[[0, -1]] == 7).all()
        found.append((values, columns))
    for one in found[1:]:
        for ours, wanted in zip(one, found[0], strict=True):
            assert_array_equal(ours, wanted)


@pytest.mark.parametrize(("h", "k"), [(1, 1), (41, 3), (512, 59), (1024, 49), (2048, 44), (8192, 17), (65_536, 301)])
def test_a_device_reads_what_loops_read_of_any_bytes_and_lowers_for_cuda(h, k):
    how, rng = packing(h, k), np.random.default_rng(k)
    records = rng.integers(0, 256, (40, how.width), np.uint8)
    records[::5], records[3, ((how.low + 4) * k + 7) // 8 :], records[4] = 0, 0, 255
    values, columns = np.empty((40, k), np.float32), np.empty((40, k), np.uint16)
    fast_kernels.unpack(records, h, how.low, how.signed, values, columns)
    for ours, wanted in zip(fast_on_device.unpack(records, how.signed, h, k), (values, columns), strict=True):
        assert_array_equal(ours, wanted)
    lowered = fast_on_device.unpack.trace(records, how.signed, h, k).lower(lowering_platforms=("cuda",))
    assert "popcnt" in lowered.as_text()


@pytest.mark.parametrize(("h", "k"), [(600, 3), (64, 4), (8192, 20)])
def test_a_changed_bit_is_caught_or_another_legal_row(h, k):
    """What is not caught decodes to k rising columns below h and to levels: never to anything else."""
    how = packing(h, k)
    packed = pack(some_codes(h, k, n=3), how)
    caught = 0
    for at in range(8 * how.width * len(packed)):
        records = packed.records.copy()
        records.reshape(-1)[at // 8] ^= 1 << at % 8
        changed = Packed(records, how)
        try:
            check_records(changed)
        except InputError as error:
            caught += 1
            assert f"row {at // 8 // how.width} " in str(error)
        else:
            again = changed.codes()
            assert (again.columns < h).all() and (np.diff(again.columns.astype(int), axis=1) > 0).all()
            assert_array_equal(pack(again, how).records, records)
    assert caught > 8 * len(packed) * how.bitmap_bits / 10  # a bit more or less in a bitmap always is


def test_records_of_another_width_are_not_read():
    how = packing(600, 3)
    for records in (np.zeros((2, how.width - 1), np.uint8), np.zeros((2, how.width), np.uint16)):
        with pytest.raises(InputError, match=rf"records must be \(n, {how.width}\) uint8, not"):
            Packed(records, how).codes()


def test_shapes_have_all_low_bits_and_the_shortest_rows():
    assert {low_bits(h, k) for h, k in SHAPES} == set(range(1, 9))
    for h, k in itertools.product([1, 5, 256, 600, 2048, 8192, 65_536], [1, 2, 3, 9, 20, 44, 110, 301]):
        assert low_bits(h, k) == shortest(h, k)


@pytest.mark.parametrize("h", [512, 2048, 8192])
def test_bytes_are_near_those_of_ranks(h):
    for k in range(math.ceil(h / 500), h // 10):
        ranked = record_width("packed4", h, k)
        assert record_width("fast4", h, k) <= 1.05 * ranked + 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"h": 2**16 + 1}, "h must be an integer from 1 to 65536"),
        ({"bits": 3, "levels": (1.0, 2.0, 3.0, 4.0)}, "bits of a value of fast rows must be"),
        ({"k": 42}, "k must be an integer from 1 to 41"),
    ],
)
def test_packings_that_cannot_be(changes, message):
    with pytest.raises(InputError, match=message):
        Fast(**({"h": 41, "k": 3, "bits": 4, "levels": some_levels(4)} | changes))
