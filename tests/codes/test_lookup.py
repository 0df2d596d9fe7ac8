import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from compressae_jax.codes import id_kernels
from compressae_jax.codes.ids import TextIds, as_ids
from compressae_jax.codes.lookup import Lookup, check_unique, of_kind
from compressae_jax.notation import InputError

INTEGERS = st.lists(st.integers(-5, 5) | st.integers(-(2**63), 2**63 - 1), max_size=30)
TEXTS = st.lists(st.text(alphabet="aß€\0", max_size=3) | st.text(max_size=40), max_size=30)


def pairs(ids, asked):
    return [(i, row) for i, one in enumerate(asked) for row, other in enumerate(ids) if one == other]


@settings(max_examples=60, deadline=None)
@given(st.tuples(INTEGERS, INTEGERS) | st.tuples(TEXTS, TEXTS))
def test_ids_are_found_wherever_they_stand(lists):
    ids, asked = lists
    if not ids:
        return
    places, wanted = of_kind(asked, as_ids(ids, len(ids)))
    which, rows = Lookup(as_ids(ids, len(ids))).find(wanted)
    assert list(zip(places[which].tolist(), rows.tolist(), strict=True)) == pairs(ids, asked)


@settings(max_examples=60, deadline=None)
@given(INTEGERS | TEXTS)
def test_a_repeated_id_is_named(ids):
    if not ids:
        return
    if len(set(ids)) == len(ids):
        return check_unique(as_ids(ids, len(ids)))
    with pytest.raises(InputError, match="ids must be unique: rows") as error:
        check_unique(as_ids(ids, len(ids)))
    first, second = [int(word) for word in str(error.value).split("are both")[0].split() if word.isdecimal()]
    assert first < second and ids[first] == ids[second]


def test_texts_whose_hashes_are_the_same_are_told_apart(monkeypatch):
    monkeypatch.setattr(id_kernels, "hashes", lambda offsets, utf8, out: out.fill(7))
    ids = TextIds.of(["a", "b", "ab", "", "c"])
    which, rows = Lookup(ids).find(TextIds.of(["c", "d", "ab"]))
    assert (which.tolist(), rows.tolist()) == ([0, 2], [4, 2])
    check_unique(ids)
    with pytest.raises(InputError, match="rows 0 and 2 are both 'a'"):
        check_unique(TextIds.of(["a", "b", "a"]))


def test_kinds_that_meet():
    signed, unsigned, texts = np.array([3, -1]), np.array([3, 2**64 - 1], np.uint64), TextIds.of(["3"])
    places, asked = of_kind([-1, 3], unsigned)
    assert places.tolist() == [1] and asked.tolist() == [3] and asked.dtype == np.uint64
    places, asked = of_kind(unsigned, signed)
    assert places.tolist() == [0] and asked.dtype == np.int64
    assert_array_equal(of_kind([], texts)[0], [])
    for given_ids, like in ((["3"], signed), ([3], texts), (texts, unsigned)):
        with pytest.raises(InputError, match="of the kind that the index has"):
            of_kind(given_ids, like)
    with pytest.raises(InputError, match="strings or 64-bit integers, not float64"):
        of_kind([0.5], signed)
