import os

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from compressae_jax.codes.ids import TextIds
from compressae_jax.notation import InputError
from compressae_jax.retrieval import found
from compressae_jax.retrieval.found import Found

SCORES = np.array([[0.5, 0.25, -np.inf], [1, -np.inf, -np.inf]], np.float32)
ROWS = np.array([[2, 0, -1], [1, -1, -1]])
IDS = {"none": None, "integers": np.array([10, 11, 12]), "texts": TextIds.of(["a", "ß" * 50, ""])}
NAMED = {"integers": [[12, 10, None], [11, None, None]], "texts": [["", "a", None], ["ß" * 50, None, None]]}


def make(kind):
    return Found(SCORES, ROWS, found.named(ids_of(kind), ROWS))


def ids_of(kind):
    return None if IDS[kind] is None else IDS[kind].__getitem__


@pytest.mark.parametrize("kind", IDS)
def test_a_pair_with_names(kind):
    scores, rows = make(kind)
    assert scores is SCORES and rows is ROWS and isinstance(make(kind), tuple)
    ids = make(kind).ids
    assert ids is None if kind == "none" else ids.tolist() == NAMED[kind]
    whole = Found(SCORES[:, :1], ROWS[:, :1], found.named(ids_of(kind), ROWS[:, :1])).ids
    assert kind != "integers" or whole.dtype == np.int64  # no objects where there is nothing without a row


@pytest.mark.parametrize("kind", IDS)
@pytest.mark.parametrize("asked", [None, ["q1", "q2"], np.array([3, 4])])
def test_files_say_what_was_found(tmp_path, monkeypatch, kind, asked):
    from pyarrow import parquet

    monkeypatch.chdir(tmp_path)
    for name in ("found.npz", "found.parquet"):
        found.write(name, make(kind), asked)
        found.write(name, make(kind), asked)  # replaces its like
    with np.load("found.npz") as arrays:
        names = ["scores", "rows", *["ids"] * (kind != "none"), *["query_ids"] * (asked is not None)]
        assert sorted(arrays) == sorted(names)
        assert_array_equal(arrays["scores"], SCORES)
        assert_array_equal(arrays["rows"], ROWS)
        if kind != "none":
            missing = -1 if kind == "integers" else ""
            assert arrays["ids"].tolist() == [[missing if one is None else one for one in row] for row in NAMED[kind]]
        if asked is not None:
            assert arrays["query_ids"].tolist() == list(asked)
    table = parquet.read_table("found.parquet").to_pydict()
    assert table["rows"] == ROWS.tolist() and table.get("ids") == NAMED.get(kind)
    assert sorted(os.listdir()) == ["found.npz", "found.parquet"]


@pytest.mark.parametrize(
    ("path", "message"),
    [("found.csv", "must end in .npz or .parquet"), ("file/found.npz", "not a folder"), ("folder.npz", "not a file")],
)
def test_paths_that_cannot_be_written(tmp_path, path, message):
    (tmp_path / "file").touch()
    (tmp_path / "folder.npz").mkdir()
    with pytest.raises(InputError, match=message):
        found.check_path(tmp_path / path)


def test_parts_that_cannot_be_merged():
    for parts, firsts in (([], []), ([make("none")], [0, 3]), ([make("none"), Found(SCORES[:1], ROWS[:1])], [0, 3])):
        with pytest.raises(InputError, match="one number of queries"):
            found.merge(parts, firsts, 3)
    with pytest.raises(InputError, match="top must be"):
        found.merge([make("none")], [0], 0)
