"""Training on from a model: whose shapes it has, that it is reproducible, and what is refused."""

import json
import signal

import jax
import numpy as np
import optax
import pytest
from jobs.small_run import experiment
from numpy.testing import assert_allclose, assert_array_equal
from training.test_loop import interrupting, stop_at
from training.tiny_run import D, config, vectors

import compressae_jax as cs
from compressae_jax import data
from compressae_jax.compression import drift
from compressae_jax.jobs.train import train as train_job
from compressae_jax.model import weights as model_weights
from compressae_jax.model.encoders import Encoder
from compressae_jax.notation import FolderError, InputError, Stopped
from compressae_jax.training import continued, loop, recipes, records, sharding
from compressae_jax.training import state as states

OPEN = {"h": 0, "k": 0, "activation": ""}
ROUNDS = {"steps": 0, "refine_rounds": 3, "refine_gain": 0.0}
FIELDS = {"steps": 12, "batch": 33, "progress": False}


@pytest.fixture(scope="module")
def others():
    """Vectors of the same width that lie elsewhere."""
    rng = np.random.default_rng(8)
    return (rng.standard_normal((240, 5)) @ rng.standard_normal((5, D))).astype(np.float32)


@pytest.fixture(scope="module")
def start():
    return cs.fit(vectors(), h=64, k=3, **FIELDS)


@pytest.fixture(scope="module")
def dictionary():
    return cs.fit(vectors(), budget_bytes=4, refine_rounds=3, progress=False)


def cosine(model, some):
    return model.drift(some, reference=some).cosine


def test_continuing_is_reproducible_and_leaves_the_start_alone(start, others, tmp_path):
    before = {name: array.copy() for name, array in start.weights.params.items()}
    start.save(tmp_path / "start")
    of_model, of_folder = (cs.fit(others, start=one, **FIELDS) for one in (start, tmp_path / "start"))
    assert of_model.weights.fingerprint == of_folder.weights.fingerprint != start.weights.fingerprint
    for name, array in before.items():
        assert_array_equal(start.weights.params[name], array)
    assert (of_model.h, of_model.k) == (start.h, start.k)
    summary = of_model.weights.summary
    assert summary["start"]["fingerprint"] == start.weights.fingerprint
    assert summary["start"]["source"]["rows"] == len(vectors())
    assert summary["train"]["lr"] == recipes.CONTINUE["train"]["lr"]


def test_only_parameters_are_taken_over(start):
    """Moments, usage and the number of steps are those of a new run, and the arrays are copies."""
    module, adam = start.weights.module(), optax.adam(1e-3)
    state = states.continued(module, adam, sharding.make_mesh(1, 1), start.weights.params)
    fresh = states.create(module, adam, sharding.make_mesh(1, 1), 0)
    assert jax.tree.structure(state) == jax.tree.structure(fresh)
    pairs = zip(*(jax.tree.leaves(one._replace(params={})) for one in (state, fresh)), strict=True)
    for one, other in pairs:
        assert_array_equal(one, other)
    for name, array in start.weights.params.items():
        assert_array_equal(state.params[name], array)
        assert not np.shares_memory(np.asarray(state.params[name]), array)


def test_vectors_of_elsewhere_are_reconstructed_better_than_before(start, dictionary, others):
    assert cosine(cs.fit(others, start=start, **{**FIELDS, "steps": 60}), others) > cosine(start, others) + 0.02
    assert cosine(cs.fit(others, start=dictionary, progress=False), others) > cosine(dictionary, others) + 0.02


def test_a_dictionary_is_continued_by_rounds_and_learns_levels_of_its_own(dictionary, others):
    model = cs.fit(others, start=dictionary, progress=False)
    assert model.weights.summary["stages"] == [{"kind": "rounds", "rounds": continued.ROUNDS, "gain": 1e-4}]
    for name in ("h", "k", "encoder", "storage"):
        assert getattr(model.weights, name) == getattr(dictionary.weights, name)
    assert list(model.weights.levels) == list(dictionary.weights.levels) == ["pursuit:packed4"]
    assert model.weights.levels != dictionary.weights.levels
    trained = others[np.asarray(data.split_rows(len(others), 0, 12).train)]
    first = drift.cosines(Encoder(dictionary.weights, "pursuit", "float32"), trained).mean()
    assert_allclose(model.weights.summary["refine"]["cosines"][0], first, atol=1e-4)  # with the start's, not with rows


def test_a_given_k_counts_and_steps_may_follow_rounds(dictionary, others):
    model = cs.fit(others, start=dictionary, k=2, **FIELDS)
    assert (model.k, model.weights.encoder, model.weights.storage) == (2, "pursuit", "packed4")
    assert model.weights.summary["steps"] == 12 and "refine" not in model.weights.summary


@pytest.mark.parametrize("fields", [{"steps": 6}, ROUNDS, {**ROUNDS, "steps": 3}])
def test_resumed_is_uninterrupted_bit_for_bit(tmp_path, monkeypatch, start, others, fields):
    model_weights.save(start.weights, tmp_path / "start")
    asked = {**config(**{**OPEN, **fields}), "start": str(tmp_path / "start")}
    source = data.open_source(others)
    rows, given = data.split_rows(len(others), 0, 12).train, start.weights
    stop = stop_at(2, signal.SIGTERM) if fields["steps"] == 6 else None
    with monkeypatch.context() as patch:
        if stop is None:
            interrupting(patch, 1, signal.SIGTERM)
        asked["train"]["validate_every"] = 2 if stop else 0
        with pytest.raises(Stopped):
            loop.train(asked, source, rows, tmp_path / "run", stop, progress=False, start=given)
    before = records.read_metrics(tmp_path / "run")
    again = loop.train(asked, source, rows, tmp_path / "run", progress=False, start=given)
    assert again.fingerprint == loop.train(asked, source, rows, progress=False, start=given).fingerprint
    assert before and records.read_metrics(tmp_path / "run")[: len(before)] == before


def test_a_run_goes_on_from_its_own_start_only(tmp_path, start, others):
    asked = {"start": start, "workdir": tmp_path / "run", **FIELDS}
    model = cs.fit(others, **asked)
    noted = json.loads((tmp_path / "run" / "config.json").read_text())
    assert noted["start"] == {"folder": "", "fingerprint": start.weights.fingerprint}
    assert (noted["model"]["h"], noted["model"]["activation"]) == (64, "topk")  # resolved
    start.save(tmp_path / "start")
    assert cs.fit(others, **{**asked, "start": tmp_path / "start"}).weights.fingerprint == model.weights.fingerprint
    fingerprint = model.weights.fingerprint
    with pytest.raises(InputError, match=rf"start\.fingerprint was '{start.weights.fingerprint}', now '{fingerprint}'"):
        cs.fit(others, **{**asked, "start": model})
    of_nothing = {"h": 64, "k": 3, **FIELDS}
    with pytest.raises(InputError, match=rf"start\.fingerprint was '{start.weights.fingerprint}', now ''"):
        cs.fit(others, workdir=tmp_path / "run", **of_nothing)
    cs.fit(others, workdir=tmp_path / "other", **of_nothing)
    with pytest.raises(InputError, match=rf"start\.fingerprint was '', now '{start.weights.fingerprint}'"):
        cs.fit(others, **{**asked, "workdir": tmp_path / "other"})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"h": 32}, r"h=32 is asked for, the start \(fingerprint {}\) has h=64"),
        ({"activation": "relu_topk"}, r"activation='relu_topk' is asked for, .* has activation='topk'"),
        ({"k": 65}, "k must be an integer from 1 to 64"),
        ({"recipe": "paper"}, "h=4096 is asked for"),
        ({"budget_bytes": 8}, "budget_bytes=8 chooses h, k, encoder and storage, which the start"),
    ],
)
def test_what_contradicts_the_start_is_refused(start, others, tmp_path, changes, message):
    with pytest.raises(InputError, match=message.format(start.weights.fingerprint)):
        cs.fit(others, start=start, workdir=tmp_path / "run", progress=False, **changes)
    assert not (tmp_path / "run").exists()


def test_another_width_or_no_model_is_refused(start, others, tmp_path):
    with pytest.raises(InputError, match=r"width d=9, the start \(fingerprint .*\) has d=16"):
        cs.fit(others[:, :9], start=start, progress=False)
    (tmp_path / "empty").mkdir()
    for name, why in (("empty", "is missing"), ("nothing", "does not exist")):
        with pytest.raises(FolderError, match=why):
            cs.fit(others, start=tmp_path / name, progress=False)
    with pytest.raises(InputError, match="stand for those of a start"):
        cs.fit(others, recipe="continue", progress=False)


def experiment_from(start, others, tmp_path, recipe="continue"):
    np.save(tmp_path / "vectors.npy", others)
    start.save(tmp_path / "start")
    asked = experiment(str(tmp_path / "vectors.npy"))
    asked.update({section: recipes.recipe(recipe)[section] for section in ("model", "train")})
    asked.train.batch, asked.mesh.data, asked.start = 33, 1, str(tmp_path / "start")
    return asked


def test_the_job_trains_on_and_says_from_where(start, others, tmp_path):
    asked = experiment_from(start, others, tmp_path)
    asked.train.steps, asked.data.validation = 4, 0
    weights = train_job(asked, tmp_path / "run", progress=False)
    noted = json.loads((tmp_path / "run" / "config.json").read_text())
    assert noted["start"] == {"folder": asked.start, "fingerprint": start.weights.fingerprint}
    assert model_weights.load(tmp_path / "run" / "model").summary["start"]["fingerprint"] == start.weights.fingerprint
    assert (weights.h, weights.k) == (64, 3)
    assert train_job(asked, tmp_path / "run", progress=False).fingerprint == weights.fingerprint


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model.h": 32}, "h=32 is asked for"),
        ({"start": "nowhere"}, "nowhere does not exist"),
        ({"start": ""}, "stand for those of a start"),
        ({"compress.encoder": "pursuits"}, "did you mean 'pursuit'"),
        ({"evaluation.ks": (65,)}, "evaluation.ks must be an integer from 1 to 64"),
    ],
)
def test_the_job_refuses_before_anything_is_written(start, others, tmp_path, change, message):
    asked = experiment_from(start, others, tmp_path)
    asked.update_from_flattened_dict(change)
    with pytest.raises(InputError, match=message):
        train_job(asked, tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()


def test_fit_holds_out_a_few_rows_whatever_the_seed(others, tmp_path):
    def left_out(**fields):
        model = cs.fit(others, h=64, k=3, **FIELDS, **fields)
        return model.weights.summary.get("held_out", {}).get("rows"), model.weights.fingerprint

    assert left_out()[0] == 12 and left_out(held_out=24)[0] == 24
    assert left_out(held_out=0) == left_out(held_out=0)
    assert left_out(held_out=0)[0] is None and left_out(held_out=0)[1] != left_out()[1]
    with pytest.raises(InputError, match="held_out must be an integer from 0 to 24"):
        left_out(held_out=25)
    workdir = tmp_path / "older"  # a run that began with all rows, as all did once, is still found
    assert left_out(held_out=0, workdir=workdir) == left_out(workdir=workdir)
