"""Real processes: killed at any moment, asked to stop, and training together."""

import os
import re
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest
from numpy.testing import assert_allclose
from training import tiny_run

from compressae_jax.model import weights as model_weights
from compressae_jax.training import records

PATIENCE = 150  # seconds, for a machine with much else to do
RUN = {"steps": 60, "checkpoint_every": 4, "data": 1}


@pytest.fixture(scope="module")
def wanted():
    return tiny_run.train(**RUN)


@pytest.fixture
def started():
    """Processes that do not outlive their test."""
    processes = []
    yield processes
    for process in processes:
        if process.poll() is None:
            process.kill()
            process.communicate()


def lines_in(folder):
    path = folder / "metrics.jsonl"
    return path.read_bytes().count(b"\n") if path.exists() else 0


def wait_for_lines(process, folder, count):
    deadline = time.monotonic() + PATIENCE
    while lines_in(folder) < count:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline, f"{lines_in(folder)} lines after {PATIENCE} seconds"
        time.sleep(0.001)


def finish(process):
    out, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, err
    return out.splitlines()[-1]  # gloo prints too


def test_killed_at_random_moments_it_ends_bit_identical(tmp_path, wanted, started):
    rng = np.random.default_rng(11)
    done = 0
    for _ in range(3):
        process = tiny_run.spawn(tmp_path, **RUN)
        started.append(process)
        wait_for_lines(process, tmp_path, count=min(done + int(rng.integers(3, 14)), 55))
        time.sleep(rng.random() * 0.02)  # not always right behind a line
        process.kill()
        process.communicate()
        assert process.returncode == -signal.SIGKILL
        assert not (tmp_path / "model").exists()
        done = max([0, *(int(path.name) for path in (tmp_path / "checkpoints").glob("*") if path.name.isdigit())])
    assert 0 < done < 60
    before = records.read_metrics(tmp_path)[:done]
    assert finish(tiny_run.spawn(tmp_path, **RUN)) == wanted.fingerprint
    assert records.read_metrics(tmp_path)[:done] == before  # it went on from there, and did not begin anew
    assert model_weights.load(tmp_path / "model").fingerprint == wanted.fingerprint
    assert [line["step"] for line in records.read_metrics(tmp_path)] == list(range(1, 61))
    names = {path.name for path in (tmp_path / "checkpoints").iterdir()}
    assert names == {"56", "60"}  # nothing half written or set aside stays


def spawn_pair(started, folder, **fields):
    with socket.socket() as free:
        free.bind(("localhost", 0))
        coordinator = f"localhost:{free.getsockname()[1]}"
    pair = [tiny_run.spawn(folder, coordinator, processes=2, process=i, **fields) for i in range(2)]
    started.extend(pair)
    return pair


def test_sigterm_ends_the_launch_script_cleanly(tmp_path, started):
    config = ["--config=configs/tiny.py", "--config.train.steps=100000", "--config.train.log_every=1"]
    config += ["--config.train.checkpoint_every=0", "--config.train.validate_every=0"]
    process = subprocess.Popen(
        [sys.executable, "launch/train.py", *config, f"--workdir={tmp_path}"],
        cwd=tiny_run.ROOT,
        env={**os.environ, "PYTHONPATH": str(tiny_run.ROOT), "XLA_FLAGS": ""},
        stderr=subprocess.PIPE,
        text=True,
    )
    started.append(process)
    wait_for_lines(process, tmp_path, 3)
    process.terminate()
    _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, err
    assert "Traceback" not in err
    (last,) = re.findall(r"stopped at step (\d+); the same command continues", err)
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == [last]
    assert [line["step"] for line in records.read_metrics(tmp_path)] == list(range(1, int(last) + 1))


def test_sigterm_to_one_of_two_processes_stops_both_at_one_step(tmp_path, started):
    pair = spawn_pair(started, tmp_path, steps=1_000_000, data=2, model=1)
    wait_for_lines(pair[0], tmp_path, 3)
    pair[1].terminate()
    said = [finish(process) for process in pair]
    assert said[0] == said[1]
    (last,) = re.findall(r"stopped at step (\d+);", said[0])
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == [last]


@pytest.mark.parametrize("data", [2, 1])
def test_two_processes_are_one(tmp_path, started, data):
    """Over the data axis, where each reads its rows, and over the latents, where each reads all."""
    fields = {"steps": 6, "checkpoint_every": 4, "microbatch": 16, "data": data, "model": 2 // data}
    alone = tiny_run.train(**{**fields, "data": 1, "model": 1})
    pair = spawn_pair(started, tmp_path, **fields)
    prints = [finish(process) for process in pair]
    together = model_weights.load(tmp_path / "model")
    assert prints == [together.fingerprint] * 2
    for name, array in alone.params.items():
        assert_allclose(together.params[name], array, atol=1e-5)
    assert [line["step"] for line in records.read_metrics(tmp_path)] == list(range(1, 7))


def test_without_a_workdir_nothing_of_orbax_is_imported():
    code = (
        "import sys; sys.path.insert(0, 'tests'); from training import tiny_run; tiny_run.train(steps=3); "
        "print([name for name in ('orbax', 'tensorboardX', 'pyarrow') if name in sys.modules])"
    )
    process = subprocess.run(
        [sys.executable, "-c", code], cwd=tiny_run.ROOT, capture_output=True, text=True, check=True
    )
    assert process.stdout.strip() == "[]"
