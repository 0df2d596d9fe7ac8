"""Texts of items: every kind of file, by order and by ids, what is refused, and how they are shown."""

import gzip
import json

import numpy as np
import pyarrow
import pytest
from pyarrow import parquet

from compressae_jax.codes.ids import TextIds
from compressae_jax.exploring import texts
from compressae_jax.notation import InputError

TOLD = ["one", 'two "2"', "</script>"]
IDS = TextIds.of(["a", "b", "c"])


def write(folder, name, told=TOLD, ids=("a", "b", "c")):
    path = folder / name
    if ".jsonl" in name:
        content = "".join(json.dumps({"text": text, "id": one}) + "\n" for text, one in zip(told, ids, strict=True))
    elif ".txt" in name:
        content = "".join(text + "\r\n" for text in told)
    elif name.endswith(".csv"):
        content = "id,text\n" + "".join(
            '{},"{}"\n'.format(one, text.replace('"', '""')) for text, one in zip(told, ids, strict=True)
        )
    else:
        parquet.write_table(pyarrow.table({"id": list(ids), "text": list(told)}), path)
        return path
    path.write_bytes(gzip.compress(content.encode()) if name.endswith(".gz") else content.encode())
    return path


@pytest.mark.parametrize("name", ["t.txt", "t.txt.gz", "t.jsonl", "t.jsonl.gz", "t.csv", "t.parquet"])
def test_one_a_row_in_order(name, tmp_path):
    assert texts.read(write(tmp_path, name), None, 3) == TOLD


@pytest.mark.parametrize("name", ["t.jsonl", "t.csv", "t.parquet"])
def test_by_ids_in_any_order_and_number(name, tmp_path):
    path = write(tmp_path, name, ["of c", "of nobody", "of a", "of b"], ["c", "z", "a", "b"])
    assert texts.read(path, IDS, 3) == ["of a", "of b", "of c"]
    path = write(tmp_path, name, ["nine", "seven"], [9, 7])
    assert texts.read(path, np.array([7, 9]), 2) == ["seven", "nine"]


def test_a_title_stands_in_for_a_text_and_nothing_for_none(tmp_path):
    (tmp_path / "t.jsonl").write_text('{"title": "named"}\n{"text": null}\n')
    assert texts.read(tmp_path / "t.jsonl", None, 2) == ["named", ""]


@pytest.mark.parametrize(
    ("name", "content", "ids", "told"),
    [
        ("absent.txt", None, None, "there is no file"),
        ("t.txt", b"a\nb\n", None, "has 2 texts, and there are 3 rows"),
        ("t.txt", b"a\nb\n\xff\n", None, "must be UTF-8, but byte 4 is 0xff"),
        ("t.txt.gz", b"plain", None, "is not a whole .gz"),
        ("t.jsonl", b'{"text": "a"}\n[]\n', None, "line 2: must be an object with 'text'"),
        ("t.jsonl", b'{"text": "a", "id": "a"}\n{"text": "b"}\n', None, "1 of 2 lines have no 'id'"),
        ("t.csv", b"id,name\n1,a\n", None, "has no column 'text'; it has id, name"),
        ("t.csv", b"id,text\na,1\nb,2\na,3\n", IDS, "has the id 'a' twice"),
        ("t.csv", b"id,text\na,1\nb,2\nd,3\n", IDS, "has no text of the id 'c'"),
        ("t.csv", b"id,text\na,1\n", np.array([1]), "the id 'a' is no integer"),
    ],
)
def test_what_is_refused(name, content, ids, told, tmp_path):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=told):
        texts.read(tmp_path / name, ids, 3)


@pytest.mark.parametrize("name", ["t.txt", "t.jsonl", "t.csv"])
def test_a_column_of_ids_that_was_asked_for_must_be_there(name, tmp_path):
    path = write(tmp_path, name)
    with pytest.raises(InputError, match="has no 'key', by which"):
        texts.read(path, IDS, 3, named="key")
    with pytest.raises(InputError, match="the rows have no ids"):
        texts.read(path, None, 3, named="id")


def test_shown_on_one_line_cut_and_without_controls():
    long, lone, lines, screen = texts.shown(["x" * 10_000, "\ud800", " a\n\tb ", "\x1b[31mred\x00"])
    assert len(long) == texts.LONGEST and long.endswith("…")
    assert lone == "?" and lines == "a b" and screen == "[31mred"
