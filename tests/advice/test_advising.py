"""Advice for real vectors, small samples of them: each of the answers where it is right, and commands that run."""

import dataclasses
import json
import subprocess
import sys

import numpy as np
import pytest
from evaluation import small

from compressae_jax import data
from compressae_jax.advice import advising, commands, measured, methods, page, sample
from compressae_jax.data.judged.judged import of_pairs
from compressae_jax.model import budgets
from compressae_jax.notation import InputError
from compressae_jax.retrieval.index import Index


@pytest.fixture
def advised(monkeypatch):
    """Advice with little time for scans and dictionaries, and none for one-pass codes, which another test measures."""
    monkeypatch.setattr(measured, "SCANNED", 3000)
    monkeypatch.setattr(methods, "LEAST_ROWS", 10**9)
    monkeypatch.setattr(budgets, "STAGES", ({"kind": "rounds", "rounds": 3},))

    def ask(source, rows, **options):
        return advising.advise(data.open_source(source), {"source": "x"}, rows=rows, progress=False, **options)

    return ask


def test_pq_for_shop_at_64_bytes(advised, tmp_path):
    pytest.importorskip("faiss")
    told = advised("shop", 2000, budget_bytes=64, peers=("pq", "sq"))
    assert (told.advised.answer, told.advised.choice.name) == ("peer", "pq"), told.advised.reason
    assert told.advised.verdicts[0].difference.high < 0
    page.write(told, tmp_path)
    text, numbers = (tmp_path / page.PAGE).read_text(), json.loads((tmp_path / page.NUMBERS).read_text())
    assert text.startswith("# Advice for") and "**Take PQ, 64 bytes a vector.**" in text and told.command in text
    assert (numbers["answer"], numbers["method"], numbers["bytes_per_vector"]) == ("peer", "pq", 64.0)
    assert {one["name"] for one in numbers["measured"]} == {"dense", "pursuit", "pq", "sq"}
    timed = {one["name"] for one in numbers["measured"] if one["speed"] is not None}
    assert timed == {"dense", "pursuit", "pq"}


def test_ours_for_debian(advised):
    told = advised("debian", 1200, budget_bytes=32, peers=("pca_int8", "pca_int4", "binary"))
    assert told.advised.answer == "ours", told.advised.reason
    assert f"--config.budget_bytes=32 --workdir={commands.WORKDIR}" in told.command


def test_int8_or_nothing_for_small_sets(advised, tmp_path):
    told = advised("shop", 400, minutes=1e-6)
    assert told.advised.answer == "nothing" and told.command.startswith("python - <<")
    assert "not within the minutes" in told.left_out[-1] and [one.name for one in told.measured] == ["dense"]
    few = np.random.default_rng(0).normal(size=(30, 8))
    told = advised(few, 400)
    assert told.advised.answer == "nothing" and not told.measured
    page.write(told, tmp_path)
    assert "Nothing was measured, so there is no figure." in (tmp_path / page.PAGE).read_text()
    with pytest.raises(InputError, match="at least 100 rows, not 30"):
        advised(few, 400, budget_bytes=4)


def test_int8_of_a_hundred_thousand(advised, monkeypatch):
    monkeypatch.setattr(advising, "BUDGETS", (16,))
    told = advised("shop", 700, total_rows=100_000, peers=("int8",))
    assert told.advised.answer == "int8" and told.advised.choice.scores["recall@100"].mean() > 0.99


def test_what_more_rows_bring_is_told_where_a_peer_is_advised(advised, monkeypatch):
    monkeypatch.setattr(advising, "GROWN", 10)
    told = advised("shop", 300, budget_bytes=30, total_rows=10**6, peers=("pca_int8",))
    assert told.advised.answer == "peer" and len(told.grown) == 1
    assert told.grown[0].startswith("From 75 to 150 rows fitted to, ours gained +") and "6,667 times" in told.grown[0]


def test_slow_peers_are_expected_by_the_time_of_pq():
    pq = measured.Measured("pq", "PQ", "baseline", 64, 64.0, {}, {}, 3.0, 9.0, None)
    wanted = {name: methods.Method(name, "baseline", 64, lambda rows, seed: None) for name in ("opq", "lsq", "sq")}
    assert advising._expected(wanted["opq"], [pq]) == 90 and advising._expected(wanted["lsq"], [pq]) == 390
    assert advising._expected(wanted["sq"], [pq]) == advising._expected(wanted["opq"], []) == 0


def test_nothing_is_fitted_to_what_is_searched_and_judged_rows_are():
    source = data.open_source(np.random.default_rng(0).normal(size=(1000, 8)).astype(np.float32))
    queries = data.open_source(np.eye(8, dtype=np.float32)[:4])
    pairs = [(query, item) for query in range(4) for item in range(50 * query, 50 * query + 50)]
    judged = of_pairs("made", *map(list, zip(*pairs, strict=True)), [1] * 200, by_row=True)
    drawn = sample.draw(source, 400, judged=sample.placed_on(source, queries, judged, "stop"))
    parts = [{row.tobytes() for row in part} for part in (drawn.fitted, drawn.searched, drawn.queries)]
    assert [len(part) for part in parts] == [200, 160, 40] and len(set.union(*parts)) == drawn.rows == 400
    assert len(drawn.judged.queries) == 2 and drawn.judged.of == 4  # 100 relevant rows, no more than 120
    wanted = drawn.judged.wanted
    assert wanted.shape[1] >= 160 and (wanted.sum(axis=1) == 50).all() and wanted.indices.max() < 160
    asked = np.argmax(drawn.judged.queries, axis=1)
    everything = source.read(0, 1000)
    for row, query in enumerate(asked):
        found = {vector.tobytes() for vector in drawn.searched[wanted[row].indices]}
        assert found == {vector.tobytes() for vector in everything[50 * query : 50 * query + 50]}


def test_zero_rows_are_left_out_and_others_refused():
    vectors = np.random.default_rng(0).normal(size=(200, 8)).astype(np.float32)
    vectors[::20] = 0
    drawn = sample.draw(data.open_source(vectors), 200)
    assert drawn.zero == 10 and drawn.rows == 190 and drawn.queries.any(axis=1).all()
    vectors[7, 0] = np.nan
    with pytest.raises(InputError, match="row 7 has a value that is not finite"):
        sample.draw(data.open_source(vectors), 200)
    with pytest.raises(InputError, match="of 200, 0 have one"):
        sample.draw(data.open_source(np.zeros((200, 8), np.float32)), 200)


@pytest.mark.parametrize(("encoder", "storage"), [("topk", "float16"), ("pursuit", "fast4"), ("pursuit", "packed4")])
def test_bytes_are_those_of_an_index(encoder, storage):
    weights = dataclasses.replace(small.weights(16, 64, 4), encoder=encoder, storage=storage)
    fitted = methods.of_codes(weights, "ours")
    index = fitted.indexed(fitted.encode(small.vectors(50, 16)))
    assert isinstance(index, Index) and fitted.bytes_per_vector == index.bytes_per_vector
    assert methods.k_of(20) == 4


def test_what_needs_faiss_is_left_out_with_a_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "faiss", None)
    wanted, told = methods.all_of(128, [64], methods.PEERS, one_pass=False)
    assert "pq" not in {one.name for one in wanted} and "int8" in {one.name for one in wanted}
    assert len(told) == 1 + len({"prq", "rq", "lsq"} & set()) and told[-1].startswith(
        "pq, sq, rabitq, opq, prq, rq, lsq: "
    )


@pytest.mark.parametrize("name", ["pursuit", "one_pass"])
def test_the_command_of_ours_is_taken_by_the_door(name, tmp_path):
    """Parsed as a shell would hand it over, and its config seen to be whole."""
    about = {"k": 3, "h": 64}
    choice = measured.Measured(name, "", "code", 24, 24.0, {}, about, 0.0, 0.0, None)
    np.save(tmp_path / "a b.npy", np.random.default_rng(0).normal(size=(300, 16)).astype(np.float32))
    command = commands.of(choice, 24, {"source": "a b.npy", "column": None}, {})
    program = (
        "import sys; from compressae_jax.jobs import door, check, inputs; from compressae_jax.jobs.commands import run;"
        "sys.argv.pop(0); door._defined(run); given = door._parsed(sys.argv);"
        "check.whole(given.config, given.workdir, inputs.source(given.config)); print(given.workdir)"
    )
    call = f"compressae() {{ {sys.executable} -c '{program}' \"$@\"; }}; {command}"
    done = subprocess.run(["bash", "-c", call], cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, commands.WORKDIR + "\n"), done.stderr


@pytest.mark.parametrize("name", ["pca_int8", None])
def test_the_command_of_a_peer_runs(name, tmp_path):
    choice = name and measured.Measured(name, "", "baseline", 8, 8.0, {}, {}, 0.0, 0.0, None)
    np.save(tmp_path / "v's.npy", np.random.default_rng(0).normal(size=(300, 16)).astype(np.float32))
    command = commands.of(choice, 8, {"source": "v's.npy"}, {})
    call = f'python() {{ {sys.executable} "$@"; }}; {command}'
    done = subprocess.run(["bash", "-c", call], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    if name:
        assert "8 bytes a vector" in done.stdout and np.load(tmp_path / commands.OUT).shape == (300, 8)
    else:
        assert done.stdout.startswith("[[  0 ")
