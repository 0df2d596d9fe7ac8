"""Packed rows against a slow truth: Python integers for ranks and bits, a stable sort for columns."""

import math

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from compressae_jax.codes.codes import Codes
from compressae_jax.codes.storage import packed as packing_module
from compressae_jax.codes.storage.packed import Packed, Packing, check_records, pack, packed_width, split
from compressae_jax.notation import InputError

SHAPES = [(1, 1), (7, 7), (5, 1), (41, 3), (300, 128), (1000, 37), (4096, 42), (65537, 5), (70_001, 1), (2**32, 4)]


def some_levels(bits, seed=0):
    return tuple(np.cumsum(np.random.default_rng(seed).random(2 ** (bits - 1)) + 0.01).astype(np.float32).tolist())


def some_codes(h, k, n=70, seed=0):
    """Rows in no order, zero rows among them, and the lowest and highest k columns there are."""
    rng = np.random.default_rng(seed)
    values = (rng.choice([-1, 1], (n, k)) * rng.gamma(1, 2, (n, k)) + 1e-30).astype(np.float32)
    values[1::13] = 0
    every = h <= 10**5
    columns = np.stack([rng.permutation(h)[:k] if every else rng.choice(2**31, k, replace=False) for _ in range(n)])
    columns[0] = rng.permutation(k)
    columns[2] = h - 1 - rng.permutation(k)
    return Codes(values, columns.astype(np.uint16 if h <= 2**16 else np.uint32), h)


def rising(codes):
    order = np.argsort(codes.columns, axis=1, kind="stable")
    return np.take_along_axis(codes.values, order, axis=1), np.take_along_axis(codes.columns, order, axis=1)


def nearest(values, levels):
    """Each value at its nearest level, by a search through all of them."""
    levels = np.array(levels)
    numbers = np.abs(np.abs(values.astype(np.float64))[..., None] - levels).argmin(axis=-1)
    return np.sign(values) * levels[numbers].astype(np.float32), numbers


def oracle_record(values, columns, packing):
    """One row as a Python integer, from the words of docs/FORMAT.md."""
    low, buckets, rank_bits, _ = split(packing.h, packing.k)
    if not values.any():
        return math.comb(buckets + packing.k - 1, packing.k)
    columns = [int(column) for column in columns]
    record = sum(math.comb((column >> low) + i, i + 1) for i, column in enumerate(columns))
    at = rank_bits
    for column in columns:
        record |= column % 2**low << at
        at += low
    for value, number in zip(values, nearest(values, packing.levels)[1], strict=True):
        record |= (int(number) + (2 ** (packing.bits - 1) if value < 0 else 0)) << at
        at += packing.bits
    return record


@pytest.mark.parametrize("bits", [2, 3, 4, 5, 6, 7, 8])
@pytest.mark.parametrize(("h", "k"), SHAPES)
def test_records_are_those_of_the_oracle(h, k, bits):
    packing, codes = Packing(h, k, bits, some_levels(bits)), some_codes(h, k)
    packed = pack(codes, packing)
    wanted = [oracle_record(*row, packing) for row in zip(*rising(codes), strict=True)]
    assert [int.from_bytes(record.tobytes(), "little") for record in packed.records] == wanted
    assert packed.records.shape == (len(codes), packing.width) and packed.nbytes == packed.records.nbytes
    check_records(packed)


def test_the_row_of_the_format_page():
    packing = Packing(12, 3, 3, (0.25, 0.5, 1.0, 2.0))
    values, columns = np.array([[2, -0.5, 0.25], [0, 0, 0]], np.float32), np.array([[3, 9, 2]] * 2, np.uint16)
    assert pack(Codes(values, columns, 12), packing).records.tobytes() == bytes.fromhex("96 b1 02 38 00 00")


@st.composite
def problems(draw):
    h = draw(st.one_of(st.integers(1, 400), st.integers(65_530, 65_545), st.sampled_from([4096, 10**5])))
    k = draw(st.integers(1, min(h, 90)) if draw(st.booleans()) else st.integers(1, min(h, 12)))
    return h, k, draw(st.integers(2, 8)), draw(st.integers(0, 2**32))


@settings(max_examples=60, deadline=None)
@given(problems())
@example((90, 90, 3, 0))
@example((65_537, 90, 4, 1))
def test_round_trip(problem):
    h, k, bits, seed = problem
    packing, codes = Packing(h, k, bits, some_levels(bits, seed)), some_codes(h, k, 5, seed)
    packed = pack(codes, packing)
    values, columns = rising(codes)
    again = packed.unpack()
    used = values.any(axis=1)
    assert_array_equal(again.columns[used], columns[used], strict=True)
    assert_array_equal(again.values, nearest(values, packing.levels)[0], strict=True)
    assert (np.diff(again.columns.astype(np.int64), axis=1) > 0).all() and again.h == h
    assert_array_equal(pack(again, packing).records, packed.records)
    check_records(packed)


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 2**20), st.integers(1, 300), st.integers(2, 8))
def test_width_is_that_of_the_formula(h, k, bits):
    k = min(k, h)
    low, buckets, rank_bits, zero_rank = split(h, k)
    assert buckets == -(-h // 2**low) and (buckets == 1 or buckets <= 8 * k)
    assert zero_rank == math.comb(buckets + k - 1, k)
    assert 2 ** (rank_bits - 1) < zero_rank + 1 <= 2**rank_bits  # rank_bits = ceil(log2(zero_rank + 1))
    total = rank_bits + k * (low + bits)
    assert packed_width(h, k, bits) == math.ceil(total / 8)
    packing = Packing(h, k, bits, some_levels(bits))
    assert (packing.bits_per_row, packing.width) == (total, packed_width(h, k, bits))
    for other in range(21):  # no other number of low bits that is allowed makes a row shorter
        more = -(-h // 2**other)
        rank = math.comb(more + k - 1, k).bit_length()
        if more <= 8 * k and k * more * -(-rank // 64) <= packing_module.TABLE_WORDS:
            assert rank + k * other >= rank_bits + k * low


@pytest.mark.parametrize(("h", "k"), [(4096, 9), (4096, 19), (4096, 42), (2048, 16), (65_536, 32)])
def test_columns_cost_little_more_than_their_information(h, k):
    columns_bits = Packing(h, k, 4, some_levels(4)).bits_per_row - 4 * k
    assert columns_bits - math.log2(math.comb(h, k)) < 0.15 * k + 1


@pytest.mark.parametrize(("h", "k"), [(7, 3), (12, 5), (9, 9), (64, 2), (40, 4)])
def test_every_rank_is_unpacked(h, k):
    """All multisets of buckets, the largest remainders of each digit among them."""
    packing = Packing(h, k, 2, some_levels(2))
    low, _, _, zero_rank = split(h, k)
    records = np.stack(
        [np.frombuffer(rank.to_bytes(packing.width, "little"), np.uint8) for rank in range(zero_rank + 1)]
    )
    columns = Packed(records, packing).unpack().columns.astype(int)  # their low parts are 0
    ranks = [sum(math.comb(c + i, i + 1) for i, c in enumerate(row)) for row in (columns >> low).tolist()]
    assert ranks[:-1] == list(range(zero_rank)) and columns[-1].tolist() == list(range(k))


@pytest.mark.parametrize(("h", "k"), [(4096, 42), (4096, 19), (1000, 37), (4096, 128)])
def test_ranks_of_extreme_digits(h, k):
    """Buckets all alike, and remainders just above and below binomials of one, two and more words."""
    packing = Packing(h, k, 2, some_levels(2))
    rng = np.random.default_rng(0)
    rows = [np.arange(k), h - 1 - np.arange(k)]
    for _ in range(300):
        at = rng.integers(0, k + 1)  # the first digits as small as can be, the others as large, or anywhere
        others = np.sort(rng.choice(np.arange(at, h), k - at, replace=False))
        rows.append(np.concatenate([np.arange(at), h - np.arange(k - at, 0, -1) if rng.random() < 0.5 else others]))
    columns = np.sort(np.array(rows), axis=1).astype(np.uint16)
    packed = pack(Codes(np.ones(columns.shape, np.float32), columns, h), packing)
    assert_array_equal(packed.unpack().columns, columns)


def test_nearest_level_of_two_is_the_lower():
    packing = Packing(4, 1, 2, (1.0, 2.0))
    values = np.array([[1.5], [-1.5], [np.nextafter(np.float32(1.5), np.float32(2))], [1e-30], [-1e30]], np.float32)
    again = pack(Codes(values, np.zeros((5, 1), np.uint16), 4), packing).unpack().values
    assert_array_equal(again[:, 0], np.array([1, -1, 2, 1, -2], np.float32))


def test_float16_and_memory_maps(tmp_path):
    packing, codes = Packing(41, 3, 4, some_levels(4)), some_codes(41, 3)
    half = Codes(codes.values.astype(np.float16), codes.columns, 41)
    packed = pack(half, packing)
    np.save(tmp_path / "records.npy", packed.records)
    mapped = Packed(np.load(tmp_path / "records.npy", mmap_mode="r"), packing)
    assert_array_equal(mapped.unpack().values, nearest(rising(half)[0], packing.levels)[0])


def test_rows_of_packed_codes():
    packing, codes = Packing(41, 3, 4, some_levels(4)), some_codes(41, 3)
    packed, whole = pack(codes, packing), pack(codes, packing).unpack()
    assert (len(packed), packed.shape, packed.h, packed.k) == (70, (70, 41), 41, 3)
    for rows in (slice(3, 50, 7), np.array([5, 5, 1]), np.arange(70) % 2 == 0, slice(0, 0)):
        assert_array_equal(packed[rows].unpack().columns, whole.columns[rows])
        assert_array_equal(packed[rows].unpack().values, whole.values[rows])
    with pytest.raises(InputError, match="not by the single number 3"):
        packed[3]


def test_pieces_share_one_result(monkeypatch):
    packing, codes = Packing(41, 3, 4, some_levels(4)), some_codes(41, 3, n=200)
    whole = pack(codes, packing)
    wanted = whole.unpack()
    for piece in (3, 100, 3 * 64, 3 * 65):
        monkeypatch.setattr(packing_module, "PIECE", piece)
        assert_array_equal(whole.unpack().columns, wanted.columns)
        assert_array_equal(whole.unpack().values, wanted.values)


def test_rows_that_cannot_be_packed():
    packing, codes = Packing(41, 3, 4, some_levels(4)), some_codes(41, 3)

    def changed(row, value=None, column=None, h=41):
        values, columns = codes.values.copy(), codes.columns.copy()
        if value is not None:
            values[row, 1] = value
        if column is not None:
            columns[row, 1] = column
        return Codes(values, columns, h)

    for bad, message in [
        (changed(5, value=0), "row 5 has 2 nonzeros; a packed row has all 3 or none"),
        (changed(6, column=int(codes.columns[6, 0])), "row 6 has a column twice"),
        (changed(7, column=41), r"row 7 has a column outside 0\.\.40"),
        (changed(8, value=np.nan), "row 8 has a value that is not finite"),
        (codes.prefix(2), "h=41, k=3, not h=41, k=2"),
        (changed(0, h=42), "h=41, k=3, not h=42, k=3"),
    ]:
        with pytest.raises(InputError, match=message):
            pack(bad, packing)
    pack(changed(1, column=int(codes.columns[1, 0])), packing)  # a zero row has no columns that could be alike


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"k": 42}, "k must be an integer from 1 to 41"),
        ({"h": 0}, "h must be"),
        ({"bits": 9}, "bits must be an integer from 2 to 8"),
        ({"levels": (1.0, 2.0, 3.0)}, "levels must be 2 of 2 bits"),
        ({"levels": (2.0, 1.0)}, "rising"),
        ({"levels": (1.0, 1.0)}, "rising"),
        ({"levels": (0.0, 1.0)}, "positive"),
        ({"levels": (1.0, np.inf)}, "finite"),
        ({"levels": (1.0, 1.1)}, "float32"),
    ],
)
def test_packings_that_cannot_be(changes, message):
    with pytest.raises(InputError, match=message):
        Packing(**({"h": 41, "k": 3, "bits": 2, "levels": (1.0, 2.0)} | changes))


@pytest.mark.parametrize(("h", "k", "bits"), [(41, 3, 3), (64, 4, 4), (1000, 20, 5), (5, 1, 8)])
def test_a_changed_bit_is_caught_or_another_legal_row(h, k, bits):
    """What is not caught by its range decodes to k rising columns below h and to levels: never to anything else."""
    packing = Packing(h, k, bits, some_levels(bits))
    packed = pack(some_codes(h, k, n=8), packing)
    caught = 0
    for at in range(8 * packing.width * len(packed)):
        records = packed.records.copy()
        records.reshape(-1)[at // 8] ^= 1 << at % 8
        changed = Packed(records, packing)
        again = changed.unpack()
        assert (again.columns < h).all()  # unchecked records, too, are safe to score
        try:
            check_records(changed)
        except InputError as error:
            caught += 1
            assert f"row {at // 8 // packing.width} " in str(error)
        else:
            assert (np.diff(again.columns.astype(int), axis=1) > 0).all()
            assert_array_equal(pack(again, packing).records, records)
    assert caught


def test_ranks_above_that_of_zero_rows_are_caught():
    packing = Packing(41, 3, 3, some_levels(3))
    *_, rank_bits, zero_rank = split(41, 3)
    for rank in range(zero_rank, 2**rank_bits):
        records = np.frombuffer(rank.to_bytes(packing.width, "little"), np.uint8)[None]
        if rank == zero_rank:
            check_records(Packed(records, packing))
        else:
            with pytest.raises(InputError, match="record of row 0"):
                check_records(Packed(records, packing))
