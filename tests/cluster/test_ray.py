"""The Ray examples on a real cluster of one machine: workers and actors are killed, and no bit comes out otherwise."""

import os
import runpy
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import uuid

import pytest
from cluster import made, workers

from compressae_jax.codes.spaces import SPACES
from compressae_jax.notation import InputError
from compressae_jax.retrieval import found

ray = pytest.importorskip("ray")
PARTS, SECONDS = 4, 300
# No token either: where one lies in the home folder, clusters want it and some clients do not send it.
QUIET = {"RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0", "RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "disabled"}


@pytest.fixture(scope="module")
def cluster(environment):
    """Variables that lead the examples to a cluster, which ends with the tests."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    scratch, mark = tempfile.mkdtemp(prefix="ray-"), uuid.uuid4().hex  # Ray's sockets need short names
    own = {**environment, workers.MARK: mark, **QUIET}
    flags = ["--num-cpus=4", "--num-gpus=0", "--include-dashboard=false", "--object-store-memory=200000000"]
    command = ["ray", "start", "--head", "--block", f"--port={port}", f"--temp-dir={scratch}", *flags]
    head = subprocess.Popen(command, env=own, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    own["RAY_ADDRESS"] = f"127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + 120
        while (asked := subprocess.run(["ray", "status"], env=own, capture_output=True, check=False)).returncode:
            if head.poll() is not None or time.monotonic() > deadline:
                pytest.fail(f"no cluster: {asked.stderr[-2000:]}")
            time.sleep(1)
        yield own
    finally:
        head.terminate()
        head.communicate(timeout=60)
        for number in workers.titled("ray", mark):  # what it left
            os.kill(number, signal.SIGKILL)
        shutil.rmtree(scratch, ignore_errors=True)


@pytest.fixture(scope="module")
def parts(home, cluster, tmp_path_factory):
    """Where `ray_compress.py` put parts and codes; one of its workers was killed."""
    out = tmp_path_factory.mktemp("ray") / "codes"
    flags = [f"--model={home.path}/model", f"--source={home.path}/vectors", "--ids_column=id", f"--out={out}"]
    command = [sys.executable, str(made.EXAMPLES / "ray_compress.py"), *flags, f"--parts={PARTS}"]
    log = out.with_name("log")
    with log.open("w") as printed:
        job = subprocess.Popen(command, env=cluster, stdout=printed, stderr=subprocess.STDOUT)
        killed, deadline = None, time.monotonic() + SECONDS
        while job.poll() is None and time.monotonic() < deadline:
            killed = killed or workers.kill_at_work("ray::compress", cluster[workers.MARK])
            time.sleep(0.02)
    assert job.wait(5) == 0, log.read_text()[-5000:]
    assert killed, "no worker was at work"
    return out


def test_a_killed_worker_changes_no_byte(home, parts):
    made.check_same_bytes(parts, home.path / "codes")


@pytest.mark.parametrize("space", SPACES)
def test_actors_find_what_one_index_finds(home, cluster, parts, tmp_path, space):
    flags = [f"--shards={parts}.parts/*", f"--model={home.path}/model", f"--queries={home.path}/queries.npy"]
    flags += [f"--space={space}", f"--top={made.TOP}", "--batch=16", "--cpus=0.25", f"--out={tmp_path}/found.npz"]
    command = [sys.executable, str(made.EXAMPLES / "ray_search.py"), *flags]
    done = subprocess.run(command, env=cluster, capture_output=True, text=True, timeout=SECONDS, check=False)
    assert done.returncode == 0, done.stderr[-5000:]
    made.check_same_found(found.read(tmp_path / "found.npz").found, home.found(space))


@pytest.fixture(scope="module")
def example(cluster):
    """The names of `ray_search.py`, with this process as its driver."""
    os.environ |= QUIET
    ray.init(cluster["RAY_ADDRESS"], log_to_driver=False)
    yield runpy.run_path(str(made.EXAMPLES / "ray_search.py"), run_name="ray_search")
    ray.shutdown()


def test_a_killed_actor_comes_back(home, parts, example):
    folders = [f"{parts}.parts/{i}" for i in (4, 1, 2, 3)]  # in any order
    front = example["Front"](folders, f"{home.path}/model", "reconstructed", cpus=0.25)
    wanted = home.found("reconstructed")

    def process():
        return ray.get(front.actors[2].__ray_call__.remote(lambda _: os.getpid()))

    for _ in range(3):
        before = process()
        os.kill(before, signal.SIGKILL)
        made.check_same_found(front.search(home.vectors[: made.Q], made.TOP), wanted)
        assert process() != before


def test_shards_that_do_not_make_a_whole(home, parts, example):
    with pytest.raises(InputError, match="of 4 parts, 3, 4 are missing"):
        example["Front"]([f"{parts}.parts/{i}" for i in (1, 2)], f"{home.path}/model", cpus=0.25)


def test_more_actors_than_cores_are_not_waited_for(home, parts, example):
    folders = [f"{parts}.parts/{i}" for i in range(1, PARTS + 1)]
    with pytest.raises(TimeoutError, match="they need 12 CPUs, the cluster has 4"):
        example["Front"](folders, f"{home.path}/model", cpus=3.0, patience=5)
