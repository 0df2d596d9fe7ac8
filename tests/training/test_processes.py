"""Real processes: killed at any moment, asked to stop, and training together."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest
from numpy.testing import assert_allclose
from training import tiny_run

from compressae_jax.base import files
from compressae_jax.model import weights as model_weights
from compressae_jax.notation import InputError
from compressae_jax.training import processes, records

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


def spawn_pair(started, folder, other=None, **fields):
    with socket.socket() as free:
        free.bind(("localhost", 0))
        coordinator = f"localhost:{free.getsockname()[1]}"
    folders = (folder, other or folder)
    pair = [tiny_run.spawn(folders[i], coordinator, processes=2, process=i, **fields) for i in range(2)]
    started.extend(pair)
    return pair


def test_a_signal_ends_the_launch_script_cleanly(tmp_path, started):
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
    assert process.returncode == 143, err
    assert "Traceback" not in err
    (last,) = re.findall(r"stopped at step (\d+) of 100000, .*; the same command continues", err)
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == [last]
    assert [line["step"] for line in records.read_metrics(tmp_path)] == list(range(1, int(last) + 1))


def test_a_signal_to_one_of_two_processes_stops_both_at_one_step(tmp_path, started):
    pair = spawn_pair(started, tmp_path, steps=1_000_000, data=2, model=1)
    wait_for_lines(pair[0], tmp_path, 3)
    pair[1].send_signal(signal.SIGINT)
    said = [finish(process) for process in pair]
    assert said[0] == said[1]
    (last,) = re.findall(r"stopped at step (\d+) of", said[0])
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == [last]


def test_processes_with_folders_of_their_own_say_so_at_once(tmp_path, started):
    pair = spawn_pair(started, tmp_path / "one", other=tmp_path / "two", data=2)
    said = [finish(process) for process in pair]
    assert said[0].replace("/one", "/two") == said[1]
    assert re.search(r"workdir .* of process 1 \(host .*\) is not that of process 0 .* one folder that all", said[0])
    assert not list(tmp_path.rglob("*.json")) and not list(tmp_path.rglob(".compressae*"))


def test_a_busy_folder_is_told_to_all_processes(tmp_path, started):
    with files.locked(tmp_path / "run"):
        pair = spawn_pair(started, tmp_path / "run", data=2)
        said = [finish(process) for process in pair]
    assert f"is being written by process {os.getpid()}" in said[0]
    assert said[1].endswith(said[0])


def test_processes_that_do_not_come_are_waited_for_in_words_and_not_for_ever(tmp_path, started):
    process = tiny_run.spawn(tmp_path, "localhost:1", processes=2, process=1, patience=3)
    started.append(process)
    _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode != 0
    assert "process 1 of 2 waits for the others at localhost:1, 3 seconds at most" in err


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ((None, 2, None), "num_processes and process_id need --coordinator"),
        (("here", 2, 0), "host:port of process 0"),
        (("here:12", None, 0), "needs --num_processes"),
        (("here:12", 2, 2), "process_id must be from 0"),
    ],
)
def test_flags_that_do_not_go_together(given, message):
    with pytest.raises(InputError, match=message):
        processes.start(*given)


@pytest.mark.parametrize("name", processes.STARTED)
def test_a_forgotten_coordinator_is_seen_in_a_launcher_s_environment(name, monkeypatch):
    monkeypatch.setenv(name, "2")
    with pytest.raises(InputError, match=f"several processes \\({name}=2\\), and each would train alone"):
        processes.start()
    processes.start(processes.ALONE)
    monkeypatch.setenv(name, "1")
    processes.start()


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
    if data == 2:  # what one finds damaged, neither reads
        shutil.rmtree(tmp_path / "model")
        (tmp_path / "checkpoints" / "6" / "sums.json").unlink()
        assert [finish(process) for process in spawn_pair(started, tmp_path, **fields)] == prints
        assert (tmp_path / "checkpoints" / "damaged-6").is_dir()


def test_landmarks_are_moved_to_the_same_place_on_two_processes(tmp_path, started):
    fields = {"init_encoder": "landmarks", "activation": "relu2_topk", "neighbour_steps": 2, "steps": 0}
    alone = tiny_run.train(**fields).fingerprint
    drawn = tiny_run.train(**{**fields, "neighbour_steps": 0}).fingerprint
    assert [finish(process) for process in spawn_pair(started, tmp_path, **fields, data=2)] == [alone] * 2
    assert alone != drawn


def test_without_a_workdir_nothing_of_orbax_is_imported():
    code = (
        "import sys; sys.path.insert(0, 'tests'); from training import tiny_run; tiny_run.train(steps=3); "
        "print([name for name in ('orbax', 'tensorboardX', 'pyarrow') if name in sys.modules])"
    )
    process = subprocess.run(
        [sys.executable, "-c", code], cwd=tiny_run.ROOT, capture_output=True, text=True, check=True
    )
    assert process.stdout.strip() == "[]"
