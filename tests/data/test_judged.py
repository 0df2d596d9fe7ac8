"""Judgements of every kind of file say the same; what is wrong with one is said with its name."""

import json

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
import scipy.sparse
from numpy.testing import assert_array_equal

from compressae_jax.data import named
from compressae_jax.data.judged import open_judgements
from compressae_jax.notation import InputError

TRIPLES = [("q1", "d3", 2), ("q1", "d1", 0), ("q2", "d1", -1), ("q2", "d9", 1)]


def told(judged):
    """As {query: {item: grade}}, and zeros that are written down stay."""
    coo = judged.grades.tocoo()
    found = {}
    for query, item, grade in zip(coo.row, coo.col, coo.data, strict=True):
        found.setdefault(judged.queries[int(query)], {})[judged.items[int(item)]] = int(grade)
    return found


EXPECTED = {"q1": {"d3": 2, "d1": 0}, "q2": {"d1": -1, "d9": 1}}


def trec(folder):
    path = folder / "robust.qrels"
    path.write_text("".join(f"{q} 0 {i} {g}\n" for q, i, g in TRIPLES))
    return path


def trec_with_tabs(folder):
    path = folder / "qrels.dev.tsv"
    path.write_text("".join(f"{q}\t0\t{i}\t{g}\n" for q, i, g in TRIPLES))
    return path


def trec_of_any_name(folder):
    return trec(folder).rename(folder / "qrels.301-450")


def beir_table(folder):
    path = folder / "test.tsv"
    path.write_text("query-id\tcorpus-id\tscore\n" + "".join(f"{q}\t{i}\t{g}\n" for q, i, g in TRIPLES))
    return path


def beir_folder(folder):
    (folder / "qrels").mkdir()
    beir_table(folder / "qrels")
    return folder


def comma(folder):
    path = folder / "marks.csv"
    path.write_bytes(b"\xef\xbb\xbfitem,grade,query\r\n" + b"".join(f"{i},{g},{q}\r\n".encode() for q, i, g in TRIPLES))
    return path


def columns(folder):
    path = folder / "marks.parquet"
    query, item, grade = zip(*TRIPLES, strict=True)
    pyarrow.parquet.write_table(pyarrow.table({"query_id": query, "doc_id": item, "relevance": grade}), path)
    return path


def arrow_table(folder):
    query, item, grade = zip(*TRIPLES, strict=True)
    return pyarrow.table({"qid": query, "item": item, "label": grade})


def frame(folder):
    query, item, grade = zip(*TRIPLES, strict=True)
    return {"query": np.array(query, object), "item": list(item), "grade": np.array(grade, np.float64)}


KINDS = [trec, trec_with_tabs, trec_of_any_name, beir_table, beir_folder, comma, columns, arrow_table, frame]


@pytest.mark.parametrize("kind", [*KINDS, lambda _: TRIPLES, lambda _: EXPECTED], ids=lambda one: one.__name__)
def test_all_kinds_say_the_same(kind, tmp_path):
    judged = open_judgements(kind(tmp_path))
    assert told(judged) == EXPECTED and not judged.by_row


def test_a_matrix_goes_by_row_numbers(tmp_path):
    matrix = scipy.sparse.coo_matrix(([3, -1, 1, 1], ([0, 2, 2, 2], [4, 0, 1, 1])), (4, 6))  # one stands twice
    grades = np.array([[0, 0, 0, 0, 3, 0], [0] * 6, [-1, 1, 0, 0, 0, 0], [0] * 6])
    scipy.sparse.save_npz(tmp_path / "grades.npz", scipy.sparse.csr_matrix(grades))
    for given in (matrix, tmp_path / "grades.npz"):
        judged = open_judgements(given)
        assert judged.by_row and told(judged) == {0: {4: 3}, 2: {0: -1, 1: 1}}
        assert (judged.queries.tolist(), judged.items.tolist()) == ([*range(4)], [*range(6)])
    with pytest.raises(InputError, match="query 2 and item 1 are judged twice"):
        open_judgements(scipy.sparse.coo_matrix(([1, 2], ([2, 2], [1, 1])), (4, 6)))


def test_the_layout_of_our_own_datasets_goes_by_row_numbers(tmp_path):
    path = tmp_path / "qrels_test.tsv"
    path.write_text("query_row\tdoc_row\tscore\n7\t2\t1\n")
    judged = open_judgements(path)
    assert judged.by_row and (judged.queries.tolist(), judged.items.tolist()) == ([7], [2])


def test_a_folder_tells_all_ids_in_their_order(tmp_path):
    beir_folder(tmp_path)
    (tmp_path / "corpus.jsonl").write_text("".join(json.dumps({"_id": f"d{i}"}) + "\n" for i in range(3)))
    judged = open_judgements(tmp_path)
    assert list(judged.all_items()) == ["d0", "d1", "d2"] and judged.all_queries is None
    (tmp_path / "corpus.jsonl").write_text('{"_id": "d0"}\n{"id": "d1"}\n')
    with pytest.raises(InputError, match=r"corpus\.jsonl, line 2, must be a JSON object with an _id"):
        judged.all_items()
    with pytest.raises(InputError, match=r"split .* must be one of 'test', not 'dev'"):
        open_judgements(tmp_path, "dev")


def test_a_pair_counts_once_and_must_not_have_two_grades(tmp_path):
    assert told(open_judgements([*TRIPLES, TRIPLES[0]])) == EXPECTED
    with pytest.raises(InputError, match="query q1 and item d3 are judged twice, with unlike grades"):
        open_judgements([*TRIPLES, ("q1", "d3", 1)])
    path = tmp_path / "qrels.tsv"
    path.write_text("query_row\tdoc_row\tscore\n0\t1\t1\n0\t1\t1\n")
    assert_array_equal(named.read_judgements(path, 2, 2), [[0], [1], [1]])
    path.write_text("query_row\tdoc_row\tscore\n0\t1\t1\n0\t1\t2\n")
    with pytest.raises(InputError, match="query_row 0 and doc_row 1 are judged twice"):
        named.read_judgements(path, 2, 2)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.qrels", "q1 0 d3\n", "judgement 1: TREC's qrels have four fields, query 0 item grade, not 3"),
        ("a.qrels", "q1 0 d3 high\n", "grades must be whole numbers"),
        ("a.qrels", "q1 0 d3 0.5\n", "grades must be whole numbers"),
        ("a.qrels", "\n", "holds no judgement"),
        ("a.qrels", b"q1 0 caf\xe9 1\n", "must be UTF-8, but byte 8 is 0xe9"),
        ("a.csv", "query,item\n1,2\n", "needs one column for the grade"),
        ("a.csv", "query,query_id,item,grade\n1,1,2,1\n", "needs one column for the query"),
        ("a.csv", "query,item,grade\n1,2\n", "row 0 has 2 fields, the heading 3"),
        ("a.csv", "", "must begin with the names of its columns"),
        ("a.tsv", "query_row\tdoc_row\tscore\n-1\t2\t1\n", "row number -1 lies below 0"),
        ("a.parquet", "PAR1", "is not a whole .parquet"),
        ("a.npz", "PK", "is not a whole sparse .npz"),
    ],
)
def test_files_that_are_none(name, content, message, tmp_path):
    (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(InputError, match=message):
        open_judgements(tmp_path / name)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (7, "judgements must be .*not int"),
        ([], "not list with nothing in it"),
        ([(1, 2)], "judgements must be .*not list"),
        ({"q": {1.5: 1}}, "items: ids must be strings or 64-bit integers"),
        ({"q": {"d": 0.5}}, "grades must be whole numbers"),
        (scipy.sparse.csr_matrix((3, 3)), "holds no judgement"),
        ("nothing.qrels", "there is no file nothing.qrels"),
    ],
)
def test_objects_that_are_none(given, message):
    with pytest.raises(InputError, match=message):
        open_judgements(given)


def test_a_folder_without_judgements(tmp_path):
    with pytest.raises(InputError, match=r"has no qrels/\*\.tsv"):
        open_judgements(tmp_path)
