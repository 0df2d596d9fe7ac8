import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from compressae_jax.codes.ids import TextIds, as_ids, joined
from compressae_jax.notation import InputError

TEXTS = st.lists(st.text(max_size=5), max_size=9)


@given(TEXTS, st.data())
def test_texts_are_a_list_of_str(texts, data):
    ids = TextIds.of(texts)
    assert len(ids) == len(texts) and list(ids) == texts and ids == texts
    start, stop = data.draw(st.integers(-10, 10)), data.draw(st.integers(-10, 10))
    assert ids[start:stop] == texts[start:stop] and ids[start:stop:2] == texts[start:stop:2]
    assert ids[start:][:stop] == texts[start:][:stop]
    rows = data.draw(st.lists(st.integers(0, len(texts) - 1), max_size=5)) if texts else []
    assert ids[np.array(rows, int)] == [texts[row] for row in rows]
    assert [ids[row] for row in rows] == [texts[row] for row in rows]
    assert ids[np.array([text > "m" for text in texts], bool)] == [text for text in texts if text > "m"]
    assert_array_equal(np.asarray(ids), np.array(texts, object))
    assert joined([ids, ids[1:], ids[:0]]) == texts + texts[1:]
    assert ids.nbytes == 8 * (len(texts) + 1) + sum(len(text.encode()) for text in texts)


def test_a_row_that_is_not_there():
    with pytest.raises(IndexError):
        TextIds.of(["a"])[1]
    assert TextIds.of(["a", "b"])[-1] == "b" and TextIds.of(["a"]) != ["b"] and TextIds.of(["a"]) != ["a", "b"]


def test_a_long_text_costs_only_itself():
    texts = ["x" * 10**6, *["y"] * 1000]
    for given_as in (texts, tuple(texts), np.array(texts, object), TextIds.of(texts)):
        ids = as_ids(given_as, 1001)
        assert ids == texts and ids.nbytes < 10**6 + 20_000


def test_any_offsets_stay_inside():
    ids = TextIds(np.array([-5, 3, 10**12, 2]), np.frombuffer(b"abcdef", np.uint8))
    assert [ids[i] for i in range(3)] == ["abc", "def", ""]
    assert ids[np.array([0, 2, 1])] == ["abc", "", "def"]


@pytest.mark.parametrize(
    ("ids", "dtype"),
    [(np.arange(3, dtype=np.uint64), "uint64"), (np.arange(3, dtype=np.int8), "int64"), ([1, 2, -3], "int64")],
)
def test_integers_keep_their_sign(ids, dtype):
    assert_array_equal(as_ids(ids, 3), np.asarray(ids).astype(dtype), strict=True)


def test_a_lone_surrogate_survives():
    assert TextIds.of(["\udcff"])[0] == "\udcff"


@pytest.mark.parametrize("ids", [np.ones(3), np.ones((3, 1), int), [None, "a", "b"], np.array([1, "a", "b"], object)])
def test_others_are_refused(ids):
    with pytest.raises(InputError, match="ids must be strings or 64-bit integers"):
        as_ids(ids, 3)
    with pytest.raises(InputError, match="ids must be 4, one a row, not 3"):
        as_ids(ids, 4)
