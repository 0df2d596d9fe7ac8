"""One test class for every kind of rows; the truth is the dense matrix and the ids as lists."""

import dataclasses
import itertools
import pickle

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from compressae_jax.codes import spaces
from compressae_jax.codes.codes import Codes
from compressae_jax.codes.ids import TextIds
from compressae_jax.codes.joined import in_memory, join
from compressae_jax.codes.rows import MadeBy, check_made_by
from compressae_jax.codes.storage.fast import Fast
from compressae_jax.codes.storage.packed import Packing, pack
from compressae_jax.notation import InputError

N, H, K, D = 23, 37, 4, 6
MADE_BY = MadeBy("3f2a", "topk")
LEVELS = (0.25, 0.5, 1.0, 2.0)
MORE_LEVELS = (*LEVELS, 3.0, 4.0, 5.0, 6.0)
IDS = [f"row {i} ß" * (i % 3) for i in range(N)]
LENGTHS = (np.arange(N) % 7 * 0.5).astype(np.float32)  # which float16 holds exactly
DECODER_W = np.random.default_rng(1).standard_normal((H, D)).astype(np.float32)


def floats(values="float32", wrap=np.asarray, lengths=None):
    """Values on levels, so that every storage holds them exactly; row 5 is zero."""
    rng = np.random.default_rng(0)
    numbers = -np.sort(-rng.choice(LEVELS, (N, K)), axis=1) * rng.choice([-1, 1], (N, K))
    numbers[5] = 0
    columns = rng.random((N, H)).argsort(axis=1)[:, :K].astype(np.uint16)
    codes = Codes(wrap(numbers.astype(values)), wrap(columns), H, ids=TextIds.of(IDS), made_by=MADE_BY, lengths=lengths)
    return codes.with_norms(DECODER_W)


def packed(similarity="cosine"):
    return pack(floats(), Packing(H, K, 3, LEVELS, similarity))


def fast(similarity="cosine"):
    return pack(floats(), Fast(H, K, 4, MORE_LEVELS, similarity))


def cut(rows):
    return join([rows[:1], rows[1:9], rows[9:9], rows[9:]])


KINDS = {
    "float16": lambda: floats("float16"),
    "float32": floats,
    "jax": lambda: floats(wrap=jnp.asarray),
    "packed": packed,
    "fast": fast,
    "fast by dot": lambda: fast("dot"),
    "float16 with lengths": lambda: floats("float16", lengths=LENGTHS),
    "packed by dot": lambda: packed("dot"),
    "joined floats with lengths": lambda: cut(floats(lengths=LENGTHS)),
    "joined packed by dot": lambda: cut(packed("dot")),
    "joined floats": lambda: cut(floats()),
    "joined packed": lambda: cut(packed()),
    "joined fast": lambda: cut(fast()),
    "joined twice": lambda: join([cut(floats())[:7], cut(floats())[7:]]),
}


@pytest.fixture(params=KINDS)
def rows(request):
    return KINDS[request.param]()


PLACES = [
    slice(None),
    slice(3, 12),
    slice(0, 0),
    slice(-4, None),
    slice(8, 10),
    np.array([9, 0, 22, 9, 5]),
    np.empty(0, int),
]


class TestRows:
    def test_describe_themselves(self, rows):
        assert (len(rows), rows.h, rows.k, rows.shape) == (N, H, K, (N, H))
        assert rows.made_by == MADE_BY and list(rows.ids) == IDS
        assert rows.levels == {"packed3": LEVELS, "fast4": MORE_LEVELS}.get(rows.storage)
        assert (rows.norms is None) == (rows.levels is not None)
        needed = {"values", "columns", "records"}  # and one scale of floats
        assert rows.nbytes == sum(array.nbytes for name, array in rows.arrays().items() if name in needed)
        assert rows.similarity == "dot" or rows.lengths is None
        assert (rows.lengths is None) == (rows.levels is not None or rows.similarity == "cosine")
        assert "23 rows of 4 nonzeros out of 37 columns" in repr(rows) and "3f2a" in repr(rows)

    @pytest.mark.parametrize("place", [*PLACES, np.arange(N) % 3 == 1], ids=str)
    def test_some_rows_keep_all_they_know(self, rows, place):
        some, whole = rows[place], floats()
        assert_array_equal(some.to_dense(), whole.to_dense()[place])
        assert list(some.ids) == np.array(IDS, object)[place].tolist()
        assert (some.made_by, some.h, some.k, some.storage) == (MADE_BY, H, K, rows.storage)
        if rows.norms is not None:
            assert_array_equal(some.norms, whole.norms[place])
        if rows.lengths is not None:
            assert_array_equal(some.lengths, LENGTHS[place])
        assert (rows.check()[place].verified and not dataclasses.is_dataclass(some)) or some.verified == rows.verified

    def test_a_single_number_is_no_way_to_ask(self, rows):
        with pytest.raises(InputError, match="single number 2"):
            rows[2]

    def test_slices_are_views(self, rows):
        last = getattr(rows, "parts", [rows])[-1]
        for name, array in last[1:].arrays().items():
            assert not isinstance(array, np.ndarray) or np.shares_memory(array, last.arrays()[name])

    @pytest.mark.parametrize("space", spaces.SPACES)
    @pytest.mark.parametrize("fresh", [True, False])
    @pytest.mark.parametrize("chunk", [1, 5, N, 2 * N])
    def test_reader_gives_every_row_and_its_scale(self, rows, space, chunk, fresh):
        read, dense, scales = rows.reader(space, chunk, fresh), np.zeros((N, H), np.float32), []
        parts = []
        for start in range(0, N, chunk):
            part = read(slice(start, start + chunk))
            parts.append((start, part if fresh else type(part)(*(array.copy() for array in part))))
        for start, part in parts:
            for i, (values, columns) in enumerate(zip(part.values, part.columns, strict=True)):
                np.add.at(dense[start + i], columns.astype(int), values)
            scales.append(part.row_scales)
        assert_array_equal(dense, floats().to_dense())
        wanted = rows.scales(space)
        if wanted is None:
            norms = np.linalg.norm(dense, axis=1)
            wanted = np.divide(1, norms, out=np.zeros_like(norms), where=norms > 0)
            assert_allclose(np.concatenate(scales), wanted, rtol=1e-6)
        else:
            assert_array_equal(np.concatenate(scales), wanted)
            if rows.levels is None:
                times = 1 if rows.lengths is None else LENGTHS
                assert_allclose(wanted, floats().scales(space) * times, rtol=1e-6)
            else:
                assert (wanted == 1).all()

    def test_arrays_and_back_are_the_same_rows(self, rows):
        again = rows.like(rows.arrays(), rows.ids)
        assert_array_equal(again.to_dense(), rows.to_dense())
        assert again.storage == rows.storage and list(again.ids) == IDS and again.made_by == MADE_BY

    def test_codes_are_the_rows_in_memory(self, rows):
        codes = rows.codes()
        assert isinstance(codes, Codes) and codes.made_by == MADE_BY and list(codes.ids) == IDS
        assert (codes.lengths is None) == (rows.lengths is None) or (codes.lengths == LENGTHS).all()
        assert_array_equal(codes.to_dense(), floats().to_dense())
        assert_array_equal(rows.to_csr().toarray(), floats().to_dense())

    def test_prefix_is_of_ordered_columns_only(self, rows):
        if rows.levels is None:
            assert_array_equal(rows.prefix(2).to_dense(), floats().prefix(2).to_dense())
            assert rows.prefix(2).norms is None and rows.prefix(2).made_by == MADE_BY
            assert rows.prefix(2).similarity == rows.similarity
        else:
            with pytest.raises(InputError, match="no prefix of 2: compress again with a smaller k"):
                rows.prefix(2)
        assert rows.prefix(K).k == K

    def test_norms_are_those_of_the_stored_values(self, rows):
        if rows.norms is None:
            assert_array_equal(rows.with_norms(DECODER_W).to_dense(), rows.to_dense())
            return
        bare = rows.like({name: array for name, array in rows.arrays().items() if name != "norms"})
        assert bare.norms is None
        s = rows.to_dense()
        wanted = np.stack([np.linalg.norm(s, axis=1), np.linalg.norm(s @ DECODER_W, axis=1)], axis=1)
        assert_allclose(bare.with_norms(DECODER_W).norms, wanted, rtol=1e-5, atol=1e-6)
        with pytest.raises(InputError, match=r"no norms, which the space 'dense_query' needs"):
            bare.reader("dense_query", 4)
        bare.reader("sparse", 4)

    def test_check_makes_them_verified(self, rows):
        assert rows.check().verified and rows.check().check().verified
        assert_array_equal(rows.check().to_dense(), rows.to_dense())

    def test_they_travel_to_other_processes(self, rows):
        again = pickle.loads(pickle.dumps(rows))
        assert_array_equal(again.to_dense(), rows.to_dense())
        assert list(again.ids) == IDS and again.made_by == MADE_BY

    def test_another_models_rows_are_refused(self, rows):
        check_made_by(rows, "3f2a")
        with pytest.raises(InputError, match="made by the model 3f2a, not by the given one, beef"):
            check_made_by(rows, "beef")


@settings(max_examples=25)
@given(st.sampled_from(sorted(KINDS)), st.lists(st.integers(0, N), max_size=4), st.data())
def test_joins_of_cuts_are_the_rows(kind, cuts, data):
    rows = KINDS[kind]()
    ends = [0, *sorted(cuts), N]
    joined = join([rows[start:stop] for start, stop in itertools.pairwise(ends)])
    place = np.array(data.draw(st.lists(st.integers(0, N - 1), max_size=6)), int)
    assert_array_equal(joined[place].to_dense(), rows[place].to_dense())
    start, stop = data.draw(st.integers(0, N)), data.draw(st.integers(0, N))
    assert_array_equal(joined[start:stop].to_dense(), rows[start:stop].to_dense())
    assert list(joined[start:stop].ids) == IDS[start:stop]
    for name, array in in_memory([joined]).arrays().items():
        assert_array_equal(array, rows.arrays()[name], strict=True)


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (lambda: floats("float16"), "storage float32, here float16"),
        (lambda: dataclasses.replace(floats(), made_by=None), "made by .*3f2a.*, here None"),
        (lambda: dataclasses.replace(floats(), ids=np.arange(N)), "ids texts, here int64"),
        (lambda: dataclasses.replace(floats(), norms=None), "norms True, here False"),
        (lambda: floats().prefix(2), "k 4, here 2"),
        (packed, "levels None, here"),
        (lambda: floats(lengths=LENGTHS), "similarity cosine, here dot"),
        (lambda: packed("dot"), "similarity cosine, here dot"),
    ],
)
def test_rows_of_two_kinds_are_not_joined(other, message):
    with pytest.raises(InputError, match=message):
        join([floats(), floats(), other()])
    with pytest.raises(InputError, match="no rows to join"):
        join([])


@pytest.mark.parametrize("bad", [-1, H, 2**15])
@pytest.mark.parametrize("wrap", [lambda codes: codes, lambda codes: join([codes[:3], codes[3:]])])
def test_columns_outside_h_are_never_handed_out(bad, wrap):
    codes = floats()
    columns = codes.columns.astype(np.int32)
    columns[11, 2] = bad
    rows = wrap(Codes(codes.values, columns, H, codes.norms))
    bare = wrap(Codes(codes.values, columns, H))
    read = lambda: rows.reader("sparse", N)(slice(0, N))  # noqa: E731
    for work in (rows.check, read, lambda: bare.with_norms(DECODER_W), rows.to_csr, bare.to_dense):
        with pytest.raises(InputError, match=rf"has a column outside 0\.\.{H - 1}"):
            work()
