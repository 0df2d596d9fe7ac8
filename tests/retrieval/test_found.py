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
    [
        ("found.csv", "must end in .npz or .parquet or .run"),
        ("file/found.npz", "not a folder"),
        ("folder.npz", "not a file"),
    ],
)
def test_paths_that_cannot_be_written(tmp_path, path, message):
    (tmp_path / "file").touch()
    (tmp_path / "folder.npz").mkdir()
    with pytest.raises(InputError, match=message):
        found.check_path(tmp_path / path)


@pytest.mark.parametrize("kind", IDS)
@pytest.mark.parametrize("suffix", found.READ)
def test_a_file_is_read_as_it_was_written(tmp_path, kind, suffix):
    path, note = tmp_path / f"found{suffix}", {"rows": 3, "name": "ß"}
    for some in (make(kind), Found(SCORES[:, :1], ROWS[:, :1], found.named(ids_of(kind), ROWS[:, :1]))):
        found.write(path, some, ["q1", "ß"], note)
        read = found.read(path)
        assert_array_equal(read.found.scores, some.scores, strict=True)
        assert_array_equal(read.found.rows, some.rows, strict=True)
        assert read.query_ids.tolist() == ["q1", "ß"] and read.searched == note
        assert (read.found.ids is None) if kind == "none" else (read.found.ids.tolist() == some.ids.tolist())
    found.write(path, make(kind))
    assert found.read(path).query_ids is None and found.read(path).searched is None


@pytest.mark.parametrize("suffix", found.READ)
def test_whatever_bytes_a_file_has_the_answer_is_an_input_error(tmp_path, suffix):
    path = tmp_path / f"found{suffix}"
    found.write(path, make("texts"), ["a", "b"], {"rows": 3})
    whole, rng = path.read_bytes(), np.random.default_rng(0)
    for size in rng.integers(len(whole), size=20):
        path.write_bytes(whole[:size])
        with pytest.raises(InputError, match="found"):
            found.read(path)
    for _ in range(200):
        damaged = bytearray(whole)
        damaged[rng.integers(len(whole))] ^= 1 << rng.integers(8)
        path.write_bytes(damaged)
        try:
            found.read(path)
        except InputError as error:
            assert "found" in str(error)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"scores": SCORES}, "no result of a search: it has scores"),
        ({"scores": SCORES, "rows": ROWS[:1]}, r"float32 and int64 \(q, top\)"),
        ({"scores": SCORES.astype(float), "rows": ROWS}, "float32 and int64"),
        ({"scores": SCORES, "rows": ROWS - 1}, "a row below -1"),
        ({"scores": SCORES, "rows": ROWS, "ids": ROWS[0]}, "ids are not as many"),
        ({"scores": SCORES, "rows": ROWS, "query_ids": ROWS}, "ids are not as many"),
        ({"scores": SCORES, "rows": ROWS, "searched": np.array("{")}, "not JSON"),
    ],
)
def test_files_of_something_else(tmp_path, arrays, message):
    np.savez(tmp_path / "found.npz", **arrays)
    with pytest.raises(InputError, match=message):
        found.read(tmp_path / "found.npz")
    with pytest.raises(InputError, match="that is there"):
        found.read(tmp_path / "absent.npz")


def test_ids_beyond_signed_integers_are_merged():
    most = np.array([[2**64 - 1, 3]], np.uint64)
    parts = [Found(np.array([[0.5, 0.1]], np.float32), np.array([[0, 1]]), ids) for ids in (most, most - np.uint64(1))]
    merged = found.merge(parts, [0, 2], 3).ids
    assert merged.dtype == np.uint64 and merged.tolist() == [[2**64 - 1, 2**64 - 2, 3]]


def test_parts_that_cannot_be_merged():
    for parts, firsts in (([], []), ([make("none")], [0, 3]), ([make("none"), Found(SCORES[:1], ROWS[:1])], [0, 3])):
        with pytest.raises(InputError, match="one number of queries"):
            found.merge(parts, firsts, 3)
    with pytest.raises(InputError, match="top must be"):
        found.merge([make("none")], [0], 0)
