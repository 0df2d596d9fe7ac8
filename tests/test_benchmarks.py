"""benchmarks.search at a tiny size: what its report claims, and that a wrong side has no time."""

import json

import numpy as np
import pytest

from benchmarks import all as all_benchmarks
from benchmarks import peers, search, synthetic, timing
from compressae_jax.retrieval.backends import host

TINY = ["--n=301", "--d=16", "--h=64", "--k=5", "--top=7", "--queries", "1", "9", "--repeats=2", "--approximate_n=200"]


@pytest.fixture(autouse=True)
def rates(monkeypatch):
    """The machine's rates are measured elsewhere: with shared cores they take seconds."""
    monkeypatch.setattr(timing, "bandwidth", lambda: 1e9)
    monkeypatch.setattr(timing, "product_rate", lambda: 1e9)


def run(monkeypatch, out, *peers):
    monkeypatch.setattr("sys.argv", ["search", *TINY, f"--out={out}", "--peers", *peers])
    search.main()


def report_of(out):
    return json.loads((out / "search.json").read_text()), (out / "search.md").read_text()


def test_report_has_every_side_at_every_number_of_queries(monkeypatch, tmp_path):
    monkeypatch.setattr(synthetic, "BLOCK", 100)  # below n and no divisor of it: blocks are numbered and merged
    run(monkeypatch, tmp_path, "packed", "index", "jax", "numpy", "scipy")
    report, text = report_of(tmp_path)

    sides = list(dict.fromkeys(row["side"] for row in report["results"]))
    assert [row["side"] for row in report["results"]] == 2 * sides
    assert {
        "host, dense u",
        "host, sparse u",
        "host, packed4, dense u",
        "host, fast4, dense u",
        "Index.search, reconstructed",
    } < set(sides)
    for row in report["results"]:
        assert not row["wrong"] and row["calls"] == 2 and row["min_ms"] <= row["median_ms"] <= row["max_ms"]
        assert ("read_floor_ms" in row) == row["ours"] == row["side"].startswith(("host", "Index"))
        if row["side"] == "host, dense u":
            assert row["read_floor_ms"] == pytest.approx(1e3 * 301 * (5 * (2 + 2) + 4) / 1e9)
    assert report["settings"]["n"] == 301 and report["threads"] == host.cores()
    assert set(report["load_s"]) == {"checksums verified", "not verified"}
    assert "| 9 | host, sparse u |" in text and "not the oracle's" not in text.split("\n\n", 1)[1]


def test_a_wrong_backend_prints_no_time(monkeypatch, tmp_path, capsys):
    right = host.search

    def wrong(*arguments, **keywords):
        scores, rows = right(*arguments, **keywords)
        rows[-1, 2] = rows[-1, 1]
        return scores, rows

    monkeypatch.setattr(host, "search", wrong)
    with pytest.raises(SystemExit, match="host, dense u"):
        run(monkeypatch, tmp_path, "numpy")
    report, _ = report_of(tmp_path)

    for row in report["results"]:
        assert row["wrong"] == row["ours"] and ("median_ms" in row) != row["wrong"]
    assert "host, dense u: not the oracle's" in capsys.readouterr().out


@pytest.mark.parametrize("fault", ["score", "row", "order", "outside", "short"])
def test_the_oracle_refuses(fault):
    rng = np.random.default_rng(0)
    rows, queries = rng.standard_normal((50, 8)).astype(np.float32), rng.standard_normal((3, 8)).astype(np.float32)
    truth = synthetic.Truth(rows, queries, 4)
    scores, found = synthetic.merged([synthetic.best(queries @ rows.T, 4)], 4)
    assert truth.judged((scores, found), 3) == (True, 1.0)

    match fault:
        case "score":
            scores[1, 2] *= 1.01
        case "row":
            found[1, 2] = np.argmin(queries[1] @ rows.T)
        case "order":
            scores, found = scores[:, ::-1], found[:, ::-1]
        case "outside":
            found[1, 2] = 50
        case "short":
            scores, found = scores[:, :3], found[:, :3]
    assert not truth.judged((scores, found), 3)[0]


def test_a_peer_that_is_not_installed_is_skipped(monkeypatch, tmp_path):
    def missing(data):
        raise ImportError("No module named 'faiss'")

    monkeypatch.setitem(peers.EXACT, "faiss", missing)
    run(monkeypatch, tmp_path, "faiss")
    report, text = report_of(tmp_path)
    assert report["skipped"] == ["faiss is skipped: No module named 'faiss'"] and report["skipped"][0] in text


def test_random_codes_have_distinct_columns_and_fall():
    codes = synthetic.random_codes(np.random.default_rng(0), 500, 40, 12, "float16")
    assert all(len(set(row)) == 12 for row in codes.columns.tolist()) and codes.columns.max() < 40
    assert (np.diff(np.abs(codes.values), axis=1) <= 0).all() and codes.values.all()
    assert np.bincount(codes.columns.reshape(-1), minlength=40).min() > 100  # of 150 each


def test_a_slow_side_sits_out_after_two_calls():
    seconds = timing.alternate({"slow": lambda: None, "quick": lambda: None}, 4, budget=-1.0)
    assert {name: len(some) for name, some in seconds.items()} == {"slow": 2, "quick": 2}
    assert len(timing.alternate({"side": lambda: None}, 4)["side"]) == 4


def test_a_table_has_a_ruler_as_wide_as_its_head():
    row = timing.milliseconds([0.003, 0.001, 0.002])
    lines = timing.markdown("k | time, ms", [[9, timing.shown(row, 1, "_ms")]])
    assert lines == ["| k | time, ms |", "|---|---|", "| 9 | 2.0 (1.0 to 3.0) |"]


def test_all_goes_on_past_a_failure_and_exits_1(monkeypatch, tmp_path, capsys):
    def run_one(name, arguments, out):
        done = all_benchmarks.subprocess.CompletedProcess([], int(name == "packed"), f"printed by {name}", "why")
        return done

    monkeypatch.setattr(all_benchmarks, "run", run_one)
    monkeypatch.setattr("sys.argv", ["all", "--size=small", "--only", "packed", "memory", f"--out={tmp_path}"])
    with pytest.raises(SystemExit, match="failed: packed"):
        all_benchmarks.main()
    printed = capsys.readouterr().out
    assert "packed failed" in printed and "printed by memory" in printed
