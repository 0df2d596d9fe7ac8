"""Cells are measured once and kept, whole or not at all; models are trained once; rows are split by the protocol."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from compressae_jax.experiments import bench
from compressae_jax.experiments.bench import Bench
from compressae_jax.experiments.cells import Outcome, Results, digest, product
from compressae_jax.notation import FolderError, InputError


def outcome(value=0.25):
    return Outcome({"recall@100": np.full(5, value)}, {"dead": np.float32(0.5), "ks": (1, 2)})


def test_a_cell_is_measured_once(tmp_path):
    spec, asked = {"dataset": "shop", "k": 3}, []

    def measure(here, spec):
        asked.append(spec)
        return outcome(1 / 3)

    here = Bench(tmp_path, progress=False)
    first, second = (here.measured(spec, measure) for _ in range(2))
    assert asked == [spec] and first.told == second.told == {"dead": 0.5, "ks": [1, 2]}
    assert_array_equal(first.scores["recall@100"], second.scores["recall@100"])
    assert here.kept({**spec, "k": 4}) is None and here.kept({"dataset": "scifact", "k": 3}) is None


def test_a_cell_that_was_cut_short_is_measured_again(tmp_path):
    here, spec = Bench(tmp_path, progress=False), {"dataset": "shop"}

    def fails(here, spec):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        here.measured(spec, fails)
    assert here.kept(spec) is None
    here.measured(spec, lambda here, spec: outcome())
    for ending in ("json", "npz"):
        (path,) = (tmp_path / "cells").glob(f"*.{ending}")
        whole = path.read_bytes()
        path.write_bytes(whole[: len(whole) // 2])
        with pytest.raises(FolderError, match=f"{path.stem}.{ending} is damaged.*remove"):
            here.kept(spec)
        path.write_bytes(whole)


def test_other_vectors_are_other_cells(tmp_path):
    x = np.random.default_rng(0).standard_normal((40, 4)).astype(np.float32)
    here, spec = Bench(tmp_path / "work", progress=False), {"dataset": str(tmp_path / "x.npy")}
    np.save(tmp_path / "x.npy", x)
    here.measured(spec, lambda here, spec: outcome())
    assert here.kept(spec) is not None
    np.save(tmp_path / "x.npy", 2 * x)
    bench.identity.cache_clear()
    assert here.kept(spec) is None


def test_a_model_is_trained_once(tmp_path):
    rows, here = bench.split("shop", 300), Bench(tmp_path, progress=False)
    fields = {"h": 32, "k": 2, "steps": 1, "batch": 32}
    one = here.trained("shop", rows.training, fields)
    folder = here.run_folder("shop", rows.training, fields, "published", 0)
    written = (folder / "model" / "model.json").stat().st_mtime_ns
    assert here.trained("shop", rows.training, fields).fingerprint == one.fingerprint
    assert (folder / "model" / "model.json").stat().st_mtime_ns == written
    others = [here.run_folder("shop", rows.training, fields, "published", 1)]
    others += [here.run_folder("shop", rows.training, {**fields, "k": 3}, "published", 0)]
    others += [here.run_folder("shop", rows.searched, fields, "published", 0)]
    assert len({folder, *others}) == 4


def test_rows_of_the_protocol():
    rows, unseen = bench.split("shop", 1000), bench.split("shop", 1000, unseen=True)
    assert len(rows.queries) == len(rows.validation) == 100 and len(rows.training) == 800 and len(rows.searched) == 900
    assert_array_equal(rows.queries, unseen.queries)
    assert len(unseen.training) == len(unseen.searched) == 400
    seen = {row.tobytes() for row in unseen.training}
    assert not any(row.tobytes() in seen for row in unseen.searched)
    near = rows.searched[rows.truth[0, 0]] @ rows.queries[0] / np.linalg.norm(rows.searched[rows.truth[0, 0]])
    lengths = np.linalg.norm(rows.searched, axis=1)
    assert near == pytest.approx((rows.searched @ rows.queries[0] / lengths).max(), rel=1e-5)


def test_too_few_rows_are_refused(tmp_path):
    np.save(tmp_path / "few.npy", np.ones((50, 3), np.float32))
    with pytest.raises(InputError, match="too few"):
        bench.split(str(tmp_path / "few.npy"))


def test_results_are_chosen_by_what_was_measured(tmp_path):
    here = Bench(tmp_path, progress=False)
    specs = product(dataset=["shop"], k=(1, 2), seed=(0, 1))
    found = Results(here.measured(spec, lambda here, spec: outcome(spec["k"] + spec["seed"])) for spec in specs)
    assert len(found) == 4 and found.values("k") == [1, 2]
    assert_array_equal(found.where(k=2).per_query("recall@100"), np.full(5, 2.5))
    assert found.where(k=1).means("recall@100") == [1.0, 2.0]
    assert found.where(k=3).per_query("recall@100") is None and found.where(k=1).per_query("other") is None
    assert digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1}) != digest({"a": 2, "b": 1})
