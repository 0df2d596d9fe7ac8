"""Landmarks: what atoms they are, how many, and what the recipe makes of them."""

import dataclasses

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from oracle import unit

import compressae_jax as cs
from compressae_jax import data
from compressae_jax.data.sampling import Rest
from compressae_jax.notation import InputError, Stopped
from compressae_jax.training import interrupts, landmarks, loop

N, D = 60, 12


def some_rows(n=N):
    return (np.random.default_rng(0).standard_normal((n, D)) + 0.5).astype(np.float32)


def params(x, h, seed=0):
    return landmarks.params(h, data.open_source(x), Rest(len(x), np.empty(0, np.int64)), seed)


@pytest.mark.parametrize(
    ("rows", "h"), [(0, 4), (9, 4), (31, 4), (32, 16), (2080, 1040), (10**5, 2**15), (10**9, 2**15)]
)
def test_as_many_as_the_rows_afford(rows, h):
    assert landmarks.suited(rows, 4) == h


def test_atoms_are_rows_and_the_common_part_tells_nothing():
    x = some_rows()
    made = params(7 * x, 20)
    units = unit(x)
    near = made["decoder_w"] @ units.T
    assert_allclose(near.max(axis=1), 1, atol=1e-6)
    assert len(np.unique(near.argmax(axis=1))) == 20, "each row once"

    mean = units.mean(axis=0)
    wanted = (units - mean) @ unit(made["decoder_w"] - mean).T
    assert_allclose(units @ made["encoder_w"] + made["encoder_b"], wanted, atol=1e-5)


def test_seeds_draw_others_and_the_same_again():
    x = some_rows()
    first, again, other = params(x, 20)["decoder_w"], params(x, 20)["decoder_w"], params(x, 20, seed=1)["decoder_w"]
    assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_zero_rows_and_too_few_of_them():
    x = some_rows()
    x[::2] = 0
    made = params(x, N)
    assert np.isfinite(made["encoder_w"]).all()
    assert_allclose(np.linalg.norm(made["decoder_w"], axis=1), 1, atol=1e-6)
    with pytest.raises(InputError, match="h=61 landmarks are rows of the data, of which there are 60"):
        params(x, N + 1)


@pytest.fixture(scope="module")
def model():
    return cs.fit(some_rows(), recipe="sparse", k=4, progress=False)


def test_the_recipe_is_the_same_each_time(model, tmp_path):
    assert (model.h, model.k, model.weights.activation, model.weights.query_times) == (16, 4, "relu2_topk", 2)
    held = [cs.fit(some_rows(), recipe="sparse", k=4, progress=False, workdir=tmp_path / "run") for _ in range(2)]
    assert {one.weights.fingerprint for one in held} == {model.weights.fingerprint}
    with pytest.raises(InputError, match="neighbour_steps was 12, now 3"):
        cs.fit(some_rows(), recipe="sparse", k=4, neighbour_steps=3, progress=False, workdir=tmp_path / "run")
    with pytest.raises(InputError, match="init_encoder was 'landmarks', now None"):
        others = {"init_encoder": "transpose", "activation": "topk", "refine_rounds": 1, "neighbour_steps": 0}
        cs.fit(some_rows(), recipe="sparse", k=4, progress=False, workdir=tmp_path / "run", **others)


def test_the_encoder_alone_is_moved_and_sees_rows_less_their_mean(model):
    drawn = cs.fit(some_rows(), recipe="sparse", k=4, neighbour_steps=0, progress=False).weights.params
    moved = model.weights.params
    assert_array_equal(moved["decoder_w"], drawn["decoder_w"])
    assert not np.allclose(moved["encoder_w"], drawn["encoder_w"], atol=1e-3)
    mean = unit(some_rows()).mean(axis=0)
    assert_allclose(mean @ moved["encoder_w"], -moved["encoder_b"], atol=1e-6)


def test_zero_rows_move_nothing():
    x = np.concatenate([some_rows(), np.zeros((9, D), np.float32)])
    drawn, source = params(x[:N], 16), data.open_source(x)
    every, zeros = Rest(len(x), np.empty(0, np.int64)), Rest(len(x), np.arange(N))
    assert_array_equal(landmarks.tuned(drawn, 4, source, zeros, 0, 2)["encoder_w"], drawn["encoder_w"])
    assert np.isfinite(landmarks.tuned(drawn, 4, source, every, 0, 2)["encoder_w"]).all()


def test_a_row_that_is_there_many_times_is_looked_at_once(monkeypatch):
    seen, move = [], landmarks.neighbours.moved
    monkeypatch.setattr(landmarks.neighbours, "moved", lambda w, k, x, *more: seen.append(x) or move(w, k, x, *more))
    x = some_rows()
    x[20:] = x[3]
    landmarks.tuned(params(x, 16), 4, data.open_source(x), Rest(N, np.empty(0, np.int64)), 0, 1)
    assert_allclose(seen[0], unit(x[:20]), atol=1e-6)


@pytest.mark.parametrize(("k", "rows"), [(1, N), (4, 3), (8, 2)])
def test_rows_looked_at_fit_into_memory_at_any_width_and_k(k, rows, monkeypatch):
    seen = []
    monkeypatch.setattr(landmarks, "NUMBERS", D * N if k == 1 else 40)
    monkeypatch.setattr(landmarks.neighbours, "moved", lambda atoms, k, x, *_: seen.append(len(x)) or iter([atoms]))
    x = some_rows()
    landmarks.tuned(params(x, 16), k, data.open_source(x), Rest(N, np.empty(0, np.int64)), 0, 1)
    assert seen == [rows]


def test_a_run_that_is_told_to_stop_says_so_and_starts_anew(model, tmp_path):
    class Impatient(interrupts.Watch):
        def asked(self, done):
            return True

    with pytest.MonkeyPatch.context() as patched, pytest.raises(Stopped, match="stopped while landmarks were moved"):
        patched.setattr(loop, "Watch", Impatient)
        cs.fit(some_rows(), recipe="sparse", k=4, progress=False, workdir=tmp_path / "run")
    again = cs.fit(some_rows(), recipe="sparse", k=4, progress=False, workdir=tmp_path / "run")
    assert again.weights.fingerprint == model.weights.fingerprint


@pytest.mark.parametrize("fields", [{"activation": "topk"}, {"init_encoder": "transpose", "steps": 1}])
def test_only_landmarks_of_squares_are_moved(fields):
    with pytest.raises(InputError, match="neighbour_steps=12 move landmarks: they need"):
        cs.fit(some_rows(), recipe="sparse", k=4, progress=False, **fields)


def test_its_card_says_that_it_holds_rows(model, tmp_path):
    model.save(tmp_path / "model")
    assert "whoever has the model has these vectors" in (tmp_path / "model" / "README.md").read_text()


def test_steps_and_rounds_begin_with_them(model):
    trained = cs.fit(some_rows(), recipe="sparse", k=4, steps=1, lr=1e-9, batch=16, progress=False).weights
    for name, array in model.weights.params.items():
        assert_allclose(trained.params[name], array, atol=1e-6)
    rounds = {"activation": "topk", "refine_rounds": 1, "neighbour_steps": 0}
    more = cs.fit(some_rows(), recipe="sparse", k=4, progress=False, **rounds)
    assert more.weights.encoder == "pursuit"


def test_a_model_that_goes_on_asks_as_its_start_does(model):
    assert cs.fit(some_rows(), start=model, steps=1, batch=16, progress=False).weights.query_times == 2
    for recipe in ("continue", "sparse"):
        with pytest.raises(InputError, match="neighbour_steps=3 move landmarks that a run draws"):
            cs.fit(some_rows(), start=model, recipe=recipe, neighbour_steps=3, progress=False)


@pytest.mark.parametrize("times", [1, 2, 9])
def test_a_query_has_more_nonzeros_in_the_sparse_space_alone(times, model):
    asked = cs.Model(dataclasses.replace(model.weights, query_times=times))
    x, queries = some_rows(), some_rows(80)[N:]
    rows = asked.compress(x, storage="float32", progress=False)
    u = asked.index(rows, space="sparse").expander.expand(queries)
    wanted = np.maximum(unit(queries) @ model.weights.params["encoder_w"] + model.weights.params["encoder_b"], 0) ** 2
    wanted[wanted < -np.sort(-wanted, axis=1)[:, [min(4 * times, 16) - 1]]] = 0
    assert_allclose(u, unit(wanted), atol=1e-5)

    cut = asked.index(rows.prefix(2), space="sparse").expander.expand(queries)
    assert ((cut != 0).sum(axis=1) <= 2 * times).all() and (times > 1 or (cut != 0).sum() == 2 * len(queries))
    of_codes = asked.index(rows, space="sparse").expander.expand(asked.compress(queries, progress=False))
    assert ((of_codes != 0).sum(axis=1) <= 4).all(), "a code has what it has"
    for space in ("reconstructed", "dense_query"):
        same = [one.index(rows, space=space).expander.expand(queries) for one in (asked, model)]
        assert_array_equal(*same)


def test_neighbours_share_landmarks():
    x = data.load("shop").vectors
    rows = x.read(0, len(x))
    model = cs.fit(rows[100:], recipe="sparse", progress=False)
    truth = np.argsort(-unit(rows[:100]) @ unit(rows[100:]).T, axis=1)[:, :100]
    recalls = []
    for times in (1, 2):
        asked = cs.Model(dataclasses.replace(model.weights, query_times=times))
        found = asked.index(rows[100:], space="sparse", progress=False).search(rows[:100], top=100).rows
        recalls.append(np.mean([np.isin(one, other).mean() for one, other in zip(found, truth, strict=True)]))
    assert recalls[0] > 0.38 and recalls[1] > recalls[0] + 0.08
