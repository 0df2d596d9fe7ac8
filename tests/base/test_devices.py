"""Whoever searches on a CPU does not wait for JAX, and gets the answers that JAX's user gets."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from compression.test_to_folder import make_vectors, make_weights

from compressae_jax import compression
from compressae_jax.base import devices
from compressae_jax.codes.spaces import SPACES
from compressae_jax.retrieval.index import Index

ROOT = Path(__file__).resolve().parent.parent.parent
PROGRAM = """
import sys
import numpy as np
import compressae_jax as cs
index, queries = cs.load_index("index"), np.load("queries.npy")
index.add(queries, ids=["q0", "q1", "q2"])
found = {}
for space in cs.SPACES:
    found[space] = index.in_space(space).search(queries, 5).scores
    cs.Expander(index.weights, space).expand(queries)
index.save("grown")
cs.load("grown/model").compress(queries)
index.search(index.rows(["q0"]), 5, exclude=[["q0"]])
np.savez("found.npz", **found)
print([name for name in sys.modules if name.partition(".")[0] in ("jax", "jaxlib", "flax", "optax")])
"""


def test_a_search_on_a_cpu_imports_no_jax(tmp_path):
    weights, queries = make_weights(), make_vectors(3, seed=2)
    index = Index(compression.encode(weights, make_vectors(50)), weights, ids=[f"i{i}" for i in range(50)])
    index.save(tmp_path / "index")
    np.save(tmp_path / "queries.npy", queries)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.returncode) == ("[]\n", 0), done.stderr
    index.add(queries, ids=["q0", "q1", "q2"])
    found = np.load(tmp_path / "found.npz")
    for space in SPACES:
        np.testing.assert_array_equal(found[space], index.in_space(space).search(queries, 5).scores)


@pytest.mark.parametrize("fault", ["plugin", "module", None])
def test_what_could_bring_an_accelerator_is_asked(fault, monkeypatch):
    monkeypatch.delenv("JAX_PLATFORMS", raising=False)
    monkeypatch.setattr(devices.importlib.metadata, "entry_points", lambda group: ["x"] if fault == "plugin" else [])
    there = {"libtpu"} if fault == "module" else set()
    monkeypatch.setattr(devices.importlib.util, "find_spec", lambda name: name if name in there else None)
    assert devices._only_cpus.__wrapped__() == (fault is None)
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    assert devices._only_cpus.__wrapped__()


def test_jax_has_the_word_once_it_is_there(monkeypatch):
    import jax

    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert not devices.on_cpu()
