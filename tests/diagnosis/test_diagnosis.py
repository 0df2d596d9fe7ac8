"""Each finding provoked by the fault that it names, and none for a model and vectors that are well."""

import dataclasses
import json

import numpy as np
import pytest
from evaluation import small

import compressae_jax as cs
from compressae_jax import data
from compressae_jax.compression import drift
from compressae_jax.diagnosis import page, registry
from compressae_jax.diagnosis.finding import BAD, LOOK, OK, UNSEEN, graded
from compressae_jax.diagnosis.seen import Seen, lines_beside
from compressae_jax.model import weights as model_weights
from compressae_jax.notation import FolderError, InputError

D, H, K = 16, 64, 4


@pytest.fixture(scope="module")
def rows():
    """Of Debian's packages, in an order of chance."""
    return data.load("debian").vectors.take(np.random.default_rng(0).choice(34_169, 1800, replace=False))


@pytest.fixture(scope="module")
def trained(rows, tmp_path_factory):
    """A run folder of the published recipe, small, and its model; of the rows it saw the first 1,100."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    model = cs.fit(rows[:1100], h=128, k=8, steps=60, batch=127, workdir=folder, progress=False)
    return folder, model


def made(seed=0, **changes):
    return dataclasses.replace(small.weights(D, H, K, seed), **changes)


def sparse_rows(weights, n=600, k=3, seed=1, atoms=None):
    """Rows that some atoms of the decoder make, so that its codes are right for them."""
    rng, atoms = np.random.default_rng(seed), weights.h if atoms is None else atoms
    chosen = np.stack([rng.choice(atoms, k, replace=False) for _ in range(n)])
    values = rng.normal(1, 0.3, (n, k)) * rng.choice([-1, 1], (n, k))
    return np.einsum("nk,nkd->nd", values, weights.params["decoder_w"][chosen]).astype(np.float32)


def found(weights, vectors, name, **options):
    return registry.FINDINGS[name](Seen(weights, data.open_source(vectors), **options))


def test_a_healthy_model_has_no_finding(trained, rows):
    folder, model = trained
    seen = Seen(model.weights, data.open_source(rows[1100:]), lines_beside(folder / "model"))
    told = registry.look(seen)
    assert [one.name for one in told] == list(registry.FINDINGS)
    assert {one.name: one.level for one in told} == dict.fromkeys(registry.FINDINGS, OK), page.text(seen, told)
    assert page.text(seen, told).endswith("Nothing was found.") and not any(one.cause for one in told)


def test_a_healthy_model_of_a_budget_neither(rows):
    model = cs.fit(rows[:1100], budget_bytes=24, refine_rounds=3, progress=False)
    told = registry.look(Seen(model.weights, data.open_source(rows[1100:])))
    levels = {one.name: one.level for one in told}
    assert levels.pop("loss on a plateau") == UNSEEN  # rounds have no loss
    assert set(levels.values()) == {OK}, told


def test_dead_latents():
    weights = made()
    some = sparse_rows(weights, atoms=16)
    params = {name: array.copy() for name, array in weights.params.items()}
    params["encoder_w"][:, 20:] *= 0.01  # so small that they never win
    told = found(made(params=params), some, "dead latents")
    assert told.level == BAD and 0.6 < told.numbers["share"] <= 44 / 64 and "init_encoder=transpose" in told.cure
    assert found(weights, sparse_rows(weights), "dead latents").level == OK
    few = found(weights, some[:60], "dead latents")
    assert few.level == UNSEEN and "too few rows to tell: 3.8 uses" in few.figure


def test_dense_latents():
    weights = made(k=3)
    common = 2 * weights.params["decoder_w"][7]
    told = found(weights, sparse_rows(weights, k=2) + 2 * common, "dense latents")
    assert told.level == BAD and told.numbers["most"] > 0.9 and "subtract the mean" in told.cure
    assert found(weights, sparse_rows(weights), "dense latents").level == OK


def losses(*values):
    return [{"step": step, "loss": float(value)} for step, value in enumerate(values, 1)]


@pytest.mark.parametrize(
    ("curve", "level"),
    [
        (0.3 + 0.6 * np.exp(-np.arange(200) / 60), OK),
        (0.3 + 0.6 * np.exp(-np.arange(200) / 8), BAD),  # at its floor after a fifth of the steps
        (0.3 + 0.6 * np.exp(-np.arange(200) / 20), LOOK),
        (np.linspace(0.5, 0.6, 200), BAD),  # it rises
        (np.linspace(0.5, 0.48, 200), BAD),  # it hardly falls
        (np.linspace(0.5, 0.44, 200), LOOK),
        (np.linspace(0.5, 0.1, 19), UNSEEN),
        ([], UNSEEN),
    ],
)
def test_a_loss_on_a_plateau(curve, level):
    noise = 0.002 * np.random.default_rng(0).normal(size=len(curve))
    weights = made()
    assert found(weights, sparse_rows(weights, 60), "loss on a plateau", lines=losses(*(curve + noise))).level == level


def test_a_real_training_whose_rate_is_too_high_is_on_a_plateau(tmp_path):
    options = {"h": 128, "k": 8, "steps": 60, "batch": 255, "lr": 3.0, "end_lr": 1.0, "warmup_steps": 0}
    model = cs.fit("shop", workdir=tmp_path / "run", clip_norm=0.0, progress=False, **options)
    lines, some = lines_beside(tmp_path / "run" / "model"), data.load("shop").vectors.read(0, 100)
    assert found(model.weights, some, "loss on a plateau", lines=lines).level == BAD


def test_reconstructed_worse_than_sparse(trained, rows):
    weights = trained[1].weights
    params = {**weights.params, "decoder_w": np.roll(weights.params["decoder_w"], 1, axis=0)}
    broken = dataclasses.replace(weights, params=params)
    told = found(broken, rows[1100:], "reconstructed worse than sparse")
    assert told.level == BAD and told.numbers["high"] < 0 and "another order" in told.cause
    assert found(weights, rows[1100:], "reconstructed worse than sparse").level == OK
    assert found(weights, rows[:100], "reconstructed worse than sparse").level == UNSEEN


def test_decoder_rows_that_are_not_of_unit_length(tmp_path, monkeypatch):
    weights = made()
    params = {
        **weights.params,
        "decoder_w": weights.params["decoder_w"] * np.linspace(1, 2, H, dtype=np.float32)[:, None],
    }
    broken = made(params=params)
    told = found(broken, sparse_rows(weights), "decoder rows")
    assert told.level == BAD and told.numbers["wrong"] == H - 1 and "row 63, has 2" in told.figure
    with monkeypatch.context() as writer:
        writer.setattr(model_weights, "_check", lambda weights: None)  # another program's
        model_weights.save(broken, tmp_path / "model")
    with pytest.raises(FolderError, match="rows of unit length; row 63"):
        model_weights.load(tmp_path / "model")
    assert found(model_weights.load(tmp_path / "model", any_length=True), sparse_rows(weights), "decoder rows") == told


def test_near_duplicates(rows):
    weights = made()
    some = sparse_rows(weights, 300)
    twice = np.concatenate([some, some[:60] * 3 + 1e-4])
    told = found(weights, twice, "near-duplicates")
    assert told.level == LOOK and told.numbers["share"] == pytest.approx(1 / 3) and "hash" in told.cure
    assert found(weights, np.concatenate([some, some]), "near-duplicates").level == BAD
    alone = found(weights, some, "near-duplicates")
    assert alone.level == OK and alone.numbers["share"] == 0  # a row is not its own twin


def test_a_common_mean():
    weights = made()
    some = sparse_rows(weights)
    assert found(weights, some, "common mean").level == OK
    told = found(weights, some / np.linalg.norm(some, axis=1, keepdims=True) + 1.5 * np.eye(D)[3], "common mean")
    by_hand = told.numbers["cosine"]
    assert told.level == BAD and by_hand == pytest.approx(1.5**2 / (1 + 1.5**2), abs=0.03)


def test_vectors_of_another_encoder(trained, rows):
    weights = trained[1].weights
    turn = np.linalg.qr(np.random.default_rng(0).normal(size=(384, 384)))[0].astype(np.float32)
    told = found(weights, rows[1100:] @ turn, "drift")
    assert told.level == BAD and told.numbers["high"] < -0.05 and "another encoder" in told.cause
    assert found(weights, rows[1100:], "drift").level == OK
    noteless = dataclasses.replace(weights, summary={})
    assert found(noteless, rows[1100:], "drift").level == UNSEEN
    reference = data.open_source(rows[:500])
    assert found(noteless, rows[1100:] @ turn, "drift", reference=reference).level == BAD
    slow = dataclasses.replace(weights, summary={drift.NOTE: {**weights.summary[drift.NOTE]}})
    slow.summary[drift.NOTE]["cosine"] += 0.04
    assert found(slow, rows[1100:], "drift").level == LOOK


def test_levels_and_pages():
    assert [graded(value, 1.0, 2.0) for value in (0.9, 1.0, 1.9, 2.0)] == [OK, LOOK, LOOK, BAD]
    weights = made()
    some = sparse_rows(weights, 300)
    seen = Seen(weights, data.open_source(np.concatenate([some, some])))
    told = registry.look(seen)
    assert page.worst(told) == BAD
    text, paper = page.text(seen, told), page.markdown(seen, told)
    duplicates = next(one for one in told if one.name == "near-duplicates")
    for part in (duplicates.figure, duplicates.cause, duplicates.cure):
        assert part in text and part in paper
    numbers = json.loads(json.dumps(page.as_json(seen, told)))
    assert numbers["worst"] == BAD and numbers["rows_looked_at"] == 600
    assert {one["name"]: one["level"] for one in numbers["findings"]}["near-duplicates"] == BAD


def test_bad_vectors_are_refused_and_zero_rows_are_not_counted():
    weights = made()
    some = sparse_rows(weights, 100)
    with pytest.raises(InputError, match="have width 8, the model was trained on 16"):
        Seen(weights, data.open_source(some[:, :8]))
    with pytest.raises(InputError, match="at least 50 rows with a direction, not 20"):
        registry.look(Seen(weights, data.open_source(some[:20])))
    zero = np.concatenate([some, np.zeros((40, D), np.float32)])
    assert len(Seen(weights, data.open_source(zero)).vectors) == 100
    some[70, 3] = np.inf
    with pytest.raises(InputError, match="row 70 has a value that is not finite"):
        registry.look(Seen(weights, data.open_source(some)))
