"""The cache of compiled loops: its name follows every kernel module, and no writable place is no error."""

import importlib.util
import os
import shutil
import subprocess
import sys

from compressae_jax.base import compiled

USE = """
import numpy as np
from compressae_jax.codes import on_host
print(on_host.unit_rows(np.array([[0, -3.]], "f4")).tolist())
"""


def run(site, **environment):
    env = {name: value for name, value in os.environ.items() if name != "NUMBA_CACHE_DIR"}
    env |= {"PYTHONPATH": str(site), "PYTHONDONTWRITEBYTECODE": "1", **environment}
    return subprocess.run([sys.executable, "-c", USE], env=env, cwd=site, capture_output=True, text=True, check=True)


def caches(site):
    return sorted(path.name for path in site.rglob("kernels-*"))


def copy(tmp_path):
    shutil.copytree(
        compiled.PACKAGE, tmp_path / "compressae_jax", ignore=shutil.ignore_patterns("__pycache__", "shipped")
    )
    return tmp_path


def test_a_change_of_a_loop_in_another_file_makes_a_new_cache(tmp_path):
    site = copy(tmp_path)
    assert run(site).stdout == "[[0.0, -1.0]]\n"
    before = caches(site)
    assert len(before) == 1
    with (site / "compressae_jax/retrieval/backends/vector_kernels.py").open("a") as file:
        file.write("\n# another loop\n")
    assert run(site).stdout == "[[0.0, -1.0]]\n"
    assert len(caches(site)) == 2


def test_without_a_writable_place_loops_are_compiled_each_time_and_it_is_said_once(tmp_path):
    site = copy(tmp_path)
    (site / "compressae_jax/__pycache__").write_text("a file here stands for a folder that root cannot write either")
    result = run(site, HOME="/dev/null", XDG_CACHE_HOME="/dev/null/cache")
    assert result.stdout == "[[0.0, -1.0]]\n" and not caches(site)
    assert result.stderr.count("no place to keep compiled loops") == 1


def test_the_user_s_own_place_is_taken(tmp_path):
    site = copy(tmp_path)
    run(site, NUMBA_CACHE_DIR=str(tmp_path / "mine"))
    assert caches(tmp_path / "mine") == caches(site) and len(caches(site)) == 1


def test_a_package_behind_a_link_has_the_same_cache(tmp_path):
    (tmp_path / "link").symlink_to(compiled.PACKAGE)
    path = tmp_path / "link/base/compiled.py"
    spec = importlib.util.spec_from_file_location("linked", path)
    linked = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(linked)
    assert linked.version() == compiled.version()
