import pickle
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from compression.test_to_folder import D, make_vectors, make_weights
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from compressae_jax import compression
from compressae_jax.codes.spaces import SPACES
from compressae_jax.codes.storage import kinds
from compressae_jax.model import encoders
from compressae_jax.notation import InputError
from compressae_jax.retrieval.index import Index

N, Q, TOP = 60, 5, 9
KINDS = {
    "none": lambda numbers: None,
    "integers": lambda numbers: [10**12 + 7 * int(i) for i in numbers],
    "texts": lambda numbers: [f"item {i}" for i in numbers],
}


def make(numbers, kind="none", storage="float16", space="dense_query", encoder="topk"):
    """An index of some of the rows, on levels that were learned from all."""
    weights = make_weights()
    if storage in kinds.PACKINGS:
        encoders.learn_levels(weights, encoder, storage, lambda: make_vectors(N))
    rows = compression.encode(weights, make_vectors(N)[numbers], storage, encoder)
    return Index(rows, weights, space, KINDS[kind](numbers))


def same(index, other, **options):
    queries = make_vectors(Q, seed=2)
    found, wanted = index.search(queries, TOP, **options), other.search(queries, TOP, **options)
    for mine, theirs in zip(found, wanted, strict=True):
        assert_array_equal(mine, theirs)
    if other.ids is not None:
        assert found.ids.tolist() == wanted.ids.tolist()
        assert list(index.ids) == list(other.ids)
    assert len(index) == len(other)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("storage", ["float16", "float32", "packed4", "fast4"])
def test_rows_that_were_added_are_those_of_one_go(storage, kind):
    for space in SPACES:
        index = make(range(20), kind, storage, space)
        x = make_vectors(N)
        assert index.add(x[20:21], KINDS[kind](range(20, 21))) == range(20, 21)
        assert index.add(x[21:], KINDS[kind](range(21, N))) == range(21, N)
        same(index, make(range(N), kind, storage, space))
        assert index.nbytes == make(range(N), kind, storage, space).nbytes


@pytest.mark.parametrize("encoder", encoders.ENCODERS)
def test_additions_go_through_the_rows_own_encoder(encoder):
    index = make(range(20), storage="packed4", encoder=encoder)
    index.add(make_vectors(N)[20:])
    same(index, make(range(N), storage="packed4", encoder=encoder))


def test_rows_may_be_added_too_and_a_smaller_budget_stays_one():
    whole, index = make(range(N), "texts"), make(range(20), "texts")
    index.add(whole.codes[20:])
    same(index, whole)
    small = make(range(20)).prefix(2)
    small.add(make_vectors(N)[20:])
    same(small, make(range(N)).prefix(2))


@settings(max_examples=12, deadline=None)
@given(st.data())
def test_any_additions_and_removals_leave_what_an_index_of_the_rest_has(data):
    kind = data.draw(st.sampled_from(sorted(KINDS)), label="kind")
    index, alive, end = make(range(10), kind), list(range(10)), 10
    while end < N:
        if data.draw(st.booleans(), label="remove") and alive:
            gone = data.draw(st.lists(st.sampled_from(alive), unique=True, max_size=6), label="gone")
            index.remove(KINDS[kind](gone) or gone)
            alive = [i for i in alive if i not in gone]
        else:
            some = range(end, min(N, end + data.draw(st.integers(1, 12), label="added")))
            index.add(make_vectors(N)[some], KINDS[kind](some))
            alive, end = [*alive, *some], some.stop
    queries = make_vectors(Q, seed=2)
    scores, rows = index.search(queries, TOP)
    few = min(TOP, len(alive))
    assert (rows[:, few:] == -1).all() and np.isneginf(scores[:, few:]).all() and len(index) == len(alive)
    assert_array_equal(index.removed, np.setdiff1d(range(N), alive))
    if alive:
        wanted = make(alive, kind).search(queries, TOP)
        assert_array_equal(scores[:, :few], wanted.scores[:, :few])
        assert_array_equal(rows[:, :few], np.array(alive)[wanted.rows[:, :few]])
    index.compact()
    if alive:
        same(index, make(alive, kind))
    assert len(index.codes) == len(alive) == len(index) and not len(index.removed)


@pytest.mark.parametrize("backend", ["host", "scan", "bcoo", "lists"])
def test_removed_rows_are_found_by_no_backend(backend):
    index = make(range(N), space="sparse").with_lists()
    index.remove(range(0, N, 2))
    _, rows = index.search(make_vectors(Q, seed=2), N, backend=backend)
    assert (rows[:, : N // 2] % 2 == 1).all() and (rows[:, N // 2 :] == -1).all()
    wanted = make(range(1, N, 2), space="sparse").search(make_vectors(Q, seed=2), N // 2)
    assert_array_equal(rows[:, : N // 2], 2 * wanted.rows + 1)
    index.add(make_vectors(N)[:2])
    assert index.search(make_vectors(N)[:1], 1, backend=backend).rows.tolist() == [[N]]  # which row 0 was


def test_an_id_may_come_back_after_it_went():
    index = make(range(20), "texts")
    index.remove(["item 3"])
    index.add(make_vectors(N)[3:4], ["item 3"])
    assert index.search(make_vectors(N)[3:4], 1).ids.tolist() == [["item 3"]]
    assert_array_equal(index.rows(["item 3"]).codes().values, make(range(20)).codes[3:4].values)
    assert len(index) == 20 and sorted(index.ids) == sorted(KINDS["texts"](range(20)))


def test_rows_and_reconstructions_by_id():
    index = make(range(20), "integers")
    index.add(make_vectors(N)[20:], KINDS["integers"](range(20, N)))
    asked = [5, 40, 5, 59]
    rows = index.rows(KINDS["integers"](asked))
    assert_array_equal(rows.values, make(range(N)).codes[np.array(asked)].values)
    index.remove(KINDS["integers"]([31]))
    wanted = make(range(N)).codes[np.array([30, 32, 34])]
    assert_array_equal(index.rows(slice(30, 36, 2)).values, wanted.values)
    assert len(index.rows(slice(None))) == N - 1 and len(index.rows([])) == 0
    z = rows.to_dense() @ index.weights.params["decoder_w"]
    np.testing.assert_allclose(index.reconstruct(KINDS["integers"](asked)), z, atol=1e-6)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda index: index.add(make_vectors(2), ["item 3", "new"]), "'item 3' is in the index already, in row 3"),
        (lambda index: index.add(make_vectors(2), ["new", "new"]), "rows 0 and 1 of those to add are 'new'"),
        (lambda index: index.add(make_vectors(2), ["new"]), "ids must be 2, one a row, not 1"),
        (lambda index: index.add(make_vectors(2), [1, 2]), "texts, not integers"),
        (lambda index: index.add(make_vectors(2)), "give ids="),
        (lambda index: index.add(make_vectors(2)[:, :5], ["new", "newer"]), "width 5, the model was trained on"),
        (lambda index: index.add(np.zeros((2, D), np.float32), ["new", "newer"]), "zero"),
        (lambda index: index.remove(["item 3", "item 99"]), "'item 99' is not in the index"),
        (lambda index: index.remove([3]), "texts, not integers"),
        (lambda index: index.rows(["item 99"]), "'item 99' is not in the index"),
        (lambda index: make(range(9)).add(make_vectors(2), ["a", "b"]), "made without ids"),
        (lambda index: make(range(9)).remove([9]), "row 9 is not one of 0..8"),
        (lambda index: make(range(9)).remove(["a"]), "must be row numbers"),
        (lambda index: index.add(make(range(9), "texts", encoder="pursuit").codes), "'pursuit', those of the index by"),
        (lambda index: index.add(make(range(9), "texts", "float32").codes), "storage float16, here float32"),
    ],
)
def test_changes_that_cannot_be_made_leave_the_index_as_it_was(change, message):
    index = make(range(20), "texts")
    with pytest.raises(InputError, match=message):
        change(index)
    same(index, make(range(20), "texts"))


def test_a_repeated_id_is_refused_at_the_door():
    with pytest.raises(InputError, match="rows 1 and 2 are both 'b'"):
        Index(make(range(3)).codes, make_weights(), ids=["a", "b", "b"])


def test_what_shares_rows_changes_alone():
    index = make(range(20))
    other = index.in_space("sparse")
    copy = pickle.loads(pickle.dumps(index))
    index.add(make_vectors(N)[20:])
    index.remove([0])
    same(other, make(range(20), space="sparse"))
    same(copy, make(range(20)))
    copy.add(make_vectors(N)[20:])
    assert (len(index), len(copy)) == (N - 1, N)


def test_small_segments_are_merged_so_there_are_few():
    index, x = make(range(1)), make_vectors(N)
    for i in range(1, N):
        index.add(x[i : i + 1])
    assert len(index._segments.parts) <= 1 + np.log2(N)
    same(index, make(range(N)))


def test_searches_during_changes_see_one_state_whole():
    """Rows come in pairs of equal vectors: a search sees both of a pair or none."""
    x = np.repeat(make_vectors(N), 2, axis=0)[:60]
    weights = make_weights()
    index = Index(compression.encode(weights, x[:4]), weights)
    done = threading.Event()

    def look():
        seen = 0
        while not done.is_set() or not seen:
            _, rows = index.search(x[:2], top=2 * N)
            there = np.sort(rows[0][rows[0] >= 0])
            assert_array_equal(there[::2] + 1, there[1::2])
            seen += 1
        return seen

    pool = ThreadPoolExecutor(3)
    looking = [pool.submit(look) for _ in range(3)]
    for i in range(2, N // 2):
        index.add(x[2 * i : 2 * i + 2])
        if i % 3 == 0:
            index.remove([2 * i - 2, 2 * i - 1])
    done.set()
    assert all(one.result() for one in looking)


@pytest.mark.parametrize("kind", KINDS)
def test_rows_in_another_storage_are_found_alike_and_go_on_living(tmp_path, kind):
    index = make(range(20), kind, "packed4")
    index.weights.levels.clear()  # rows bring their levels, under the name that storages of four bits share
    index.add(make_vectors(N)[20:], KINDS[kind](range(20, N)))
    index.remove(KINDS[kind]([3, 25]) or [3, 25])
    index.save(tmp_path / "index")
    for form in (index, Index.load(tmp_path / "index", verify=False)):
        fast = form.stored_as("fast4")
        assert (fast.codes.storage, fast.codes.levels) == ("fast4", index.codes.levels)
        same(fast, index)
        assert_array_equal(fast.removed, [3, 25])
        assert_array_equal(fast.stored_as("packed4").codes.arrays()["records"], index.codes.arrays()["records"])
        fast.add(make_vectors(N)[:2], KINDS[kind](range(N, N + 2)))
        fast.save(tmp_path / "fast")
        again = Index.load(tmp_path / "fast")
        assert again.codes.storage == "fast4" and len(again) == N
        same(again, fast)
    with pytest.raises(InputError, match="values of packed4 fit packed4 or fast4, not 'packed5': compress"):
        index.stored_as("packed5")
    with pytest.raises(InputError, match="storage must be one of"):
        index.stored_as("packed")
    wide = make(range(20), kind, "float32")
    same(wide.stored_as("float16"), make(range(20), kind, "float16"))
