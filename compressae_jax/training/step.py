"""One update: the gradient of a batch, Adam, unit decoder rows; what runs it again and again is `loop`."""

import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, Float, Int

from compressae_jax.codes.on_device import unit_rows
from compressae_jax.model.compressae import DECODER_ROWS, CompresSAE, Params, project_decoder, without_radial
from compressae_jax.model.losses import Mix, compressae_loss
from compressae_jax.notation import AnyArray, check_choice
from compressae_jax.training import pass_host, sharding, usage
from compressae_jax.training import state as states
from compressae_jax.training.state import State

Metrics = dict[str, Array]  # scalars: loss and its terms, grad_norm, lr, dead_share, usage_entropy
Step = Callable[[State, Array], tuple[State, Metrics]]
SPARSE = 8  # h/k from which the loops are clearly the faster pass, on two cores


class Pass(NamedTuple):
    """What a batch says about the parameters."""

    losses: dict[str, Float[AnyArray, ""]]  # loss, loss_k, loss_4k, and of pairs and prefixes where weighted
    counts: Int[AnyArray, " h"]  # rows that each latent fired for
    gradient: Mapping[str, AnyArray]


def schedule(lr: float, warmup_steps: int, steps: int, end_lr: float) -> optax.Schedule:
    """Linear from 0 to `lr`, for a tenth of the steps at most, then a cosine down to `end_lr` · `lr` at `steps`."""
    return optax.warmup_cosine_decay_schedule(0.0, lr, min(warmup_steps, steps // 10), steps, end_value=lr * end_lr)


def optimizer(rate: optax.Schedule, clip_norm: float, b1: float, b2: float) -> optax.GradientTransformation:
    """Adam on gradients whose norm over all parameters is cut at `clip_norm` (0: not cut)."""
    adam = optax.adam(rate, b1=b1, b2=b2)
    return optax.chain(optax.clip_by_global_norm(clip_norm), adam) if clip_norm else adam


def one_pass(module: CompresSAE, params: Params, x: Float[Array, "b d"], mix: Mix) -> Pass:
    """Losses, firing counts and gradient of one microbatch."""

    def loss_of(params: Params) -> tuple[Array, Any]:
        outputs: Any = module.apply({"params": params}, x, prefixes=mix.weight_prefixes > 0)
        loss, terms = compressae_loss(x, outputs, mix)
        return loss, ({"loss": loss, **terms}, usage.count(jax.lax.stop_gradient(outputs.s_k)))

    gradient, (losses, counts) = jax.grad(loss_of, has_aux=True)(params)
    return Pass(losses, counts, gradient)


def accumulate(module: CompresSAE, params: Params, batch: Float[Array, "m b d"], mix: Mix) -> Pass:
    """The pass of a whole batch, one of its m microbatches in memory at a time; their mean, divided once."""
    if batch.shape[0] == 1:
        return one_pass(module, params, batch[0], mix)

    def add(total: Pass, x: Array) -> tuple[Pass, None]:
        return jax.tree.map(jnp.add, total, one_pass(module, params, x, mix)), None

    shapes = jax.eval_shape(lambda x: one_pass(module, params, x, mix), batch[0])
    nothing = jax.tree.map(lambda shape: jnp.zeros(shape.shape, shape.dtype), shapes)
    total, _ = jax.lax.scan(add, nothing, batch)
    return _mean(total, batch.shape[0])


def _mean(total: Pass, microbatches: int) -> Pass:
    losses, gradient = jax.tree.map(lambda part: part / microbatches, (total.losses, total.gradient))
    return Pass(losses, total.counts, gradient)


def advance(
    state: State,
    seen: Pass,
    *,
    adam: optax.GradientTransformation,
    rate: optax.Schedule,
    dead_after: int,
    decoder_rows: str = "unit",
) -> tuple[State, Metrics]:
    """The state after one more batch, of which `seen` is the pass, and what to show; `dead_after` is in steps.

    `decoder_rows` go back to 'unit' length; or so by a gradient that was 'projected' on directions first; or stay
    'free'.
    """
    gradient = without_radial(seen.gradient, state.params) if decoder_rows == "projected" else seen.gradient
    changes, opt_state = adam.update(gradient, state.opt_state, state.params)
    params = optax.apply_updates(state.params, changes)
    params = params if decoder_rows == "free" else project_decoder(params)
    used = usage.observe(state.usage, jnp.asarray(seen.counts), state.step)
    metrics = {
        **seen.losses,
        "grad_norm": optax.global_norm(seen.gradient),
        "lr": jnp.asarray(rate(state.step)),
        "dead_share": usage.dead_share(used, state.step, dead_after),
        "usage_entropy": usage.entropy(used),
    }
    return State(state.step + 1, params, opt_state, used), metrics


def runs_as_loops(module: CompresSAE, mesh: Mesh, mix: Mix) -> bool:
    """Whether a pass runs as the compiled loops of `pass_host`: float32 on one CPU device, 4k a small part of h.

    There a step is 4 to 5 times as fast as the jitted one (benchmarks.train_step times both).
    """
    return (
        mesh.size == 1
        and mesh.devices.flat[0].platform == "cpu"
        and module.activation in ("topk", "relu_topk")
        and module.dtype == jnp.float32
        and SPARSE * module.k <= module.h
        and module.gradient == "kept"
        and mix.distance == "cosine"
        and not (mix.weight_pairs or mix.weight_prefixes)
    )


def make_step(
    module: CompresSAE,
    adam: optax.GradientTransformation,
    rate: optax.Schedule,
    mesh: Mesh,
    *,
    mix: Mix,
    dead_after: int,
    decoder_rows: str = "unit",
    loops: bool | None = None,
) -> Step:
    """One step with the layouts of the table; the state that goes in is donated.

    `loops`: whether the pass runs as compiled loops; by default where `runs_as_loops`. Otherwise all of it is jitted.
    """
    placed = states.layouts(states.abstract(module, adam, mesh))
    rows, whole = sharding.of(mesh, "batch"), NamedSharding(mesh, P())
    check_choice("decoder_rows", decoder_rows, DECODER_ROWS)
    end = functools.partial(advance, adam=adam, rate=rate, dead_after=dead_after, decoder_rows=decoder_rows)
    if runs_as_loops(module, mesh, mix) if loops is None else loops:

        def transposed(state: State, seen: Pass) -> tuple[State, Metrics]:
            gradient = {**seen.gradient, "encoder_w": seen.gradient["encoder_w"].T}
            return end(state, Pass(seen.losses, seen.counts, gradient))

        return _step_as_loops(module, mix, jax.jit(transposed, out_shardings=(placed, whole), donate_argnums=0))

    def step(state: State, batch: Array) -> tuple[State, Metrics]:
        return end(state, accumulate(module, state.params, batch, mix))

    return jax.jit(step, in_shardings=(placed, rows), out_shardings=(placed, whole), donate_argnums=0)


def _step_as_loops(module: CompresSAE, mix: Mix, end: Callable[[State, Pass], tuple[State, Metrics]]) -> Step:
    """A step with the pre-activations and the update jitted and what is between them by `pass_host`.

    `end` is the update; it takes the gradient of W_e transposed.
    """
    passes: dict[int, pass_host.Workspace] = {}
    last: Metrics = {}  # of the step before, which may still read the workspace

    @jax.jit
    def begin(params: Params, x: Array) -> tuple[Array, Array]:
        a: Any = module.apply({"params": params}, x, method="pre_activations")
        return jax.nn.relu(a) if module.activation == "relu_topk" else a, unit_rows(x)

    def one(params: Params, x: AnyArray) -> Pass:
        if len(x) not in passes:
            passes[len(x)] = pass_host.Workspace(module, mix, len(x))
        a, unit = map(np.asarray, begin(params, x))
        cosines, counts, gradient = passes[len(x)](a, unit, np.asarray(params["decoder_w"]))
        loss_k, loss_4k = (1 - cosines.mean(axis=0, dtype=np.float64)).astype(np.float32)
        losses = {"loss": loss_k + np.float32(mix.weight_4k) * loss_4k, "loss_k": loss_k, "loss_4k": loss_4k}
        return Pass({name: np.asarray(loss) for name, loss in losses.items()}, counts, gradient)

    def step(state: State, batch: AnyArray) -> tuple[State, Metrics]:
        nonlocal last
        jax.block_until_ready(last)
        seen = one(state.params, batch[0])
        if len(batch) > 1:
            seen = jax.tree.map(np.array, seen)
            for x in batch[1:]:
                seen = jax.tree.map(np.add, seen, one(state.params, x))
            seen = _mean(seen, len(batch))
        state, last = end(state, seen)
        return state, last

    return step
