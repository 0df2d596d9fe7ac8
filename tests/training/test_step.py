import functools

import jax
import jax.numpy as jnp
import numpy as np
import oracle
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from compressae_jax.model import losses
from compressae_jax.model.compressae import CompresSAE
from compressae_jax.model.losses import Mix
from compressae_jax.training import sharding, state, step

D, H, K, B = 12, 32, 3, 24
W4 = 0.125
MIX = Mix(W4)
SHOWN = {"loss", "loss_k", "loss_4k", "grad_norm", "lr", "dead_share", "usage_entropy"}


def batches(count, m=1, seed=0):
    return np.random.default_rng(seed).standard_normal((count, m, B // m, D)).astype(np.float32)


def made(
    data=1,
    model=1,
    clip_norm=1.0,
    dtype="float32",
    steps=20,
    warmup=2,
    end_lr=0.0,
    mix=MIX,
    decoder_rows="unit",
    loops=None,
    **fields,
):
    module = CompresSAE(d=D, h=H, k=K, dtype=jnp.dtype(dtype), **fields)
    rate = step.schedule(1e-2, warmup, steps, end_lr)
    adam = step.optimizer(rate, clip_norm, 0.9, 0.999)
    mesh = sharding.make_mesh(data, model)
    own = {"mix": mix, "dead_after": 100, "decoder_rows": decoder_rows, "loops": loops}
    update = step.make_step(module, adam, rate, mesh, **own)
    return state.create(module, adam, mesh, seed=0), update


def host(tree):
    return jax.tree.map(np.array, tree)


@functools.lru_cache
def run(count=5, m=1, **fields):
    current, update = made(**fields)
    for batch in batches(count, m):
        current, metrics = update(current, batch)
    return host(current), host(metrics)


def test_the_loss_is_the_oracle_s_and_comes_before_the_update():
    current, update = made()
    before = host(current.params)
    x = batches(1)[0]
    _, metrics = update(current, x)
    loss_k, loss_4k = oracle.losses(before, x[0], K)[0], oracle.losses(before, x[0], 4 * K)[0]
    loss = loss_k + W4 * loss_4k
    assert set(metrics) == SHOWN
    assert_allclose(
        [metrics["loss"], metrics["loss_k"], metrics["loss_4k"]], [loss, loss_k, loss_4k], rtol=1e-5, atol=1e-6
    )


def test_pairs_are_shown_where_they_have_a_weight():
    current, update = made(mix=Mix(W4, 0.5))
    before, x = host(current.params), batches(1)[0]
    _, metrics = update(current, x)
    assert set(metrics) == {*SHOWN, "loss_pairs"}
    wanted = oracle.losses(before, x[0], K)[0] + W4 * oracle.losses(before, x[0], 4 * K)[0] + metrics["loss_pairs"] / 2
    assert_allclose(metrics["loss"], wanted, rtol=1e-5)


def test_prefixes_are_codes_of_fewer_nonzeros():
    current, update = made(mix=Mix(W4, 0.0, 0.5))
    before, x = host(current.params), batches(1)[0]
    _, metrics = update(current, x)
    wanted = oracle.losses(before, x[0], K // 2)[0]  # k=3 has no quarter
    assert_allclose(metrics["loss_prefixes"], wanted, rtol=1e-5)
    total = oracle.losses(before, x[0], K)[0] + W4 * oracle.losses(before, x[0], 4 * K)[0] + wanted / 2
    assert_allclose(metrics["loss"], total, rtol=1e-5)


@pytest.mark.devices(8)
@pytest.mark.parametrize("data,model", [(4, 2), (8, 1)])
def test_pairs_are_the_same_on_a_mesh(data, model, monkeypatch):
    monkeypatch.setattr(losses, "GROUP", B // 2)  # one device takes a batch in two parts
    run_of = {}
    for shape in [(1, 1), (data, model)]:
        current, update = made(*shape, mix=Mix(W4, 0.5))
        for batch in batches(3):
            current, metrics = update(current, batch)
        run_of[shape] = metrics["loss_pairs"]
    assert_allclose(run_of[data, model], run_of[1, 1], rtol=1e-3)


@pytest.mark.parametrize("clip_norm", [0.0, 0.01])
def test_updates_are_adam_s_on_the_clipped_gradient_with_unit_decoder_rows(clip_norm):
    current, update = made(clip_norm=clip_norm)
    params = {name: value.astype(np.float64) for name, value in host(current.params).items()}
    mean = {name: np.zeros_like(value) for name, value in params.items()}
    square = {name: np.zeros_like(value) for name, value in params.items()}
    for t, x in enumerate(batches(4), start=1):
        gradient = oracle.gradient(params, x[0], K, W4)
        norm = np.sqrt(sum((g**2).sum() for g in gradient.values()))
        shrink = min(1, clip_norm / norm) if clip_norm else 1
        lr = 1e-2 * (t - 1) / 2 if t <= 2 else 1e-2 * (1 + np.cos(np.pi * (t - 3) / 18)) / 2
        for name, g in gradient.items():
            mean[name] = 0.9 * mean[name] + 0.1 * shrink * g
            square[name] = 0.999 * square[name] + 0.001 * (shrink * g) ** 2
            hat = np.sqrt(square[name] / (1 - 0.999**t)) + 1e-8
            params[name] = params[name] - lr * mean[name] / (1 - 0.9**t) / hat
        params["decoder_w"] /= np.linalg.norm(params["decoder_w"], axis=1, keepdims=True)
        current, metrics = update(current, x)
        assert_allclose(metrics["lr"], lr, rtol=1e-6)
        assert_allclose(metrics["grad_norm"], norm, rtol=1e-5)
    for name, value in params.items():
        assert_allclose(current.params[name], value, atol=2e-5)
    assert_allclose(np.linalg.norm(current.params["decoder_w"], axis=1), 1, atol=1e-6)
    assert int(current.step) == 4


@pytest.mark.parametrize(("warmup", "peak"), [(0, 0), (3, 3), (5, 5), (9, 5)])  # cut at a tenth of the steps
@pytest.mark.parametrize("end_lr", [0.0, 0.25, 1.0])
def test_the_rate_warms_up_and_ends_where_it_should(warmup, peak, end_lr):
    rate = step.schedule(1e-2, warmup, 50, end_lr)
    assert_allclose([rate(peak), rate(50)], [1e-2, 1e-2 * end_lr], rtol=1e-6)
    assert float(rate(0)) == (0 if peak else pytest.approx(1e-2))


@pytest.mark.devices(8)
@pytest.mark.parametrize(("data", "model"), [(8, 1), (4, 2), (1, 8)])
def test_sharded_is_one_device(data, model):
    one, metrics = run()
    many, same_metrics = run(data=data, model=model)
    for name, value in one.params.items():
        assert_allclose(many.params[name], value, atol=1e-5)
    assert_array_equal(many.usage.last_fired, one.usage.last_fired)
    assert_allclose(many.usage.frequency, one.usage.frequency, rtol=1e-6)
    for name, value in metrics.items():
        assert_allclose(same_metrics[name], value, rtol=2e-5)


@pytest.mark.parametrize(("m", "data", "model"), [(3, 1, 1), pytest.param(3, 4, 2, marks=pytest.mark.devices(8))])
def test_accumulated_passes_are_the_whole_batch(m, data, model):
    whole, metrics = run()
    parts, same_metrics = run(m=m, data=data, model=model)
    for name, value in whole.params.items():
        assert_allclose(parts.params[name], value, atol=1e-5)
    assert_array_equal(parts.usage.last_fired, whole.usage.last_fired)
    for name, value in metrics.items():
        assert_allclose(same_metrics[name], value, rtol=2e-5)


@pytest.mark.devices(8)
def test_the_step_is_traced_once_and_takes_its_state():
    current, update = made(data=4, model=2)
    for batch in batches(4):
        before, (current, _) = current, update(current, batch)
        assert all(leaf.is_deleted() for leaf in jax.tree.leaves(before))
    assert update._cache_size() == 1


def test_bfloat16_products_keep_float32_parameters_and_about_the_loss():
    current, metrics = run(dtype="bfloat16")
    _, exact = run()
    assert {leaf.dtype for leaf in jax.tree.leaves(current.params)} == {np.dtype(np.float32)}
    assert metrics["loss"] != exact["loss"]
    assert_allclose(metrics["loss"], exact["loss"], rtol=0.05)


@pytest.mark.parametrize(
    "fields",
    [
        *({"activation": one} for one in ("relu_topk", "identity")),
        {"gradient": "all"},
        {"mix": Mix(W4, distance="l2")},
        *({"decoder_rows": one} for one in ("projected", "free")),
    ],
    ids=str,
)
def test_ablations_train(fields):
    current, update = made(**fields, warmup=0)
    losses = []
    for _ in range(8):
        current, metrics = update(current, batches(1)[0])
        losses.append(float(metrics["loss"]))
    assert losses[-1] < losses[0]
    lengths = np.linalg.norm(host(current.params)["decoder_w"], axis=1)
    assert (np.abs(lengths - 1) < 1e-5).all() == (fields.get("decoder_rows") != "free")


@pytest.mark.devices(8)
def test_the_first_state_is_the_seed_s_on_any_mesh():
    one, _ = made()
    many, _ = made(data=2, model=4)
    assert jax.tree.map(lambda leaf: leaf.sharding.shard_shape(leaf.shape), many.params)["decoder_w"] == (H // 4, D)
    for a, b in zip(jax.tree.leaves(host(one)), jax.tree.leaves(host(many)), strict=True):
        assert_allclose(a, b, atol=1e-7)


def test_all_finite_sees_every_leaf():
    current, _ = made()
    assert state.all_finite(current)
    for i, leaf in enumerate(jax.tree.leaves(current)):
        if leaf.dtype == jnp.float32:
            leaves = jax.tree.leaves(current)
            leaves[i] = leaf.at[(-1,) * leaf.ndim].set(jnp.nan)
            assert not state.all_finite(jax.tree.unflatten(jax.tree.structure(current), leaves))


@pytest.mark.parametrize("activation", ["topk", "relu_topk"])
@pytest.mark.parametrize("m", [1, 3])
def test_loops_and_the_jitted_step_agree(activation, m):
    ends = {}
    for loops in (True, False):
        current, update = made(loops=loops, activation=activation)
        for batch in map(jnp.asarray, batches(5, m)):
            current, metrics = update(current, batch)
        ends[loops] = host(current), host(metrics)
    assert jax.tree.structure(ends[True]) == jax.tree.structure(ends[False])
    jax.tree.map(functools.partial(assert_allclose, rtol=2e-3, atol=2e-5), *ends.values())


@pytest.mark.cpu
@pytest.mark.devices(8)
def test_loops_are_for_float32_on_one_cpu_device_where_codes_are_sparse():
    def choice(data=1, k=4, mix=MIX, **fields):
        return step.runs_as_loops(CompresSAE(d=D, h=H, k=k, **fields), sharding.make_mesh(data, 1), mix)

    assert choice()
    assert not choice(k=5) and not choice(data=2) and not choice(mix=Mix(W4, 0.5)) and not choice(mix=Mix(W4, 0, 0.5))
    assert not choice(activation="identity") and not choice(dtype=jnp.bfloat16)
    assert not choice(gradient="all") and not choice(mix=Mix(W4, distance="l2"))


def test_a_step_of_loops_leaves_the_results_of_the_one_before():
    _, update = made(loops=True)
    states = [made(loops=True)[0] for _ in range(2)]
    alone = [made(loops=True)[1](made()[0], jnp.asarray(batch)) for batch in batches(2)]
    given = [update(one, batch) for one, batch in zip(states, map(jnp.asarray, batches(2)), strict=True)]
    jax.tree.map(assert_array_equal, host(given), host(alone))
