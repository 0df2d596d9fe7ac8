"""benchmarks.startup on cheap processes: what counts as beyond jax, and that a failed process has no time."""

import json

import pytest

from benchmarks import startup

TRACE = """\
import time: self [us] | cumulative | imported package
import time:       500 |        500 |     jax
import time:       100 |        100 |   jax._src
import time:      1000 |       1100 | jax
import time:      2000 |       2000 |     flax.core
import time:      3000 |       5000 |   flax
import time:       250 |        250 |   jax.experimental
import time:      4000 |       9250 | compressae_jax
"""


def test_packages_are_counted_after_the_base_and_summed():
    assert startup.by_package(TRACE, "jax") == {"flax": 5.0, "jax": 0.25, "compressae_jax": 4.0}


def test_the_heaviest_are_medians_of_the_traces():
    traces = [{"a": 1.0, "b": 5.0}, {"a": 9.0, "b": 5.0, "c": 7.0}, {"a": 6.0, "d": 1.0, "e": 1.0, "f": 1.0}]
    assert list(startup.heaviest(traces).items())[:2] == [("a", 6.0), ("b", 5.0)]
    assert len(startup.heaviest(traces)) == 5


def test_the_report_says_what_is_beyond_jax(monkeypatch, tmp_path):
    sides = {
        "import jax": ["-c", "pass"],
        "from compressae_jax import fit": ["-c", "import time; time.sleep(.2)"],
        "launch/search.py, no such index": ["-c", "raise SystemExit(2)"],
    }
    monkeypatch.setattr(startup, "SIDES", sides)
    monkeypatch.setattr(startup, "traced", lambda: {"flax": 5.0})
    monkeypatch.setattr("sys.argv", ["startup", "--repeats=2", f"--out={tmp_path}"])
    startup.main()
    report, text = json.loads((tmp_path / "startup.json").read_text()), (tmp_path / "startup.md").read_text()

    assert list(report["seconds"]) == list(sides) and report["packages_ms"] == {"flax": 5.0}
    assert 0.1 < report["beyond_jax"]["median"] < report["seconds"]["from compressae_jax import fit"]["max"]
    assert report["within"] == (report["beyond_jax"]["median"] < 1)
    assert "| flax | 5 |" in text


def test_a_process_that_fails_stops_the_run():
    with pytest.raises(SystemExit, match=r"(?s)ended with 1, not 0: .*no_such_module"):
        startup.started(["-c", "import no_such_module"])


def test_the_doors_end_as_the_benchmark_expects():
    assert startup.started(startup.SIDES["launch/search.py --help"], 0) == ""
