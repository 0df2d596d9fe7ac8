import numpy as np
import pytest

from compressae_jax.notation import InputError
from compressae_jax.retrieval import found, runs
from compressae_jax.retrieval.found import Found

SCORES = np.array([[0.5, 0.25, 0.25], [1 / 3, -np.inf, -np.inf], [-np.inf] * 3], np.float32)
ROWS = np.array([[4, 0, 9], [2, -1, -1], [-1, -1, -1]])
IDS = np.array([["e", "z", "a"], ["c", None, None], [None] * 3], object)


def ranked(run):
    return {q: list(run.items[run.indptr[i] : run.indptr[i + 1]]) for i, q in enumerate(run.query_ids)}


def test_what_was_found_is_read_again_with_its_ties_in_order(tmp_path):
    found.write(tmp_path / "x.run", Found(SCORES, ROWS, IDS), ["q 1".replace(" ", ""), "q2", "q3"])
    lines = (tmp_path / "x.run").read_text().splitlines()
    assert lines[0] == "q1 Q0 e 1 0.5 compressae_jax" and len(lines) == 4
    assert float(lines[3].split()[4]) == SCORES[1, 0], "every bit of the score"
    assert ranked(runs.read(tmp_path / "x.run")) == {"q1": ["e", "z", "a"], "q2": ["c"]}


def test_without_ids_numbers_stand_in_their_place(tmp_path):
    found.write(tmp_path / "x.run", Found(SCORES, ROWS))
    assert ranked(runs.read(tmp_path / "x.run")) == {"0": ["4", "0", "9"], "1": ["2"]}


def test_scores_rank_whatever_the_order_of_the_lines(tmp_path):
    (tmp_path / "x.run").write_text("q Q0 a 1 0.1 t\np Q0 x 2 7 t\nq Q0 b 2 0.3 t\r\n\nq Q0 c 3 0.3 t\np Q0 y 1 7 t\n")
    assert ranked(runs.read(tmp_path / "x.run")) == {"q": ["b", "c", "a"], "p": ["y", "x"]}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("q Q0 a 1 0.1\n", r"result 0: a line is query Q0 item rank score name, not 'q Q0 a 1 0\.1'"),
        ("q Q0 a 1 high t\n", "score must be a number"),
        ("q Q0 a 1 nan t\n", "not NaN"),
        ("q Q0 a 1 2 t\nq Q0 a 2 1 t\n", "query 'q' has item 'a' 2 times"),
        ("", "holds no result"),
        (b"caf\xe9", "must be UTF-8"),
    ],
)
def test_files_that_are_no_runs(text, message, tmp_path):
    (tmp_path / "x.run").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(InputError, match=message):
        runs.read(tmp_path / "x.run")


@pytest.mark.parametrize("ids", [["a b", "c", "d"], ["", "c", "d"], ["a\u2003b", "c", "d"]])
def test_ids_that_the_format_has_no_place_for(ids, tmp_path):
    with pytest.raises(InputError, match=r"has no place in a TREC run.*write \.npz"):
        found.write(tmp_path / "x.run", Found(SCORES, ROWS), ids)
    assert not (tmp_path / "x.run").exists()
    with pytest.raises(InputError, match="there is no run file"):
        runs.read(tmp_path / "x.run")
