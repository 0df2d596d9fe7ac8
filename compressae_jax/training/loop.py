"""The job of training, from a config and a source to weights; each named step of it is a neighbour's."""

import contextlib
import copy
import dataclasses
import functools
import math
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh
from jaxtyping import Int

from compressae_jax import data
from compressae_jax.data.sources import Source
from compressae_jax.model import weights as model_weights
from compressae_jax.model.budgets import Budget, choose
from compressae_jax.model.compressae import CompresSAE
from compressae_jax.model.losses import Mix
from compressae_jax.model.weights import Weights
from compressae_jax.notation import AnyArray, InputError, Stopped, check_range
from compressae_jax.training import corpus, recipes, records, refine, sharding, usage
from compressae_jax.training import state as states
from compressae_jax.training import step as updates
from compressae_jax.training.checkpoints import Checkpoints
from compressae_jax.training.feed import Feed
from compressae_jax.training.interrupts import Watch
from compressae_jax.training.meter import Meter
from compressae_jax.training.state import State

Fields = dict[str, Any]
Validate = Callable[[Weights], dict[str, float]]

BUDGET_ROUNDS = 15  # of `refine`, where a budget asks for pursuit and the config says nothing else
BEST_BY = "recall@100"  # of the validation: its best checkpoint is kept besides the newest
MODEL, CHECKPOINTS, CACHE, REFINED = (
    "model",
    "checkpoints",
    "cache",
    "refined",
)  # in a run folder, besides those of `records`


@dataclasses.dataclass(frozen=True)
class Job:
    """What is fixed before the first step."""

    module: CompresSAE
    mesh: Mesh
    start: Callable[[], State]
    like: State  # shapes, dtypes and layouts
    step: updates.Step


def train(
    fields: Mapping[str, Any],
    source: Source,
    rows: Int[np.ndarray, " n"],
    folder: str | os.PathLike | None = None,
    validate: Validate | None = None,
    progress: bool = True,
) -> Weights:
    """Train on some rows of a source; with a `folder` the run survives its end by any signal and continues.

    `fields`, plain and nested: seed, data.zero_rows, model, train, mesh, budget_bytes; others are only written down.

    The order of a start, the first or a later one:
    1. the config is checked, against the one in the run folder too; a finished run returns its model;
    2. the source is read once (values, zero rows), and staged where rows cannot be taken by number;
    3. the config is written down;
    4. the state is the newest undamaged checkpoint's, put straight into its layout, else drawn from the seed;
    5. metrics.jsonl loses the lines after that step;
    6. steps run from there, each with the batch that seed and step say;
    7. rounds of `refine` follow, where the config asks for them.

    Raises:
        InputError: an illegal config, one that differs from the run folder's, or a bad source.
        NonFiniteLossError: the loss left the finite numbers.
        Stopped: SIGTERM came; what was trained is kept.
    """
    config, use = _within_budget(fields, source.width, len(rows))
    _check(config)
    folder = None if folder is None else Path(folder)
    shown = progress and jax.process_index() == 0
    record = _record(config, source, rows)
    if folder is not None:
        records.check_config(folder, record)
        if (folder / MODEL).exists():
            return model_weights.load(folder / MODEL)
    rows = corpus.usable_rows(source, rows, config["data"]["zero_rows"], shown)
    near = corpus.within_reach(source, folder / CACHE if folder is not None else None, shown)
    job = _job(config, source.width, len(rows))
    with contextlib.ExitStack() as opened:
        keeper = None
        if folder is not None:
            _write_once(folder, record)
            keeper = opened.enter_context(Checkpoints(folder / CHECKPOINTS, config["train"]["keep_last"]))
        state = (keeper.restore(job.like) if keeper else None) or job.start()
        done = int(state.step)
        log = records.Log(folder, done) if folder is not None and jax.process_index() == 0 else None
        meter = opened.enter_context(_meter(config, log, done, shown, keeper))
        meter.say(f"training on {_devices(job.mesh)}" + (f", from step {done}" if done else ""))
        feed = opened.enter_context(_feed(config, near, rows, job.mesh))
        watch = opened.enter_context(Watch()) if keeper else None
        state = _steps(config["train"], job, state, feed, meter, keeper, watch, validate)
        return _finish(config, source, near, rows, job, state, meter, folder, shown, use, watch)


def fit(
    source: Source | AnyArray | str | os.PathLike,
    workdir: str | os.PathLike | None = None,
    recipe: str = "default",
    seed: int = 0,
    progress: bool = True,
    zero_rows: str = "stop",
    budget_bytes: int = 0,
    **fields: Any,
) -> Weights:
    """Train on all rows of a source by a recipe, some of its fields changed; without a `workdir` no file is written.

    Raises:
        InputError: an unknown field or recipe, a value out of range, or a bad source.
        NonFiniteLossError: the loss left the finite numbers.
    """
    opened = data.open_source(source)
    table = recipes.with_fields(recipes.recipe(recipe), fields)
    if budget_bytes and (both := {"h", "k", "steps"} & set(fields)):
        raise InputError(f"budget_bytes chooses {' and '.join(sorted(both))}; give one or the other")
    recipes.check(table)
    # A notebook should run on any number of devices: as many share a pass as divide it.
    devices = math.gcd(jax.device_count(), _pass_rows(table["train"]["batch"], table["train"]["microbatch"]))
    own = {
        "seed": seed,
        "data": {"zero_rows": zero_rows},
        "mesh": {"data": devices, "model": 1},
        "budget_bytes": budget_bytes,
    }
    return train({**own, **table}, opened, np.arange(len(opened)), workdir, progress=progress)


def _within_budget(fields: Fields, d: int, n: int) -> tuple[Fields, Budget | None]:
    """The fields with the h, k and rounds that a budget of bytes chooses, and the budget."""
    own = copy.deepcopy(fields)
    if not fields["budget_bytes"]:
        return own, None
    chosen = choose(fields["budget_bytes"], d, n)
    own["model"] |= {"h": chosen.h, "k": chosen.k}
    own["train"] |= {"steps": 0, "refine_rounds": fields["train"]["refine_rounds"] or BUDGET_ROUNDS}
    return own, chosen


def _check(config: Fields) -> None:
    recipes.check({name: config[name] for name in recipes.DEFAULT})
    check_range("seed", config["seed"], 0, 2**31 - 1)


def _record(config: Fields, source: Source, rows: Int[np.ndarray, " n"]) -> records.Record:
    sample = corpus.fingerprint(source, rows)
    return {**config, "source": {**source.summary(), "sample": sample}}


def _write_once(folder: Path, record: records.Record) -> None:
    _together("checked")
    if jax.process_index() == 0:
        records.write_config(folder, record)
    _together("written")


def _pass_rows(batch: int, microbatch: int) -> int:
    return microbatch or batch


def _job(config: Fields, d: int, n: int) -> Job:
    """The jitted step for vectors of width d, of which n are trained on, and the state that it starts from."""
    model, t = config["model"], config["train"]
    mesh = sharding.make_mesh(config["mesh"]["data"], config["mesh"]["model"])
    sharding.check_sizes(mesh, model["h"], _pass_rows(t["batch"], t["microbatch"]))
    module = CompresSAE(
        d=d,
        h=model["h"],
        k=model["k"],
        activation=model["activation"],
        init_encoder=model["init_encoder"],
        dtype=jnp.dtype(model["dtype"]),
    )
    rate = updates.schedule(t["lr"], t["warmup_steps"], max(1, t["steps"]), t["end_lr"])
    adam = updates.optimizer(rate, t["clip_norm"], t["b1"], t["b2"])
    dead_after = usage.window(n, t["batch"])
    step = updates.make_step(
        module,
        adam,
        rate,
        mesh,
        mix=Mix(t["weight_4k"], t["weight_pairs"], t["weight_prefixes"]),
        dead_after=dead_after,
    )
    like = states.abstract(module, adam, mesh)
    return Job(module, mesh, lambda: states.create(module, adam, mesh, config["seed"]), like, step)


def _feed(config: Fields, source: Source, rows: Int[np.ndarray, " n"], mesh: Mesh) -> Feed:
    t = config["train"]
    sizes = {"steps": t["steps"], "batch": t["batch"], "microbatch": _pass_rows(t["batch"], t["microbatch"])}
    return Feed(source, rows, sharding.of(mesh, "batch"), seed=config["seed"], **sizes)


def _meter(config: Fields, log: records.Log | None, done: int, shown: bool, keeper: Checkpoints | None) -> Meter:
    t = config["train"]
    last_good = (lambda: keeper.newest) if keeper else (lambda: "none without a workdir")
    return Meter(
        log, done=done, steps=t["steps"], batch=t["batch"], every=t["log_every"], shown=shown, last_good=last_good
    )


def _steps(
    t: Mapping[str, Any],
    job: Job,
    state: State,
    feed: Feed,
    meter: Meter,
    keeper: Checkpoints | None,
    watch: Watch | None,
    validate: Validate | None,
) -> State:
    """The steps that are left, with the validations and checkpoints that are due between them."""
    for step in range(int(state.step), t["steps"]):
        state, metrics = job.step(state, feed.batch(step))
        done = step + 1
        meter.dispatched(done, metrics)
        scores: dict[str, float] = {}
        if validate is not None and _due(done, t["validate_every"], t["steps"]):
            scores = meter.settle(functools.partial(_validated, validate, job, state, meter))
        stop = watch is not None and watch.asked(done)
        if keeper is not None and (stop or _due(done, t["checkpoint_every"], t["steps"])):
            meter.settle()
            meter.check(done, states.all_finite(state))
            meter.sync()
            keeper.save(state, scores.get(BEST_BY))
        if stop and keeper is not None and done < t["steps"]:
            keeper.wait()
            raise Stopped(f"stopped at step {done}; the same command continues")
    meter.settle()
    meter.check(t["steps"], states.all_finite(state))
    return state


def _due(done: int, every: int, steps: int) -> bool:
    return done == steps or (every > 0 and done % every == 0)


def _validated(validate: Validate, job: Job, state: State, meter: Meter) -> dict[str, float]:
    scores = validate(_weights(job, state, {}))
    meter.say(f"step {int(state.step)}: " + ", ".join(f"{name} {value:.3f}" for name, value in scores.items()))
    return scores


def _weights(job: Job, state: State, summary: dict[str, Any]) -> Weights:
    """Copies in memory of this process, whatever devices and processes hold the parameters."""
    params = state.params
    if jax.process_count() > 1:
        params = multihost_utils.process_allgather(params, tiled=True)
    arrays = {name: np.array(value, np.float32) for name, value in params.items()}
    return Weights(arrays, job.module.h, job.module.k, job.module.activation, summary)


def _finish(
    config: Fields,
    source: Source,
    near: Source,
    rows: Int[np.ndarray, " n"],
    job: Job,
    state: State,
    meter: Meter,
    folder: Path | None,
    shown: bool,
    use: Budget | None,
    watch: Watch | None,
) -> Weights:
    """The weights, refined where asked for, with the story of their training; a run folder gets its model now."""
    summary = {
        "steps": config["train"]["steps"],
        "rows_seen": config["train"]["steps"] * config["train"]["batch"],
        "seconds": round(meter.seconds, 1),
        "metrics": meter.last,
        "seed": config["seed"],
        "model": config["model"],
        "train": config["train"],
        "source": source.summary(),
    }
    weights = _weights(job, state, summary)
    if config["train"]["refine_rounds"]:
        if not config["train"]["steps"]:
            weights = refine.start(weights, near, rows, config["seed"])
        kept = None if folder is None else folder / REFINED
        _together("refine")  # all begin from the round that is kept, before the first process writes the next
        stop = functools.partial(_stop_after, watch, config["train"]["steps"])
        weights = refine.refine(
            weights, near, rows, config["train"]["refine_rounds"], config["seed"], kept, shown, stop
        )
    if use is not None:
        weights = dataclasses.replace(weights, encoder=use.encoder, storage=use.storage)
    if folder is not None:
        if jax.process_index() == 0:
            model_weights.save(weights, folder / MODEL)
            shutil.rmtree(folder / REFINED, ignore_errors=True)
        _together("finished")
    return weights


def _stop_after(watch: Watch | None, steps: int, rounds: int) -> bool:
    return watch is not None and watch.asked(steps + rounds)


def _together(name: str) -> None:
    """Wait for the other processes, where there are any."""
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(name)


def _devices(mesh: Mesh) -> str:
    kind = mesh.devices.flat[0].device_kind
    return (
        f"{mesh.size} × {kind} ({jax.default_backend()}), mesh data={mesh.shape['data']} × model={mesh.shape['model']}"
    )
