import datetime

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
import scipy.sparse
from numpy.testing import assert_array_equal

from compressae_jax.data import purchases
from compressae_jax.notation import InputError

# ann buys a twice, then b; bob buys all at one moment; cat only once.
LINES = [
    ("ann", "a", "2011-09-01"),
    ("bob", "c", "2011-10-05"),
    ("bob", "a", "2011-10-05"),
    ("ann", "b", "2011-09-20"),
    ("ann", "a", "2011-10-07"),
    ("cat", "b", "2011-10-09"),
]


def table(lines=LINES, names=purchases.COLUMNS):
    return dict(zip(names, map(list, zip(*lines, strict=True)), strict=True))


def told(bought):
    """{user: (earlier items, later items)}."""
    return {
        user: tuple({bought.items[int(i)] for i in part[[row]].indices} for part in (bought.train, bought.test))
        for row, user in enumerate(bought.users)
    }


def test_the_last_new_item_is_the_later_one():
    found = told(purchases.read(table()))
    assert found["ann"] == ({"a"}, {"b"}), "what is bought again is not new"
    assert found["bob"] == ({"c"}, {"a"}), "of equal times the one that stands last"
    assert found["cat"] == (set(), set()), "who has bought nothing before is not tested"


@pytest.mark.parametrize("split", ["2011-09-20", datetime.datetime(2011, 9, 20), "2011-09-20T02:00:00+02:00"])
def test_from_a_moment_on(split):
    found = told(purchases.read(table(), split))
    assert found == {"ann": ({"a"}, {"b"}), "bob": (set(), set()), "cat": (set(), set())}


def test_moments_are_compared_wherever_their_zone_is():
    east = datetime.timezone(datetime.timedelta(hours=9))
    days = [("u", "b", datetime.datetime(2011, 1, 2, 3, tzinfo=east)), ("u", "a", datetime.datetime(2011, 1, 1, 19))]
    assert told(purchases.read(table(days))) == {"u": ({"b"}, {"a"})}, "3 in the east is 18 in UTC"
    dates = [("u", "b", datetime.date(2011, 1, 3)), ("u", "a", datetime.date(2011, 1, 2))]
    assert told(purchases.read(table(dates))) == {"u": ({"a"}, {"b"})}


def test_a_share_of_all_lines_is_earlier():
    days = [(user, item, day) for day, (user, item) in enumerate([("u", "a"), ("v", "a"), ("u", "b"), ("v", "c")])]
    for split in (0.5, "0.5"):
        assert told(purchases.read(table(days), split)) == {"u": ({"a"}, {"b"}), "v": ({"a"}, {"c"})}
    assert told(purchases.read(table(days), 3)) == {"u": ({"a", "b"}, set()), "v": ({"a"}, {"c"})}


def test_every_kind_of_table_says_the_same(tmp_path):
    expected = told(purchases.read(table()))
    (tmp_path / "x.csv").write_text("".join(",".join(line) + "\n" for line in [purchases.COLUMNS, *LINES]))
    moments = [(user, item, datetime.datetime.fromisoformat(time)) for user, item, time in LINES]
    arrow = pyarrow.table(table(moments, ("customer", "stock", "when")))
    pyarrow.parquet.write_table(arrow, tmp_path / "x.parquet")
    assert told(purchases.read(tmp_path / "x.csv")) == expected
    for given in (arrow, tmp_path / "x.parquet"):
        assert told(purchases.read(given, names=("customer", "stock", "when"))) == expected


def test_a_pair_of_matrices():
    train, test = scipy.sparse.csr_matrix(np.eye(3, 5)), scipy.sparse.csr_matrix(np.eye(3, 5, 1))
    bought = purchases.open_purchases((train, test))
    assert bought.by_row and bought.users.tolist() == [0, 1, 2] and len(bought.items) == 5
    assert_array_equal(bought.test.toarray(), np.eye(3, 5, 1))
    with pytest.raises(InputError, match=r"train \(3, 5\) and test \(2, 5\) must be of the same users and items"):
        purchases.open_purchases((train, test[:2]))


@pytest.mark.parametrize(
    ("given", "options", "message"),
    [
        (table(), {"split": "first"}, "must be 'last', a share such as 0.8, or a moment, not 'first'"),
        (table(), {"split": "2001-01-01"}, "leaves 0 earlier and 0 later ones"),
        (table(), {"split": "2031-01-01"}, "leaves 5 earlier and 0 later ones"),
        (table(), {"names": ("user", "item")}, "columns must be three names"),
        (table(), {"names": ("user", "item", "when")}, "needs one column for the time, 'when'"),
        (table([("a", "b", "soon")]), {}, "time must hold numbers or dates as in 2011-12-09"),
        (table([("a", "b", float("inf"))]), {}, "time must hold finite numbers"),
        (table([(1.5, "b", 1)]), {}, "user: ids must be strings or 64-bit integers"),
        (7, {}, "purchases must be a table or the path of one, not int"),
        ("x.arff", {}, "must be a table, .csv, .tsv, .parquet, not '.arff'"),
        ("x.csv", {}, "there is no file x.csv"),
    ],
)
def test_what_is_none(given, options, message):
    with pytest.raises(InputError, match=message):
        purchases.read(given, **options)


def test_a_share_of_every_user_is_drawn():
    taken = scipy.sparse.csr_matrix(np.tril(np.ones((12, 12), np.int8)))
    one = purchases.drawn(taken, 0.2)
    assert_array_equal((one.train + one.test).toarray(), taken.toarray())
    assert_array_equal(np.diff(one.test.indptr), np.arange(1, 13) // 5)
    assert_array_equal(one.test.toarray(), purchases.drawn(taken, 0.2).test.toarray())
    assert (one.test.toarray() != purchases.drawn(taken, 0.2, seed=1).test.toarray()).any()
