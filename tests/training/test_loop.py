import contextlib
import json
import os
import shutil
import signal

import jax
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from training import tiny_run
from training.tiny_run import train, vectors

from compressae_jax import data
from compressae_jax.base import files, progress
from compressae_jax.data import checked
from compressae_jax.data.sampling import Rest
from compressae_jax.data.sources import Source
from compressae_jax.model import weights as model_weights
from compressae_jax.notation import BusyError, InputError, NonFiniteLossError, Stopped
from compressae_jax.training import loop, recipes, records, refine


def stop_at(step, number=signal.SIGTERM):
    """A validation that gets a signal while it runs for the given time."""
    calls = []

    def validate(weights):
        calls.append(weights.fingerprint)
        if len(calls) == step:
            os.kill(os.getpid(), number)
        return {"cosine": 0.5, "recall@100": len(calls) / 100}

    return validate


def kept(folder):
    return sorted(int(path.name) for path in (folder / "checkpoints").iterdir() if path.name.isdigit())


def steps_logged(folder):
    return [line["step"] for line in records.read_metrics(folder)]


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    """The weights and the folder of a run that nothing disturbed."""
    folder = tmp_path_factory.mktemp("uninterrupted")
    return train(folder), folder


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_resumed_is_uninterrupted_bit_for_bit(tmp_path, uninterrupted, number):
    wanted, wanted_folder = uninterrupted
    with pytest.raises(Stopped, match=r"stopped at step 5 of 12, .*/checkpoints; the same command continues") as stop:
        train(tmp_path, validate=stop_at(5, number), validate_every=1)
    assert stop.value.signal == number
    assert kept(tmp_path) == [5]
    assert not (tmp_path / "model").exists()
    before = records.read_metrics(tmp_path)
    weights = train(tmp_path)
    # A run that began anew would end the same, but time its first steps anew.
    assert records.read_metrics(tmp_path)[:5] == before
    for name, array in wanted.params.items():
        assert_array_equal(weights.params[name], array)
    assert steps_logged(tmp_path) == list(range(1, 13))
    pairs = zip(records.read_metrics(tmp_path), records.read_metrics(wanted_folder), strict=True)
    assert all(one["loss"] == other["loss"] for one, other in pairs)
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    assert signal.getsignal(signal.SIGINT) == signal.default_int_handler


def test_ctrl_c_twice_ends_at_once(tmp_path):
    def twice(weights):
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        return {}

    with pytest.raises(KeyboardInterrupt):
        train(tmp_path, validate=twice, validate_every=2, checkpoint_every=1)
    assert kept(tmp_path) == [1]


def test_without_a_folder_ctrl_c_is_what_it_always_is():
    with pytest.raises(KeyboardInterrupt):
        train(validate=stop_at(1, signal.SIGINT), validate_every=1)


def test_a_signal_after_the_last_step_ends_the_program_and_the_run_ends_when_it_continues(tmp_path, uninterrupted):
    with pytest.raises(Stopped, match="stopped at step 12 of 12"):
        train(tmp_path, validate=stop_at(1), checkpoint_every=5)
    assert not (tmp_path / "model").exists()
    assert train(tmp_path, checkpoint_every=5).fingerprint == uninterrupted[0].fingerprint


ROUNDS = {"steps": 0, "refine_rounds": 4, "refine_gain": 0.0}


@pytest.fixture(scope="module")
def four_rounds(tmp_path_factory):
    folder = tmp_path_factory.mktemp("rounds")
    return train(folder, **ROUNDS), folder


def interrupting(monkeypatch, rounds, number):
    """The round after so many gets a signal."""
    improved, calls = refine.improved, []

    def watched(*arguments):
        calls.append(arguments)
        if len(calls) == rounds + 1:
            os.kill(os.getpid(), number)
        return improved(*arguments)

    monkeypatch.setattr(refine, "improved", watched)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("fields", [ROUNDS, {**ROUNDS, "steps": 3, "batch": 200}])
def test_interrupted_rounds_continue_to_the_same_bits(tmp_path, monkeypatch, number, fields):
    with monkeypatch.context() as patch:
        interrupting(patch, 1, number)
        with pytest.raises(Stopped, match=r"after round 2 of at most 4, .*; the same command continues") as stop:
            train(tmp_path, **fields)
    assert stop.value.signal == number
    assert kept(tmp_path)[-1] == fields["steps"] + 2 and not (tmp_path / "model").exists()
    before = records.read_metrics(tmp_path)
    for other in ({"seed": 1}, {"source": vectors() + 1}, {"refine_rounds": 5}):
        with pytest.raises(InputError, match="holds a run with another config"):
            train(tmp_path, **{**fields, **other})
    again, whole = train(tmp_path, **fields), train(**fields)
    assert again.fingerprint == whole.fingerprint
    assert again.summary["refine"] == whole.summary["refine"]
    assert records.read_metrics(tmp_path)[: len(before)] == before


def test_an_interrupted_budget_is_continued_by_no_other(tmp_path, monkeypatch):
    fields = {"budget_bytes": 8, "refine_rounds": 3, "refine_gain": 0.0}
    with monkeypatch.context() as patch:
        interrupting(patch, 0, signal.SIGINT)
        with pytest.raises(Stopped):
            train(tmp_path, **fields)
    for other, named in (({"budget_bytes": 9}, "budget_bytes was 8, now 9"), ({"seed": 1}, "seed was 0, now 1")):
        with pytest.raises(InputError, match=named):
            train(tmp_path, **{**fields, **other})
    with pytest.raises(InputError, match="other contents"):
        train(tmp_path, source=vectors() + 1, **fields)
    with pytest.raises(InputError, match="have no lr"):
        train(tmp_path, **fields, lr=0.5)
    weights = train(tmp_path, **fields)
    assert (weights.encoder, weights.storage) == ("pursuit", "fast4")
    assert weights.fingerprint == train(**fields).fingerprint
    assert list(weights.levels) == ["pursuit:packed4"]  # learned here, so that all that it compresses has the same
    assert model_weights.load(tmp_path / "model").levels == weights.levels


def test_rounds_write_lines_and_checkpoints_and_leave_nothing_else(four_rounds):
    weights, folder = four_rounds
    lines = records.read_metrics(folder)
    assert [line["round"] for line in lines] == [1, 2, 3, 4]
    assert {"stage", "round", "cosine", "replaced", "seconds"} == set(lines[0]) == set(lines[1]) - {"gain"}
    cosines = [round(line["cosine"], 5) for line in lines]
    assert weights.summary["refine"]["cosines"] == cosines and weights.summary["refine"]["rounds"] == 4
    assert kept(folder) == [3, 4] and weights.encoder == "pursuit"
    assert weights.summary["stages"] == [{"kind": "rounds", "rounds": 4, "gain": 0.0}]
    names = {path.name for path in folder.iterdir()} - {"tensorboard"}
    assert names == {"config.json", "source.json", "metrics.jsonl", "checkpoints", "model"}


def test_rounds_end_when_they_gain_less_than_asked(tmp_path):
    fields = {**ROUNDS, "refine_rounds": 9, "refine_gain": 0.5}
    weights = train(tmp_path, **fields)
    assert weights.summary["refine"]["rounds"] == 4  # of the fewest that say something
    assert json.loads((tmp_path / "config.json").read_text())["train"]["refine_gain"] == 0.5


def test_ctrl_c_without_a_folder_loses_only_the_round_under_way(monkeypatch):
    two = train(**{**ROUNDS, "refine_rounds": 2})
    with monkeypatch.context() as patch:
        interrupting(patch, 2, signal.SIGINT)
        with pytest.warns(UserWarning, match="interrupted in round 3 of 4"):
            weights = train(**ROUNDS)
    assert weights.fingerprint == two.fingerprint and weights.summary["refine"]["rounds"] == 2
    with monkeypatch.context() as patch:
        interrupting(patch, 0, signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            train(**ROUNDS)


def test_two_trainings_of_one_folder(tmp_path, uninterrupted):
    caught = []

    def validate(weights):
        with pytest.raises(BusyError, match=f"is being written by process {os.getpid()}") as busy:
            train(tmp_path)
        caught.append(busy)
        return {}

    assert train(tmp_path, validate=validate).fingerprint == uninterrupted[0].fingerprint
    assert len(caught) == 1


@pytest.mark.parametrize("suffix", ["npy", "npz"])
def test_a_source_is_seen_through_once_in_the_life_of_a_run(tmp_path, monkeypatch, suffix):
    np.save(tmp_path / "vectors.npy", vectors()), np.savez_compressed(tmp_path / "vectors.npz", x=vectors())
    reads, batches = [], Source.batches
    monkeypatch.setattr(Source, "batches", lambda self, *given: reads.append(self.name) or batches(self, *given))
    folder, stop = tmp_path / "run", stop_at(1)
    for expected in (pytest.raises(Stopped), contextlib.nullcontext(), contextlib.nullcontext()):
        for forgotten in (checked._seen, checked._of_this):
            forgotten.clear()  # as in a process of its own
        with expected:
            train(folder, stop, data.open_source(tmp_path / f"vectors.{suffix}"), validate_every=4)
    assert len(reads) == 1 and not (folder / "cache").exists()


def test_a_run_folder_holds_what_it_should(uninterrupted):
    weights, folder = uninterrupted
    assert {path.name for path in folder.iterdir()} - {"tensorboard"} == {
        "config.json",
        "source.json",
        "metrics.jsonl",
        "checkpoints",
        "model",
    }
    assert [path.name for path in folder.parent.iterdir()].count(folder.name) == 1
    assert not list(folder.parent.glob(".compressae*"))
    stored = model_weights.load(folder / "model")
    assert stored.fingerprint == weights.fingerprint
    summary = stored.summary
    assert (summary["steps"], summary["rows_seen"], summary["seed"]) == (12, 12 * 32, 0)
    assert summary["metrics"] == records.read_metrics(folder)[-1]
    assert summary["train"]["lr"] == recipes.PUBLISHED["train"]["lr"]
    assert summary["source"]["rows"] == tiny_run.N and summary["seconds"] > 0
    config = json.loads((folder / "config.json").read_text())
    assert (config["model"]["h"], config["train"]["steps"], config["source"]["width"]) == (64, 12, tiny_run.D)


def test_a_finished_run_only_returns_its_model(uninterrupted):
    weights, folder = uninterrupted
    before = (folder / "metrics.jsonl").stat().st_mtime_ns
    assert train(folder).fingerprint == weights.fingerprint
    assert (folder / "metrics.jsonl").stat().st_mtime_ns == before


def test_what_a_run_killed_at_its_very_end_left_goes_with_the_next(tmp_path, uninterrupted):
    shutil.copytree(uninterrupted[1], tmp_path / "run")
    there = sorted(os.listdir(tmp_path / "run"))
    (tmp_path / "run/cache").mkdir()
    np.savez_compressed(tmp_path / "x.npz", x=vectors())
    data.stage(data.open_source(tmp_path / "x.npz"), tmp_path / "run/cache/vectors.npy", progress=False)
    (tmp_path / "x.npz").unlink()
    for name in (tmp_path / "run", tmp_path / "run/model"):
        name.with_name(f"{files.aside_of(name).name[:-8]}lock").touch()
    assert train(tmp_path / "run").fingerprint == uninterrupted[0].fingerprint
    assert os.listdir(tmp_path) == ["run"] and sorted(os.listdir(tmp_path / "run")) == there


def test_another_config_or_other_vectors_are_refused(uninterrupted):
    _, folder = uninterrupted
    with pytest.raises(InputError, match=r"train\.steps was 12, now 13"):
        train(folder, steps=13)
    with pytest.raises(InputError, match="source array had other contents"):
        train(folder, source=vectors() + 1)


def test_validation_and_checkpoints_come_when_they_are_due(tmp_path):
    seen = []

    def validate(weights):
        seen.append(weights)
        return {"cosine": 0.25, "recall@100": 1 / len(seen)}

    weights = train(tmp_path, validate, validate_every=3, checkpoint_every=3, log_every=4, steps=11, keep_last=2)
    lines = {line["step"]: line for line in records.read_metrics(tmp_path)}
    assert list(lines) == [3, 4, 6, 8, 9, 11]
    assert [step for step, line in lines.items() if "validation/cosine" in line] == [3, 6, 9, 11]
    assert lines[6]["validation/recall@100"] == 0.5
    assert kept(tmp_path) == [9, 11]
    assert seen[-1].fingerprint == weights.fingerprint
    assert len({each.fingerprint for each in seen}) == 4  # copies, not views of what the next step takes


def test_a_loss_that_is_not_finite_says_where_and_why(tmp_path):
    """A learning rate that grows past float32 in a few steps: what was saved before stays, nothing bad is saved."""
    with pytest.raises(NonFiniteLossError, match=r"at step \d+ .*learning rate, .*checkpoint: step [12] in ") as caught:
        train(tmp_path, lr=3e38, end_lr=1.0, steps=40, warmup_steps=3, checkpoint_every=1, keep_last=1, clip_norm=0.0)
    assert isinstance(caught.value, ValueError)
    assert not (tmp_path / "model").exists()
    with pytest.raises(NonFiniteLossError, match="none without a workdir"):
        train(lr=3e38, end_lr=1.0, warmup_steps=0, clip_norm=0.0)


BASE = {"steps": 10}  # the fewest with a step of warm-up
CHANGED = {
    "seed": {"seed": 1},
    "h": {"h": 32},
    "k": {"k": 2},
    "activation": {"activation": "relu_topk"},
    "init_encoder": {"init_encoder": "kaiming"},
    "dtype": {"dtype": "bfloat16"},
    "steps": {"steps": 11},
    "batch": {"batch": 40},
    "lr": {"lr": 1e-3},
    "warmup_steps": {"warmup_steps": 0},
    "end_lr": {"end_lr": 0.5},
    "clip_norm": {"clip_norm": 1e-3},
    "weight_4k": {"weight_4k": 0.5},
    "weight_pairs": {"weight_pairs": 0.5},
    "weight_prefixes": {"weight_prefixes": 0.5},
    "distance": {"distance": "l2"},
    "gradient": {"gradient": "all"},
    "decoder_rows": {"decoder_rows": "projected"},
    "b1": {"b1": 0.5},
    "b2": {"b2": 0.5},
    "refine_rounds": {"refine_rounds": 1},
}
# Read around the steps: test_validation_and_checkpoints_come_when_they_are_due changes each of the first four,
# test_rounds_end_when_they_gain_less_than_asked the next. Landmarks alone have neighbour_steps (test_landmarks).
AROUND = {"log_every", "validate_every", "checkpoint_every", "keep_last", "refine_gain", "neighbour_steps"}


def test_every_field_of_the_table_is_tried():
    fields = {*recipes.PUBLISHED["model"], *recipes.PUBLISHED["train"]}
    assert fields == {*CHANGED, "microbatch", *AROUND} - {"seed"}


@pytest.fixture(scope="module")
def base():
    return train(**BASE)


def roughly(**fields):
    """The same run from a compiler in a hurry: its bits are its own."""
    jax.config.update("jax_disable_most_optimizations", True)
    try:
        return train(**fields)
    finally:
        jax.config.update("jax_disable_most_optimizations", False)


@pytest.fixture(scope="module")
def rough_base():
    once, again = roughly(**BASE), roughly(**BASE)
    assert once.fingerprint == again.fingerprint, "else any change would seem to matter"
    return again


@pytest.mark.parametrize("field", CHANGED)
def test_every_field_changes_what_is_learned(rough_base, field):
    assert roughly(**{**BASE, **CHANGED[field]}).fingerprint != rough_base.fingerprint


def test_microbatch_and_mesh_change_the_passes_but_not_what_is_learned(base, monkeypatch):
    shapes = []
    monkeypatch.setattr(loop, "Feed", watching(shapes, loop.Feed))
    weights = train(**BASE, microbatch=8, data=4, model=2)
    assert set(shapes) == {((4, 8, tiny_run.D), (4, 2, tiny_run.D))}
    for name, array in base.params.items():
        assert_allclose(weights.params[name], array, atol=1e-5)


def watching(shapes, feed):
    class Watching(feed):
        def batch(self, step):
            batch = super().batch(step)
            shapes.append((batch.shape, batch.sharding.shard_shape(batch.shape)))
            return batch

    return Watching


def test_zero_rows_follow_the_config(base):
    some = vectors()
    some[[4, 77]] = 0
    with pytest.raises(InputError, match=r"2 zero rows.*4, 77"):
        train(source=some, **BASE)
    kept_rows = train(source=some, zero_rows="keep", **BASE)
    dropped = train(source=some, zero_rows="drop", **BASE)
    assert len({base.fingerprint, kept_rows.fingerprint, dropped.fingerprint}) == 3
    others = train(source=np.delete(some, [4, 77], axis=0), **BASE)
    assert others.fingerprint == dropped.fingerprint
    with pytest.raises(InputError, match="zero_rows"):
        train(source=some, zero_rows="skip", **BASE)


def test_a_value_that_is_not_finite_stops_before_anything_is_written(tmp_path):
    some = vectors()
    some[150, 3] = np.nan
    np.save(tmp_path / "bad.npy", some)
    with pytest.raises(InputError, match=r"bad\.npy: row 150"):
        train(tmp_path / "run", source=tmp_path / "bad.npy")
    assert not (tmp_path / "run").exists()


def test_sources_without_random_access_are_staged(tmp_path, base):
    np.savez_compressed(tmp_path / "vectors.npz", x=vectors())
    source = data.open_source(tmp_path / "vectors.npz")
    assert not source.random_access
    assert train(source=source, **BASE).fingerprint == base.fingerprint

    def validate(weights):
        assert (tmp_path / "run" / "cache" / "vectors.npy").exists()
        return {}

    assert train(tmp_path / "run", validate, source, **BASE).fingerprint == base.fingerprint
    assert not (tmp_path / "run" / "cache").exists()


@pytest.mark.parametrize("bad", [np.nan, 0])
def test_a_bad_source_that_must_be_staged_leaves_nothing(tmp_path, bad):
    some = vectors()
    some[150] = bad
    np.savez_compressed(tmp_path / "vectors.npz", x=some)
    with pytest.raises(InputError, match="150"):
        train(tmp_path / "run", source=tmp_path / "vectors.npz")
    assert not (tmp_path / "run").exists()


def test_only_the_rows_given_are_learned_from(base):
    rows = Rest(tiny_run.N, np.arange(1, tiny_run.N, 2))
    some = vectors()
    some[1::2] += 5  # of no consequence
    weights = [
        loop.train(tiny_run.config(**BASE), data.open_source(given), rows, progress=False)
        for given in (vectors(), some)
    ]
    assert weights[0].fingerprint == weights[1].fingerprint != base.fingerprint


def test_fit_fills_in_the_recipe_and_writes_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    weights = loop.fit(vectors(), progress=False, h=64, k=3, steps=4, batch=36, warmup_steps=1)
    assert (weights.d, weights.h, weights.k) == (tiny_run.D, 64, 3)
    assert weights.summary["train"]["b2"] == recipes.PUBLISHED["train"]["b2"]
    assert not list(tmp_path.iterdir())
    with pytest.raises(InputError, match="did you mean 'batch'"):
        loop.fit(vectors(), bacth=3)
    with pytest.raises(InputError, match="recipe"):
        loop.fit(vectors(), recipe="none")
    with pytest.raises(InputError, match="no batch, no lr; leave them out"):
        loop.fit(vectors(), budget_bytes=8, lr=0.1, batch=3)


def test_progress_shows_loss_rate_and_time(capfd, monkeypatch):
    monkeypatch.setattr(progress, "FIRST", 0)
    train(progress=True, **BASE)
    shown = capfd.readouterr().err
    assert f"1 × {jax.devices()[0].device_kind}" in shown and "data=1 × model=1" in shown
    assert "loss 0." in shown and "rows/s" in shown
