"""The cache of compiled loops: its name follows every kernel module, and no writable place is no error."""

import ast
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


PURSUIT = """
import hashlib
import numpy as np
from compressae_jax.model import pursuit_host
rng = np.random.default_rng(0)
atoms, rows = (rng.normal(size=(n, 48)).astype("f4") for n in (256, 32))
found = pursuit_host.pursue(rows @ atoms.T / 48, atoms @ atoms.T / 48, 9)
print(hashlib.md5(b"".join(some.tobytes() for some in found)).hexdigest())
"""


def test_who_compiles_a_loop_gets_the_bits_of_who_finds_it_compiled(tmp_path):
    env = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
    first, second = (
        subprocess.run([sys.executable, "-c", PURSUIT], env=env, capture_output=True, text=True, check=True).stdout
        for _ in range(2)
    )
    assert first == second


# Their sums are emitted in one order, so a copy of them has the same bits.
ORDERED = {"scan_one", "scan_block", "scan_in_order"}


def test_loops_whose_sums_may_be_reordered_are_parts_of_those_that_call_them():
    seen = set()
    for path in compiled.PACKAGE.rglob("*.py"):
        functions = [node for node in ast.parse(path.read_text()).body if isinstance(node, ast.FunctionDef)]
        loops = {node.name: ast.unparse(node.decorator_list[0]) for node in functions if node.decorator_list}
        loops = {name: how for name, how in loops.items() if how.startswith(("compiled", "inlined"))}
        assert not loops or path.name.endswith("kernels.py"), f"{path}: its name is not in the cache's"
        for node in functions:
            if node.name in loops:
                names = {ast.unparse(call.func) for call in ast.walk(node) if isinstance(call, ast.Call)}
                seen |= {name for name in names & loops.keys() if "fastmath" in loops[name]}
                wrong = {name for name in names & loops.keys() if loops[name].startswith("compiled(fastmath")}
                assert wrong <= ORDERED, f"{path}: {node.name} calls {wrong}, which must be `inlined`"
    assert len(seen) > len(ORDERED)
