"""By plain processes and files: the lines of docs/CLUSTERS.md as they stand there, the Slurm script, spawned shards."""

import re
import shutil
import subprocess
import sys

import pytest
from cluster import made

from compressae_jax.codes.spaces import SPACES
from compressae_jax.retrieval import found

SECONDS = 300
SBATCH = """#!/bin/bash
# A stand-in: runs what Slurm would queue, at once and in order.
set -euo pipefail
export SLURM_JOB_ID=7 SLURM_CPUS_PER_TASK=1
array=
while [[ $1 == --* ]]; do
    case $1 in
    --array=*) array=${1#--array=} ;;
    --dependency=*) [[ $1 == --dependency=afterok:7 ]] ;;
    esac
    shift
done
cp "$1" "$TMPDIR/slurm_script" && shift  # Slurm runs a copy
if [ -n "$array" ]; then
    for i in $(seq "${array%-*}" "${array#*-}"); do
        SLURM_ARRAY_TASK_ID=$i bash "$TMPDIR/slurm_script" "$@" >&2
    done
    echo 7
else
    bash "$TMPDIR/slurm_script" "$@"
fi
"""


def blocks():
    """The shell blocks of the documentation that are marked to be run."""
    return re.findall(r"<!-- run -->\n```bash\n(.*?)```", (made.ROOT / "docs" / "CLUSTERS.md").read_text(), re.DOTALL)


def shell(lines, cwd, environment):
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", lines], cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-5000:]


@pytest.fixture(scope="module")
def documented(home, environment, tmp_path_factory):
    """A folder in which the documented lines were run."""
    folder = tmp_path_factory.mktemp("documented")
    for name in ("model", "vectors", "queries.npy"):
        (folder / name).symlink_to(home.path / name)
    compress, search = blocks()
    shell(compress, folder, environment)
    shell(search, folder, environment)
    return folder


def test_parts_by_processes_are_the_bytes_of_one(home, documented):
    made.check_same_bytes(documented / "codes", home.path / "codes")


def test_search_by_files_finds_what_one_index_finds(home, documented):
    made.check_same_found(found.read(documented / "found.npz").found, home.found("dense_query"))


def test_the_same_lines_again_make_only_what_is_missing(home, documented, environment):
    kept = (documented / "parts" / "2" / "values.npy").stat().st_ino
    shutil.rmtree(documented / "parts" / "3")
    shutil.rmtree(documented / "codes")
    shell(blocks()[0], documented, environment)
    assert (documented / "parts" / "2" / "values.npy").stat().st_ino == kept
    made.check_same_bytes(documented / "codes", home.path / "codes")


def test_the_slurm_script_in_plain_bash(home, environment, tmp_path):
    (tmp_path / "sbatch").write_text(SBATCH)
    (tmp_path / "sbatch").chmod(0o755)
    own = {**environment, "PATH": f"{tmp_path}:{environment['PATH']}", "TMPDIR": str(tmp_path)}
    flags = f"--model={home.path}/model --source={home.path}/vectors --ids_column=id"
    shell(f"bash {made.EXAMPLES}/slurm_compress.sh 3 {tmp_path}/codes {flags}", made.ROOT, own)
    made.check_same_bytes(tmp_path / "codes", home.path / "codes")
    assert len(list((tmp_path / "codes.parts").iterdir())) == 3


@pytest.mark.parametrize(("code", "restarts", "again"), [(137, 0, True), (137, 3, False), (2, 0, False)])
def test_a_killed_part_goes_back_to_the_queue(environment, tmp_path, code, restarts, again):
    for name, line in (("compressae", f"exit {code}"), ("scontrol", f"echo $@ > {tmp_path}/asked")):
        (tmp_path / name).write_text(f"#!/bin/bash\n{line}\n")
        (tmp_path / name).chmod(0o755)
    slurm = {"SLURM_JOB_ID": "9", "SLURM_ARRAY_TASK_ID": "2", "SLURM_RESTART_COUNT": str(restarts)}
    own = {**environment, **slurm, "PATH": f"{tmp_path}:{environment['PATH']}"}
    command = ["bash", str(made.EXAMPLES / "slurm_compress.sh"), "3", f"{tmp_path}/codes", "--model=m", "--source=s"]
    assert subprocess.run(command, env=own, check=False).returncode == code
    assert (tmp_path / "asked").exists() == again
    assert not again or (tmp_path / "asked").read_text() == "requeue 9\n"


@pytest.mark.parametrize("space", SPACES)
def test_spawned_shards_find_what_one_index_finds(home, documented, environment, tmp_path, space):
    flags = [f"--shards={documented}/parts/[1-4]", f"--model={home.path}/model", f"--queries={home.path}/queries.npy"]
    command = [sys.executable, str(made.EXAMPLES / "process_search.py"), *flags, f"--space={space}", "--batch=16"]
    subprocess.run([*command, f"--out={tmp_path}/found.npz"], env=environment, check=True, timeout=SECONDS)
    made.check_same_found(found.read(tmp_path / "found.npz").found, home.found(space))


KILLED = """
import os, signal, sys
import numpy as np
import process_search
from compressae_jax.retrieval import found

if __name__ == "__main__":
    parts, model, queries, out = sys.argv[1:]
    front = process_search.Front([f"{parts}/{i}" for i in (3, 1, 2, 4)], model)
    front.search(np.load(queries), 10)
    (shard,) = (one for one in front.shards if one[0] == f"{parts}/2")
    (number,) = front.pools[shard]._processes
    os.kill(number, signal.SIGKILL)
    found.write(out, front.search(np.load(queries), 10))
    assert number not in front.pools[shard]._processes
"""


def test_a_killed_process_comes_back(home, documented, environment, tmp_path):
    (tmp_path / "killed.py").write_text(KILLED)
    own = {**environment, "PYTHONPATH": str(made.EXAMPLES)}
    arguments = [f"{documented}/parts", f"{home.path}/model", f"{home.path}/queries.npy", f"{tmp_path}/found.npz"]
    subprocess.run([sys.executable, f"{tmp_path}/killed.py", *arguments], env=own, check=True, timeout=SECONDS)
    made.check_same_found(found.read(tmp_path / "found.npz").found, home.found("dense_query"))
