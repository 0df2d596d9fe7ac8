"""The search of a run folder: queries that were held out, among the rows that were not."""

import functools

import numpy as np
import pytest
from absl import flags as flag_module
from evaluation import small
from jobs.small_run import experiment, trained
from numpy.testing import assert_array_equal

from compressae_jax import compression, data
from compressae_jax.jobs import search as jobs
from compressae_jax.jobs.commands import search as command
from compressae_jax.jobs.compress import compress
from compressae_jax.notation import InputError
from compressae_jax.retrieval.index import Index


@pytest.fixture
def run(tmp_path):
    """The folder, config, vectors and model of a run whose codes are there; one row that is no query is zero."""
    vectors, weights = small.vectors(120), small.weights()
    vectors[next(row for row in range(120) if row not in data.Split(120, 1000, 1000).queries)] = 0
    np.save(tmp_path / "vectors.npy", vectors)
    config = experiment(str(tmp_path / "vectors.npy"))
    config.data.zero_rows = "keep"
    return tmp_path, config, vectors, weights


@pytest.mark.parametrize("policy", ["keep", "drop"])
def test_no_query_is_searched(run, policy):
    workdir, config, vectors, weights = run
    config.data.zero_rows = policy
    trained(workdir, config, weights)
    compress(config, workdir, weights, progress=False)

    assert jobs.search(config, workdir) == 12

    queries = data.Split(120, 1000, 1000).queries
    there = np.arange(120) if policy == "keep" else np.flatnonzero(vectors.any(axis=1))  # rows of codes in the source
    found = np.load(workdir / "found.npz")
    assert found["rows"].shape == (12, 10) and not np.isin(there[found["rows"]], queries).any()
    others = np.setdiff1d(there, queries)
    _, rows = Index(compression.encode(weights, vectors[others]), weights).search(vectors[queries])
    assert_array_equal(there[found["rows"]], others[rows])


def test_it_is_not_done_again_unless_something_changed(run, monkeypatch):
    workdir, config, _, weights = run
    trained(workdir, config, weights)
    compress(config, workdir, weights, progress=False)
    jobs.search(config, workdir)
    before = (workdir / "found.npz").stat().st_ino
    assert jobs.search(config, workdir) == 12
    assert (workdir / "found.npz").stat().st_ino == before
    (workdir / "found.npz").write_bytes(b"something else")
    jobs.search(config, workdir)
    assert len(np.load(workdir / "found.npz")["rows"]) == 12


def test_codes_of_another_model(run):
    workdir, config, _, weights = run
    trained(workdir, config, weights)
    compress(config, workdir, small.weights(seed=5), progress=False)
    with pytest.raises(InputError, match=r"made by the model \w+, not by"):
        jobs.search(config, workdir)


def test_nothing_held_out(run):
    workdir, config, _, weights = run
    config.data.queries = 0
    trained(workdir, config, weights)
    compress(config, workdir, weights, progress=False)
    with pytest.raises(InputError, match="a search needs rows held out as queries"):
        jobs.search(config, workdir)


def test_the_command_probes_cells(monkeypatch, tmp_path):
    vectors, weights = small.vectors(120), small.weights()
    index = Index(compression.encode(weights, vectors), weights).with_cells(10, progress=False)
    index.save(tmp_path / "index")
    np.save(tmp_path / "queries.npy", small.vectors(30, seed=7))
    rows = {}
    for probes in (None, 1, 10):
        given = flag_module.FlagValues()
        with monkeypatch.context() as patched:
            patched.setattr(flag_module, "FLAGS", given)
            for kind in ("string", "integer", "float", "bool", "enum"):
                define = getattr(flag_module, f"DEFINE_{kind}")
                patched.setattr(flag_module, f"DEFINE_{kind}", functools.partial(define, flag_values=given))
            command.define()
        told = [
            f"--index={tmp_path}/index",
            f"--queries={tmp_path}/queries.npy",
            f"--out={tmp_path}/found.npz",
            "--batch=7",
        ]
        given(["search", *told, *([] if probes is None else [f"--probes={probes}"])])
        command.main(given)
        rows[probes] = np.load(tmp_path / "found.npz")["rows"]
        assert_array_equal(rows[probes], index.search(small.vectors(30, seed=7), probes=probes).rows)
    assert_array_equal(rows[10], rows[None])
    assert (rows[1] != rows[None]).any()
