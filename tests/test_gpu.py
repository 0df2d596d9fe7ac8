"""benchmarks.gpu on a CPU, tiny: what is kept of a part that fails or is cut off, and its own side's answers."""

import json
import os
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_array_equal

from benchmarks import gpu

SIZE = gpu.SIZES["small"]


def test_the_dense_side_finds_the_best_rows_of_all_chunks():
    rng = np.random.default_rng(0)
    rows, queries = (rng.integers(-8, 9, (n, 16)).astype(np.float32) for n in (333, 3))
    scores, found = gpu.nearest(jnp.asarray(rows, jnp.bfloat16), jnp.asarray(queries, jnp.bfloat16), chunk=100)
    exact = queries @ rows.T
    assert_array_equal(np.asarray(scores), -np.sort(-exact, axis=1)[:, : gpu.DEPTH])
    assert_array_equal(np.take_along_axis(exact, np.asarray(found), axis=1), np.asarray(scores))


def test_backends_agree_with_the_oracle():
    assert max(gpu.agreement(SIZE).values()) < 1e-4
    found = gpu.precision(SIZE)["rows with the columns of float64"]
    assert found["float32"] > 0.99 and set(found) == {"default", "tensorfloat32", "float32"}


def test_a_part_that_fails_keeps_what_it_noted(tmp_path, monkeypatch):
    def broken(size, note):
        note({"one": 1})
        raise ValueError("no such thing")

    monkeypatch.setitem(gpu.PARTS, "works", gpu.Part(broken, 5))
    with pytest.raises(ValueError, match="no such thing"):
        gpu.run("works", SIZE, tmp_path)
    report = json.loads((tmp_path / "works.json").read_text())
    assert report["one"] == 1 and report["failed"] == "ValueError: no such thing"
    assert report["machine"]["devices"] == [jax.devices()[0].device_kind]
    assert '"one": 1' in gpu.page(tmp_path)


def test_a_part_is_cut_off_with_its_children(tmp_path):
    told = tmp_path / "child"
    program = (
        "import subprocess, sys, time; child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']);"
        f"open({str(told)!r}, 'w').write(str(child.pid)); time.sleep(60)"
    )
    assert gpu.limited([sys.executable, "-c", program], 3, dict(os.environ)).startswith("cut off after 3 s")
    stat = Path(f"/proc/{told.read_text()}/stat")
    late = time.monotonic() + 20
    while stat.exists() and stat.read_text().split()[2] != "Z":
        assert time.monotonic() < late, "the child lives on"
        time.sleep(0.01)
    assert gpu.limited([sys.executable, "-c", "raise SystemExit(3)"], 30, dict(os.environ)) == "failed with exit code 3"
