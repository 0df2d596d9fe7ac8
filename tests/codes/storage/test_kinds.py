"""The storages by name."""

import numpy as np
import pytest
from codes.storage.test_packed import some_codes, some_levels

from compressae_jax.codes.storage import kinds
from compressae_jax.codes.storage.packed import pack
from compressae_jax.notation import InputError


def test_bits_of_values():
    names = "float16", "float32", "packed3", "packed8", "fast4", "packed9"
    assert [kinds.storage_bits(name) for name in names] == [None, None, 3, 8, 4, None]


@pytest.mark.parametrize("storage", [name for name in kinds.PACKINGS if name not in kinds.OWN])
def test_each_packs_rows_that_say_its_name_and_have_its_width(storage):
    bits = kinds.storage_bits(storage)
    packed = pack(some_codes(41, 3), kinds.packing(storage, 41, 3, some_levels(bits)))
    assert (packed.storage, packed.packing.bits) == (storage, bits)
    assert packed.records.shape[1] == packed.packing.width == kinds.record_width(storage, 41, 3)
    assert np.unique(np.abs(packed.codes().values)).size <= 2 ** (bits - 1) + 1


def test_rows_of_as_many_bits_share_levels():
    assert kinds.levels_name("pursuit", "fast4") == kinds.levels_name("pursuit", "packed4") == "pursuit:packed4"
    assert kinds.levels_name("pursuit", "packed5") == "pursuit:packed5"


def test_rows_with_a_residual_share_with_nobody_and_their_width_needs_levels():
    assert kinds.levels_name("pursuit", "residual4", "dot") == "pursuit:residual4:dot"
    assert kinds.shares_values("fast4", "packed4") and kinds.shares_values("float16", "float32")
    assert not kinds.shares_values("residual4", "fast4") and not kinds.shares_values("packed5", "fast4")
    with pytest.raises(InputError, match="have the width that their levels say"):
        kinds.record_width("residual4", 41, 3)


def test_columns_that_a_storage_does_not_hold():
    for storage in kinds.STORAGES:
        kinds.check(storage, 2**16)
    kinds.check("packed4", 2**16 + 1)
    with pytest.raises(InputError, match="h of rows of storage 'fast4' must be an integer from 1 to 65536"):
        kinds.check("fast4", 2**16 + 1)
