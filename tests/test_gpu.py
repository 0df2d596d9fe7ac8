"""benchmarks.gpu on a CPU, tiny: what is kept of a part that fails or is cut off, and its own side's answers."""

import json
import os
import shutil
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_array_equal

from benchmarks import gpu
from compressae_jax.model import weights

SIZE = gpu.SIZES["small"]


def test_the_dense_side_finds_the_best_rows_of_all_chunks():
    rng = np.random.default_rng(0)
    rows, queries = (rng.integers(-8, 9, (n, 16)).astype(np.float32) for n in (333, 3))
    pieces = tuple(jnp.asarray(rows[start : start + 100], jnp.bfloat16) for start in range(0, 333, 100))
    scores, found = gpu.nearest(pieces, jnp.asarray(queries, jnp.bfloat16), gpu.DEPTH)
    exact = queries @ rows.T
    assert_array_equal(np.asarray(scores), -np.sort(-exact, axis=1)[:, : gpu.DEPTH])
    assert_array_equal(np.take_along_axis(exact, np.asarray(found), axis=1), np.asarray(scores))


def test_backends_agree_with_the_oracle():
    assert max(gpu.agreement(SIZE).values()) < 1e-4
    found, gradient = gpu.precision(SIZE).values()
    assert found.keys() == {"encode", *gpu.PRECISIONS} and min(found.values()) > 0.99
    assert gradient.keys() == set(gpu.PRECISIONS) and gradient["float32"] == 0


def test_a_check_that_fails_hides_no_other():
    def broken():
        raise ValueError("no such thing")

    noted = {}
    gpu.each({"one": broken, "two": lambda: 2, "three": broken}, noted.update)
    assert noted == {"one": "failed: ValueError: no such thing", "two": 2, "three": noted["one"]}


def test_a_backend_that_fails_hides_no_other(monkeypatch):
    monkeypatch.setattr(gpu.bcoo, "search", lambda *given: given[4])
    found = gpu.agreement(SIZE)
    assert found.pop("bcoo").startswith("failed: IndexError") and max(found.values()) < 1e-4


def test_tests_tell_what_failed_and_what_needs_more_devices(tmp_path):
    shutil.copy("tests/conftest.py", tmp_path)
    many, one = "@pytest.mark.devices(2**20)", "@pytest.mark.cpu"
    tests = [one, "def test_a(): pass", "def test_b(): assert 1 == 2", many, "def test_c(): pass"]
    (tmp_path / "test_some.py").write_text("\n".join(["import pytest", *tests]))
    found = gpu.tests(SIZE._replace(tests=(f"{tmp_path}/test_some.py",)))
    (said,) = found["failures"].values()
    assert "assert 1 == 2" in said
    assert (found["passed"], found["failed"], found["skipped"], found["cut off"]) == (1, 1, 1, False)


def test_a_file_that_cannot_be_read_is_told(tmp_path):
    (tmp_path / "test_some.py").write_text("import nothing_of_this_name")
    assert "nothing_of_this_name" in str(gpu.tests(SIZE._replace(tests=(f"{tmp_path}/test_some.py",)))["failures"])
    assert all(Path(name).exists() for name in gpu.TESTS)  # xdist runs nothing where one is missing


def test_what_a_child_said_is_kept_when_its_time_is_over():
    ended = gpu.child([sys.executable, "-c", "import time; print('some', flush=True); time.sleep(60)"], {}, 2)
    assert ended.code is None and ended.said == "some\n"


def test_a_child_that_fails_says_so():
    ended = gpu.child([sys.executable, "-c", "print('some', flush=True); raise SystemExit(3)"], {}, 30)
    with pytest.raises(RuntimeError, match=r"exit code 3 after \d+ s: some"):
        ended.check(0)
    assert ended.check(0, 3) is None


def test_answers_by_one_model_are_compared(tmp_path):
    weights.save(gpu.drawn(SIZE._replace(d=128)), tmp_path / "model")
    (tmp_path / "config.json").write_text('{"data": {"source": "shop"}}')
    gpu.answers(str(tmp_path), str(tmp_path / "answers.npz"))
    one = dict(np.load(tmp_path / "answers.npz"))
    assert min(gpu.differences(one, one).values()) > 1 - 1e-5
    other = {**one, "columns": np.vstack([one["columns"][:1] + 1, one["columns"][1:]]), "found": one["found"][::-1]}
    found = gpu.differences(one, other)
    assert found["rows of the same columns"] == 1 - 1 / 2048 and found["share of the same 10 nearest"] < 0.5


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


def test_the_training_that_compiles_ends_with_its_first_validation(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(gpu, "cosine", lambda held: lambda weights: asked.append(len(asked)) or {"cosine": 0.5})
    rows = np.random.default_rng(0).standard_normal((300, 16)).astype(np.float32)
    found = gpu.trained(SIZE._replace(d=16, h=32, k=2, batch=64), rows, "float32", 20)
    assert found["steps"] == 20 and [line["step"] for line in found["validation"]] == list(range(2, 21, 2))
    assert len(asked) == 1 + 10


def test_kernels_are_checked_and_a_wrong_one_is_told(monkeypatch):
    for check in gpu.KERNELS.values():
        assert check(SIZE)["right"]
    first = gpu.topk.greatest
    monkeypatch.setattr(gpu.topk, "greatest", lambda a, k, rising=False: first(-a, k, rising))
    assert gpu.selects(SIZE) == {"right": False, "largest": True, "greatest": False}


def test_other_parts_do_without_kernels_of_theirs_that_are_not_right(tmp_path):
    def without(**report):
        (tmp_path / "kernels.json").write_text(json.dumps(report))
        return {name for name in gpu.PARTS if not gpu.may_have_kernels(name, tmp_path)}

    assert all(gpu.may_have_kernels(name, tmp_path) for name in gpu.PARTS)  # where they were not checked
    right = {name: {"right": True} for name in gpu.KERNELS}
    assert not without(usable=True, **right) and not without(usable=False)
    first, *_, last = gpu.KERNELS
    assert without(usable=True, **{**right, first: {"right": False}}) == set(gpu.PARTS) - {"kernels"}
    assert without(usable=True, **{**right, last: {"right": False}}) == {"search", "works"}
    assert without(usable=True, **{**right, last: "failed: RuntimeError: exit code -11"}) == {"search", "works"}
    assert without(usable=True, **dict(list(right.items())[:-1])) == {"search", "works"}


def test_all_parts_have_eight_minutes():
    assert sum(part.seconds for part in gpu.PARTS.values()) <= 480
    assert gpu.SIZES["full"].child_seconds < gpu.PARTS["works"].seconds
