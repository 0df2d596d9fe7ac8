"""A text encoder and an autoencoder trained together, or one of them alone, on pairs of texts that belong together.

Queries stay as they are and documents are compared by their reconstructions, as the space `dense_query` serves them.
"""

import dataclasses
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import scipy.sparse
from jaxtyping import Array, Bool, Float, Int

from compressae_jax.model.compressae import CompresSAE, project_decoder
from compressae_jax.model.losses import Mix, compressae_loss, ranking
from compressae_jax.model.weights import Weights
from compressae_jax.notation import AnyArray, InputError, NonFiniteLossError, check_range
from compressae_jax.text.bert import TextEncoder
from compressae_jax.text.folders import LAYERS, TextModel
from compressae_jax.text.tokens import Padded
from compressae_jax.training.step import optimizer, schedule

Parts = dict[str, Any]  # parameters: 'text' by its modules, 'autoencoder'
TEXT, AUTOENCODER = "text", "autoencoder"
LAST = "last_layers"
WARMUP = 100  # steps, of a tenth of all at most
CLIP = 1.0  # norm of a gradient, of each part


class Arm(NamedTuple):
    """What is trained, and how much each loss weighs."""

    layers: int = 0  # the last ones of the text encoder; all of them: its embeddings, too
    autoencoder: bool = True  # without it, the ranking loss is that of the dense vectors
    ranking: float = 1.0
    reconstruction: float = 1.0
    text_rate: float = 5e-5  # of Adam, at its peak
    rate: float = 1e-3  # likewise, of the autoencoder


class Batch(NamedTuple):
    """Queries, documents (document i answers query i), and which other documents answer a query too.

    Texts are tokens, all padded to one length; an arm that trains no layer of the text encoder takes their vectors.
    """

    queries: Padded | Float[AnyArray, "p w"]
    documents: Padded | Float[AnyArray, "m w"]
    others: Bool[AnyArray, "p m"]


class State(NamedTuple):
    """What a step changes."""

    moving: Parts
    moments: Any


class Fitted(NamedTuple):
    """The best parameters by validation, those of the start among them, and how they were found."""

    text: TextModel
    weights: Weights
    step: int
    curve: list[tuple[int, float]]  # step, validation
    seconds: float  # of the steps, without validations and compilation


Step = Callable[[State, Batch], tuple[State, dict[str, Float[Array, ""]]]]


def fit(
    arm: Arm,
    text: TextModel,
    weights: Weights,
    feed: Callable[[int], Batch],
    validate: Callable[[TextModel, Weights], float],
    steps: int,
    every: int,
) -> Fitted:
    """Train from `text` and `weights` on the batches of `feed`; `validate` picks, before and after every so many steps.

    Raises:
        InputError: an arm that trains nothing, or more layers than there are.
        NonFiniteLossError: the loss left the finite numbers.
    """
    check(arm, text.module.of.depth)
    check_range("steps", steps, 1, 2**31 - 1)
    check_range("every", every, 1, 2**31 - 1)
    of = text.module.of
    moving, still = jax.device_put(split(arm, {TEXT: text.params, AUTOENCODER: weights.params}, of.depth))
    adam = optimizers(arm, steps)
    state = State(moving, jax.jit(adam.init)(moving))
    step = make_step(arm, TextEncoder(of, arm.layers % of.depth), weights.module(), adam, still)

    def as_models(moving: Parts) -> tuple[TextModel, Weights]:
        parts = jax.tree.map(np.asarray, joined(merged(moving, still)))
        trained = dataclasses.replace(weights, params=parts[AUTOENCODER], levels={}) if arm.autoencoder else weights
        return (text._replace(params=parts[TEXT]) if arm.layers else text), trained

    best = text, weights
    curve, seconds, place = [(0, float(validate(*best)))], [], 0
    for i in range(steps):
        batch = feed(i)
        start = time.perf_counter()
        state, losses = step(state, batch)
        if not np.isfinite(losses["loss"]):
            raise NonFiniteLossError(f"the loss is {losses['loss']} at step {i + 1}: lower the rates of {arm}")
        seconds.append(time.perf_counter() - start)
        if (i + 1) % every == 0 or i + 1 == steps:
            now = as_models(state.moving)
            curve.append((i + 1, float(validate(*now))))
            if curve[-1][1] > curve[place][1]:
                best, place = now, len(curve) - 1
    seconds[0] = float(np.median(seconds))  # the first one compiles
    return Fitted(*best, curve[place][0], curve, sum(seconds))


def check(arm: Arm, depth: int) -> None:
    """Raise InputError unless the arm can train a text encoder of so many layers."""
    check_range("layers", arm.layers, 0, depth)
    if not (arm.layers or arm.autoencoder):
        raise InputError("an arm must train layers of the text encoder, the autoencoder, or both")
    for name in ("ranking", "reconstruction", "text_rate", "rate"):
        if not 0 <= getattr(arm, name) < np.inf:
            raise InputError(f"{name} must be a number from 0 up, not {getattr(arm, name)!r}")
    if not arm.ranking and not (arm.autoencoder and arm.reconstruction):
        raise InputError(f"ranking={arm.ranking} and reconstruction={arm.reconstruction} leave no loss")


def split(arm: Arm, parts: Parts, depth: int) -> tuple[Parts, Parts]:
    """The parameters that the arm trains, and those that stay: no gradient is computed of these.

    Last layers that are trained without the others stand apart, as `bert.TextEncoder` has them.
    """
    text, rest = ({}, parts[TEXT]) if arm.layers < depth else (parts[TEXT], {})
    if 0 < arm.layers < depth:
        first, last = (
            jax.tree.map(lambda one, some=some: one[some], parts[TEXT][LAYERS])
            for some in (slice(0, -arm.layers), slice(-arm.layers, None))
        )
        text, rest = {LAST: last}, {**parts[TEXT], LAYERS: first}
    codes, no_codes = (dict(parts[AUTOENCODER]), {}) if arm.autoencoder else ({}, dict(parts[AUTOENCODER]))
    return {TEXT: text, AUTOENCODER: codes}, {TEXT: rest, AUTOENCODER: no_codes}


def merged(moving: Parts, still: Parts) -> Parts:
    """All parameters, as the step's module has them."""
    return {name: {**still[name], **moving[name]} for name in (TEXT, AUTOENCODER)}


def joined(parts: Parts) -> Parts:
    """The same with all layers in one place again."""
    text = dict(parts[TEXT])
    if LAST in text:
        text[LAYERS] = jax.tree.map(lambda *both: np.concatenate(both), text[LAYERS], text.pop(LAST))
    return {**parts, TEXT: text}


def optimizers(arm: Arm, steps: int) -> optax.GradientTransformation:
    """Adam for each part at its own rate, with warm-up and cosine decay, each gradient cut to its own norm."""
    rates = {TEXT: arm.text_rate, AUTOENCODER: arm.rate}
    each = {name: optimizer(schedule(rate, WARMUP, steps, 0.0), CLIP, 0.9, 0.999) for name, rate in rates.items()}
    return optax.multi_transform(each, {name: name for name in rates})


def make_step(
    arm: Arm, text: TextEncoder, module: CompresSAE, adam: optax.GradientTransformation, still: Parts
) -> Step:
    """One jitted update of what the arm trains; decoder rows go back to unit length."""

    @jax.jit
    def step(state: State, still: Parts, batch: Batch) -> tuple[State, dict[str, Array]]:
        def loss_of(moving: Parts) -> tuple[Array, dict[str, Array]]:
            return loss(arm, text, module, merged(moving, still), batch)

        (_, terms), gradient = jax.value_and_grad(loss_of, has_aux=True)(state.moving)
        changes, moments = adam.update(gradient, state.moments, state.moving)
        moving: Any = optax.apply_updates(state.moving, changes)
        if arm.autoencoder:
            moving = {**moving, AUTOENCODER: project_decoder(moving[AUTOENCODER])}
        return State(moving, moments), terms

    return lambda state, batch: step(state, still, batch)


def loss(
    arm: Arm, text: TextEncoder, module: CompresSAE, parts: Parts, batch: Batch
) -> tuple[Float[Array, ""], dict[str, Float[Array, ""]]]:
    """The weighted loss of an arm, and its terms.

    With an autoencoder, the ranking loss is the mean over reconstructions from k, 4k, k/2 and k/4 nonzeros, so that
    one training serves several budgets, and so is the loss of reconstruction (`Mix.weight_prefixes`).
    """
    queries, documents = _vectors(arm, text, parts, batch)
    others = jnp.asarray(batch.others)
    if not arm.autoencoder:
        total = arm.ranking * ranking(queries, documents, others)
        return total, {"loss": total}
    outputs: Any = module.apply({"params": parts[AUTOENCODER]}, documents, prefixes=True)
    kept = [outputs.z_k, outputs.z_4k, *outputs.z_prefixes]
    ranked = sum((ranking(queries, z, others) for z in kept), jnp.zeros(())) / len(kept)
    restored, _ = compressae_loss(documents, outputs, Mix(weight_prefixes=0.5))
    total = arm.ranking * ranked + arm.reconstruction * restored
    return total, {"loss": total, "loss_ranking": ranked, "loss_reconstruction": restored}


def _vectors(arm: Arm, text: TextEncoder, parts: Parts, batch: Batch) -> tuple[Array, Array]:
    """Of queries and documents, encoded in one go: half the compilation."""
    if not arm.layers:
        return jnp.asarray(batch.queries), jnp.asarray(batch.documents)
    together = (jnp.concatenate(both) for both in zip(batch.queries, batch.documents, strict=True))
    made: Any = text.apply({"params": parts[TEXT]}, *together)
    p = len(batch.others)
    return made[:p], made[p:]


class Drawn(NamedTuple):
    """The rows of a batch."""

    queries: Int[np.ndarray, " p"]
    documents: Int[np.ndarray, " m"]  # the answers, in order, then the others
    others: Bool[np.ndarray, "p m"]


def draw(
    pairs: Int[np.ndarray, "n 2"],
    answers: scipy.sparse.csr_matrix,
    near: Int[np.ndarray, "queries c"],
    p: int,
    more: int,
    seed: int,
    step: int,
) -> Drawn:
    """The batch of a step: p pairs of (query, document), and so many documents more, of those `near` the queries.

    `answers` (queries, documents) tells what answers what, as far as training may know. Documents beside the pairs may
    be any that a query finds, those of tests among them: were they spared, being asked for later would show.
    """
    rng = np.random.default_rng((seed, step))
    chosen = pairs[rng.choice(len(pairs), p, replace=len(pairs) < p)]
    beside = near[np.resize(chosen[:, 0], more), rng.integers(near.shape[1], size=more)]
    documents = np.concatenate([chosen[:, 1], beside])
    others = answers[chosen[:, 0]][:, documents].toarray() != 0
    others[np.arange(p), np.arange(p)] = False
    return Drawn(chosen[:, 0], documents, others)
