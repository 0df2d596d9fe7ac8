"""benchmarks.streaming at a tiny size: its shares, and that nothing is timed of a wrong folder or an uncold file."""

import json

import numpy as np
import pytest

from benchmarks import streaming
from compressae_jax import compression

TINY = ["--n=301", "--d=16", "--h=64", "--k=4", "--batch=128", "--repeats=2"]


@pytest.fixture(autouse=True)
def anywhere(monkeypatch):
    """The scratch folder may lie in memory, where nothing is cold."""
    monkeypatch.setattr(streaming, "held", lambda path: 0.0)


def run(monkeypatch, tmp_path, *more):
    monkeypatch.setattr("sys.argv", ["streaming", *TINY, f"--scratch={tmp_path}", f"--out={tmp_path / 'out'}", *more])
    streaming.main()


def test_the_report_has_every_job_cold_and_warm(monkeypatch, tmp_path):
    run(monkeypatch, tmp_path)
    report = json.loads((tmp_path / "out" / "streaming.json").read_text())
    text = (tmp_path / "out" / "streaming.md").read_text()

    assert [(one["encoder"], one["storage"]) for one in report["results"]] == [
        ("topk", "float16"),
        ("topk", "packed4"),
        ("pursuit", "packed4"),
    ]
    for one in report["results"]:
        for state in ("cold", "warm"):
            rates, gigabytes = one[state]["rows_per_s"], one[state]["gb_per_s"]
            for side in ("disk", "encoder", "stream"):
                assert 0 < rates[side]["min"] <= rates[side]["median"] <= rates[side]["max"]
                assert gigabytes[side]["median"] == pytest.approx(rates[side]["median"] * 4 * 16 / 1e9)
            assert f"| {one['encoder']} | {one['storage']} | {state} |" in text
    assert not list(tmp_path.glob("tmp*"))  # the scratch is gone


@pytest.mark.parametrize("disk, slower, share", [(1.0, "encoder", 4 / 5), (8.0, "disk", 8 / 5)])
def test_the_share_is_of_the_slower_side_repeat_by_repeat(disk, slower, share):
    seconds = {
        "disk, cold": [disk, disk, disk],
        "encoder": [4.0, 4.0, 4.0],
        "stream, cold": [5.0, 4.0, 10.0],  # the median of the shares is that of the first
        "disk, warm": [0.0],
    }
    found = streaming.compared(seconds, "cold", 100, 10**9)
    assert found["slower"] == slower and found["share"]["median"] == pytest.approx(share)
    assert found["share"]["min"] == pytest.approx(max(disk, 4) / 10)
    assert found["rows_per_s"]["stream"]["median"] == pytest.approx(20)
    assert found["gb_per_s"]["disk"]["max"] == pytest.approx(1 / disk)


@pytest.mark.parametrize("wrong", ["values", "columns", "norms"])
def test_nothing_is_timed_of_a_folder_that_differs(monkeypatch, tmp_path, wrong):
    right = compression.encode

    def encode(*arguments, **keywords):
        codes = right(*arguments, **keywords)
        for some in {"values": codes.values, "columns": codes.columns, "norms": codes.norms}[wrong][-1:]:
            some[0] = np.nextafter(some[0], 9, dtype=some.dtype) if wrong != "columns" else some[0] ^ 1
        return codes

    monkeypatch.setattr(compression, "encode", encode)
    monkeypatch.setattr(streaming.timing, "alternate", lambda *_, **__: pytest.fail("timed"))
    with pytest.raises(SystemExit, match="topk, float16: the folder's codes"):
        run(monkeypatch, tmp_path)


def test_a_file_that_stays_in_memory_is_refused(monkeypatch, tmp_path):
    monkeypatch.setattr(streaming, "held", lambda path: 1.0)
    with pytest.raises(SystemExit, match=r"100% of .* stay in memory"):
        run(monkeypatch, tmp_path)


def test_held_counts_pages_of_the_page_cache(monkeypatch, tmp_path):
    monkeypatch.undo()
    path = tmp_path / "some"
    path.write_bytes(bytes(2**20 + 1))
    streaming.read(path)
    assert streaming.held(path) == 1
