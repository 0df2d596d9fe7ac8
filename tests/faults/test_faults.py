"""A few of the faults that `python -m tests.faults` counts in full, drawn by a seed."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from faults import shim

ROOT = Path(__file__).resolve().parents[2]
PARTS = ("kills", "errors", "unread", "flips", "fuzz", "pairs", "replaced", "growth")
pytestmark = pytest.mark.skipif(bool(shim.why_not()), reason=shim.why_not())


@pytest.fixture(scope="module")
def counts(tmp_path_factory):
    """Counts of the fast form, from a process of its own, which has the library and never starts JAX."""
    out = tmp_path_factory.mktemp("faults") / "counts.json"
    command = [sys.executable, "-m", "tests.faults", "--fast", f"--only={','.join(PARTS)}", f"--json={out}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert out.exists(), done.stderr
    return json.loads(out.read_text())


@pytest.mark.parametrize("part", PARTS)
def test_no_fault_does_damage(counts, part):
    mine = [one for one in counts if one["part"] == part and one["what"] != "in place"]
    assert sum(one["tried"] for one in mine)
    assert [failure for one in mine for failure in one["failures"]] == []


@pytest.mark.parametrize("part", ["kills", "errors"])
def test_a_writer_in_place_is_found_out(counts, part):
    (careless,) = (one for one in counts if one["part"] == part and one["what"] == "in place")
    assert any("something" in failure for failure in careless["failures"])
