import json
import os
import signal

import jax
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from training import tiny_run
from training.tiny_run import train, vectors

from compressae_jax import data
from compressae_jax.model import weights as model_weights
from compressae_jax.notation import InputError, NonFiniteLossError, Stopped
from compressae_jax.training import loop, recipes, records, refine


def stop_at(step):
    """A validation that gets SIGTERM while it runs for the given time."""
    calls = []

    def validate(weights):
        calls.append(weights.fingerprint)
        if len(calls) == step:
            os.kill(os.getpid(), signal.SIGTERM)
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


def test_resumed_is_uninterrupted_bit_for_bit(tmp_path, uninterrupted):
    wanted, wanted_folder = uninterrupted
    with pytest.raises(Stopped, match="stopped at step 5; the same command continues"):
        train(tmp_path, validate=stop_at(5), validate_every=1)
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


def test_sigterm_between_rounds_keeps_them(tmp_path, monkeypatch):
    rounds, fields = refine._round, {"steps": 0, "refine_rounds": 3}

    def asked_to_stop(*arguments):
        os.kill(os.getpid(), signal.SIGTERM)
        return rounds(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(refine, "_round", asked_to_stop)
        with pytest.raises(Stopped, match="round 1 of 3"):
            train(tmp_path, **fields)
    assert (tmp_path / "refined").exists() and not (tmp_path / "model").exists()
    again = train(tmp_path, **fields)
    assert again.fingerprint == train(**fields).fingerprint
    assert not (tmp_path / "refined").exists()


def test_a_run_folder_holds_what_it_should(uninterrupted):
    weights, folder = uninterrupted
    assert {path.name for path in folder.iterdir()} - {"tensorboard"} == {
        "config.json",
        "metrics.jsonl",
        "checkpoints",
        "model",
    }
    stored = model_weights.load(folder / "model")
    assert stored.fingerprint == weights.fingerprint
    summary = stored.summary
    assert (summary["steps"], summary["rows_seen"], summary["seed"]) == (12, 12 * 32, 0)
    assert summary["metrics"] == records.read_metrics(folder)[-1]
    assert summary["train"]["lr"] == recipes.DEFAULT["train"]["lr"]
    assert summary["source"]["rows"] == tiny_run.N and summary["seconds"] > 0
    config = json.loads((folder / "config.json").read_text())
    assert (config["model"]["h"], config["train"]["steps"], config["source"]["width"]) == (64, 12, tiny_run.D)


def test_a_finished_run_only_returns_its_model(uninterrupted):
    weights, folder = uninterrupted
    before = (folder / "metrics.jsonl").stat().st_mtime_ns
    assert train(folder).fingerprint == weights.fingerprint
    assert (folder / "metrics.jsonl").stat().st_mtime_ns == before


def test_another_config_or_other_vectors_are_refused(uninterrupted):
    _, folder = uninterrupted
    with pytest.raises(InputError, match=r"train\.steps was 12, now 13"):
        train(folder, steps=13)
    with pytest.raises(InputError, match=r"source\.sample"):
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
    assert kept(tmp_path) == [3, 9, 11]  # the best, and the last two
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
    "b1": {"b1": 0.5},
    "b2": {"b2": 0.5},
    "refine_rounds": {"refine_rounds": 1},
}
# Read by the loop around the step: test_validation_and_checkpoints_come_when_they_are_due changes each.
AROUND = {"log_every", "validate_every", "checkpoint_every", "keep_last"}


def test_every_field_of_the_table_is_tried():
    fields = {*recipes.DEFAULT["model"], *recipes.DEFAULT["train"]}
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
    assert train(tmp_path / "run", source=source, **BASE).fingerprint == base.fingerprint
    assert (tmp_path / "run" / "cache" / "vectors.npy").exists()


def test_only_the_rows_given_are_learned_from(base):
    rows = np.arange(0, tiny_run.N, 2)
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
    assert weights.summary["train"]["b2"] == recipes.DEFAULT["train"]["b2"]
    assert not list(tmp_path.iterdir())
    with pytest.raises(InputError, match="did you mean 'batch'"):
        loop.fit(vectors(), bacth=3)
    with pytest.raises(InputError, match="recipe"):
        loop.fit(vectors(), recipe="none")


def test_progress_shows_loss_rate_and_time(capfd):
    train(progress=True, **BASE)
    shown = capfd.readouterr().err
    assert f"1 × {jax.devices()[0].device_kind}" in shown and "data=1 × model=1" in shown
    assert "10/10" in shown and "loss 0." in shown and "rows/s" in shown
