"""One update, jitted: the gradient of a batch, Adam, unit decoder rows; what runs it again and again is `loop`."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, Float, Int

from compressae_jax.model.compressae import CompresSAE, Params, project_decoder
from compressae_jax.model.losses import Mix, compressae_loss
from compressae_jax.training import sharding, usage
from compressae_jax.training import state as states
from compressae_jax.training.state import State

Metrics = dict[str, Array]  # scalars: loss and its terms, grad_norm, lr, dead_share, usage_entropy
Step = Callable[[State, Array], tuple[State, Metrics]]


class Pass(NamedTuple):
    """What a batch says about the parameters."""

    losses: dict[str, Float[Array, ""]]  # loss, loss_k, loss_4k, and of pairs and prefixes where weighted
    counts: Int[Array, " h"]  # rows that each latent fired for
    gradient: Params


def schedule(lr: float, warmup_steps: int, steps: int, end_lr: float) -> optax.Schedule:
    """Linear from 0 to `lr`, for a tenth of the steps at most, then a cosine down to `end_lr` · `lr` at `steps`."""
    return optax.warmup_cosine_decay_schedule(0.0, lr, min(warmup_steps, steps // 10), steps, end_value=lr * end_lr)


def optimizer(rate: optax.Schedule, clip_norm: float, b1: float, b2: float) -> optax.GradientTransformation:
    """Adam on gradients whose norm over all parameters is cut at `clip_norm` (0: not cut)."""
    adam = optax.adam(rate, b1=b1, b2=b2)
    return optax.chain(optax.clip_by_global_norm(clip_norm), adam) if clip_norm else adam


def one_pass(module: CompresSAE, params: Params, x: Float[Array, "b d"], mix: Mix, lanes: int = 1) -> Pass:
    """Losses, firing counts and gradient of one microbatch, in `lanes` independent parts (see `lanes_of`)."""

    def part_of(params: Params, x: Array) -> tuple[Any, Array]:
        outputs: Any = module.apply({"params": params}, x, prefixes=mix.weight_prefixes > 0)
        loss, terms = compressae_loss(x, outputs, mix)
        return {"loss": loss, **terms}, usage.count(jax.lax.stop_gradient(outputs.s_k))

    def loss_of(params: Params) -> tuple[Array, Any]:
        losses, counts = zip(*(part_of(params, part) for part in jnp.split(x, lanes)), strict=True)
        mean = jax.tree.map(lambda *parts: sum(parts) / lanes, *losses)
        return mean["loss"], (mean, sum(counts))

    gradient, (losses, counts) = jax.grad(loss_of, has_aux=True)(params)
    return Pass(losses, counts, gradient)


def lanes_of(mesh: Mesh, rows: int) -> int:
    """Into how many independent parts to cut a pass.

    XLA selects on one core of a CPU; in two parts it multiplies for one while it selects for the other, which is faster
    (benchmarks/train_step.py times both). Other devices, and meshes, take a pass whole.
    """
    return 2 if mesh.size == 1 and mesh.devices.flat[0].platform == "cpu" and rows % 2 == 0 else 1


def accumulate(module: CompresSAE, params: Params, batch: Float[Array, "m b d"], mix: Mix, lanes: int = 1) -> Pass:
    """The pass of a whole batch, one of its m microbatches in memory at a time; their mean, divided once."""
    if batch.shape[0] == 1:
        return one_pass(module, params, batch[0], mix, lanes)

    def add(total: Pass, x: Array) -> tuple[Pass, None]:
        return jax.tree.map(jnp.add, total, one_pass(module, params, x, mix, lanes)), None

    shapes = jax.eval_shape(lambda x: one_pass(module, params, x, mix, lanes), batch[0])
    nothing = jax.tree.map(lambda shape: jnp.zeros(shape.shape, shape.dtype), shapes)
    total, _ = jax.lax.scan(add, nothing, batch)
    losses, gradient = jax.tree.map(lambda part: part / batch.shape[0], (total.losses, total.gradient))
    return Pass(losses, total.counts, gradient)


def update(
    state: State,
    batch: Float[Array, "m b d"],
    *,
    module: CompresSAE,
    adam: optax.GradientTransformation,
    rate: optax.Schedule,
    mix: Mix,
    dead_after: int,
    lanes: int = 1,
) -> tuple[State, Metrics]:
    """The state after one more batch, and what to show of it; `dead_after` is in steps."""
    seen = accumulate(module, state.params, batch, mix, lanes)
    changes, opt_state = adam.update(seen.gradient, state.opt_state, state.params)
    params = project_decoder(optax.apply_updates(state.params, changes))
    used = usage.observe(state.usage, seen.counts, state.step)
    metrics = {
        **seen.losses,
        "grad_norm": optax.global_norm(seen.gradient),
        "lr": jnp.asarray(rate(state.step)),
        "dead_share": usage.dead_share(used, state.step, dead_after),
        "usage_entropy": usage.entropy(used),
    }
    return State(state.step + 1, params, opt_state, used), metrics


def make_step(
    module: CompresSAE,
    adam: optax.GradientTransformation,
    rate: optax.Schedule,
    mesh: Mesh,
    *,
    mix: Mix,
    dead_after: int,
    lanes: int | None = None,
) -> Step:
    """`update`, jitted with the layouts of the table; the state that goes in is donated."""
    placed = states.layouts(states.abstract(module, adam, mesh))

    def step(state: State, batch: Array) -> tuple[State, Metrics]:
        fixed = {"module": module, "adam": adam, "rate": rate, "mix": mix, "dead_after": dead_after}
        return update(state, batch, **fixed, lanes=lanes or lanes_of(mesh, batch.shape[1]))

    return jax.jit(
        step,
        in_shardings=(placed, sharding.of(mesh, "batch")),
        out_shardings=(placed, NamedSharding(mesh, P())),
        donate_argnums=0,
    )
