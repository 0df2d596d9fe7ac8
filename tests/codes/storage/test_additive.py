"""Rows of one atom of each codebook: a byte each, there and back, and what is refused."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from compressae_jax.codes import folder, layout, writer
from compressae_jax.codes.codes import Codes
from compressae_jax.codes.storage import kinds
from compressae_jax.codes.storage.additive import GROUP, Additive
from compressae_jax.codes.storage.packed import pack
from compressae_jax.notation import InputError

K, N = 3, 20


def packing(k=K, **changed):
    lengths = np.random.default_rng(1).uniform(0.1, 1, GROUP * k).astype(np.float32)
    return Additive(**{"h": GROUP * k, "k": k, "bits": 8, "levels": (*lengths.tolist(), 1.0), **changed})


def some_rows(how, n=N, seed=0):
    """Codes of random atoms; row 1 is a zero row."""
    numbers = np.random.default_rng(seed).integers(0, GROUP, (n, how.k))
    numbers[0, 0] = 7
    columns = numbers + GROUP * np.arange(how.k)
    values = how.lengths[columns]
    values[1] = 0
    return Codes(values, columns.astype(np.uint16), how.h), numbers


@pytest.mark.parametrize("k", [1, K, 256])
def test_a_row_is_the_numbers_of_its_atoms(k):
    how = packing(k)
    codes, numbers = some_rows(how)
    packed = pack(codes, how)
    numbers[1] = 0
    assert_array_equal(packed.records, numbers)
    assert packed.records.shape == (N, how.width) == (N, kinds.record_width("additive8", GROUP * k, k))
    back = packed.codes()
    assert_array_equal(back.values, codes.values)
    assert_array_equal(np.delete(back.columns, 1, axis=0), np.delete(codes.columns, 1, axis=0))
    assert_array_equal(back.columns[1], GROUP * np.arange(k))
    assert packed.check().verified and packed.scales("dense_query")[0] == 1


def test_columns_come_in_any_order_and_values_may_be_rounded():
    how = packing()
    codes, _ = some_rows(how)
    turned = Codes(codes.values[:, ::-1].astype(np.float16), codes.columns[:, ::-1].copy(), how.h)
    assert_array_equal(pack(turned, how).records, pack(codes, how).records)


def test_a_folder_has_a_version_that_older_programs_refuse(tmp_path):
    rows = pack(some_rows(packing())[0], packing())
    assert layout.version_of("additive8", None) == 6 and layout.version_of("residual4", None) == 5
    writer.write(tmp_path / "codes", rows, d=8)
    back, _, _, meta = folder.read(tmp_path / "codes")
    assert meta["format_version"] == 6 and back.storage == "additive8" and back.levels == rows.levels
    assert_array_equal(back.records, rows.records)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"h": GROUP * K + 1}, "have h=768 columns, not 769"),
        ({"bits": 4}, "bits of additive rows"),
        ({"similarity": "dot"}, "no lengths of vectors"),
        ({"levels": (1.0,) * GROUP}, "must be 769 numbers"),
        ({"levels": (1.0,) * (GROUP * K) + (2.0,)}, "the last level of additive rows is a cosine"),
        ({"levels": (0.0,) + (1.0,) * (GROUP * K)}, "must be positive"),
        ({"levels": (float("nan"),) + (1.0,) * (GROUP * K)}, "must be positive"),
        ({"levels": (0.1,) + (1.0,) * (GROUP * K)}, "numbers of float32"),
    ],
)
def test_what_is_no_packing(change, named):
    with pytest.raises(InputError, match=named):
        packing(**change)


def test_rows_that_are_no_sums_of_atoms():
    how = packing()
    codes, _ = some_rows(how)
    twice = codes.columns.copy()
    twice[4, 1] = 3 if twice[4, 0] != 3 else 4
    with pytest.raises(InputError, match="one column of each 256 of the 768"):
        pack(Codes(codes.values, twice, how.h), how)
    with pytest.raises(InputError, match="must be the lengths of their atoms"):
        pack(Codes(codes.values * np.float32(1.01), codes.columns, how.h), how)
    first = codes.columns.copy()
    first[5] = GROUP * np.arange(K)
    values = codes.values.copy()
    values[5] = how.lengths[first[5]]
    with pytest.raises(InputError, match="would be a zero row"):
        pack(Codes(values, first, how.h), how)


def test_levels_are_shared_with_no_other_storage():
    assert kinds.levels_name("pursuit", "additive8") == "pursuit:additive8"
    assert not kinds.shares_values("additive8", "packed8") and kinds.shares_values("additive8", "additive8")
