"""The job of training, from fields and a source to weights; each named step of it is a neighbour's."""

import contextlib
import dataclasses
import functools
import math
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xxhash
from jax.experimental import multihost_utils
from jax.sharding import Mesh

from compressae_jax import data
from compressae_jax.base import files
from compressae_jax.codes import on_host
from compressae_jax.codes.storage.kinds import ADDITIVE, levels_name, storage_bits
from compressae_jax.compression import drift
from compressae_jax.data.identity import Identity
from compressae_jax.data.sampling import VERSION, Rest
from compressae_jax.data.sources import Source
from compressae_jax.model import additive, compressae, encoders, residual
from compressae_jax.model import weights as model_weights
from compressae_jax.model.budgets import Budget
from compressae_jax.model.compressae import CompresSAE
from compressae_jax.model.losses import Mix
from compressae_jax.model.weights import Weights
from compressae_jax.notation import AnyArray, BusyError, check_range
from compressae_jax.training import (
    codebooks,
    continued,
    corpus,
    landmarks,
    plan,
    processes,
    recipes,
    records,
    refine,
    resolved,
    sharding,
    stages,
    usage,
)
from compressae_jax.training import state as states
from compressae_jax.training import step as updates
from compressae_jax.training.checkpoints import Checkpoints, Saved
from compressae_jax.training.feed import Feed
from compressae_jax.training.interrupts import Watch
from compressae_jax.training.meter import Meter
from compressae_jax.training.plan import Stage
from compressae_jax.training.state import State

Fields = dict[str, Any]
Params = dict[str, np.ndarray]
Validate = Callable[[Weights], dict[str, float]]

MODEL, CHECKPOINTS = "model", "checkpoints"  # in a run folder, besides those of `records` and `corpus`
RESIDUAL_ROWS = 2**15  # that the basis of what is left is learned from
HELD_OUT, SHARE = 1000, 20  # rows that `fit` holds out: so many, but at most one of twenty


@dataclasses.dataclass(frozen=True)
class Job:
    """What is fixed before the first gradient step."""

    module: CompresSAE
    mesh: Mesh
    start: Callable[[stages.Keeping], State]
    like: State  # shapes, dtypes and layouts
    step: updates.Step


@dataclasses.dataclass(frozen=True)
class Run:
    """What was asked for: fields with what a budget chose in its place, the stages that follow from them, the data."""

    fields: Fields
    plan: list[Stage]
    use: Budget | None
    source: Source
    now: Identity
    rows: Rest
    start: Weights | None

    @property
    def h(self) -> int:
        """Width of a code."""
        return self.fields["model"]["h"]

    @property
    def k(self) -> int:
        """Nonzeros of a row."""
        return self.fields["model"]["k"]

    @property
    def of_codebooks(self) -> bool:
        """Whether rounds are of codebooks, not of a dictionary for pursuit."""
        return self.use is not None and self.use.storage == ADDITIVE

    @property
    def seed(self) -> int:
        """Of all that is drawn."""
        return self.fields["seed"]

    def record(self) -> records.Record:
        """What config.json says."""
        left_out = xxhash.xxh3_64_hexdigest(self.rows.left_out.tobytes())
        rows = {"trained": len(self.rows), "left_out": left_out}
        start = {"folder": str(self.fields.get("start", ""))}
        start["fingerprint"] = self.start.fingerprint if self.start is not None else ""
        own = {"stages": self.plan, "source": self.now, "rows": rows, "start": start, "sampling": VERSION}
        return {**self.fields, **own}


def train(
    fields: Mapping[str, Any],
    source: Source,
    rows: Rest,
    folder: str | os.PathLike | None = None,
    validate: Validate | None = None,
    progress: bool = True,
    start: Weights | None = None,
) -> Weights:
    """Train on some rows of a source; with a `folder` the run survives its end by any signal and continues.

    `fields`, plain and nested: seed, data.zero_rows, model, train, mesh, budget_bytes; others are only written down.
    With a `start` its parameters are trained on, by moments that begin anew (see `continued`). How well rows that were
    left out are reconstructed is noted at the end, for `drift`.
    The order of a start, the first or a later one:
    1. the fields are checked, against those in the run folder too; a finished run returns its model;
    2. the folder is locked: two cannot train in it;
    3. the source is read (values, zero rows), unless an earlier life of the run has, and copied where rows cannot be
       taken by number;
    4. the fields are written down;
    5. the state is the newest undamaged checkpoint's, put straight into its layout, else the start's, else drawn from
       the seed;
    6. metrics.jsonl loses the lines after that state;
    7. gradient steps run from there, each with the batch that seed and step say;
    8. rounds of `refine` follow, where they are asked for.

    Raises:
        InputError: illegal fields, some that differ from the run folder's, or a bad source.
        BusyError: another process trains in that folder.
        NonFiniteLossError: the loss left the finite numbers.
        Stopped: SIGINT or SIGTERM came, and there is a folder; what was trained is kept in it.
    """
    folder = None if folder is None else Path(folder)
    shown = progress and jax.process_index() == 0
    run = _run(fields, source, rows, start)
    if (done := _finished(run, folder)) is not None:
        processes.first(lambda: _swept(folder))
        return done
    with contextlib.ExitStack() as opened:
        if folder is not None:
            processes.first(lambda: opened.enter_context(files.locked(folder)))
            processes.check_shared(folder)
            if (done := _finished(run, folder)) is not None:  # by who held the lock
                return done
        near, usable = corpus.prepared(source, run.now, rows, run.fields["data"]["zero_rows"], folder, shown)
        if folder is not None:
            processes.first(lambda: records.write_config(folder, run.record()))
        weights = _learned(dataclasses.replace(run, source=near, rows=usable), folder, validate, shown)
        weights.summary["source"] = source.summary()
        _learn_levels(weights, near, usable)
        weights = _with_residual(run, weights, near, usable)
        _note_held_out(weights, near, rows)
        if folder is not None:
            processes.first(lambda: model_weights.save(weights, folder / MODEL))
            corpus.remove_copy(folder)
    return weights


def fit(
    source: Source | AnyArray | str | os.PathLike,
    workdir: str | os.PathLike | None = None,
    recipe: str | None = None,
    seed: int = 0,
    progress: bool = True,
    zero_rows: str = "stop",
    budget_bytes: int | None = None,
    start: Weights | str | os.PathLike | None = None,
    held_out: int | None = None,
    **fields: Any,
) -> Weights:
    """Train on the rows of a source by a recipe, some of its fields changed; without a `workdir` no file is written.

    `budget_bytes` a vector, or h, k and steps: `recipes.settled` says what is left open. `start` is trained on, by
    default with the recipe 'continue'. `held_out` rows, which are the same whatever the seed, tell how well vectors of
    the kind are reconstructed that nothing was fitted to; by default one of twenty, at most 1,000, and none where these
    are too few to tell.

    Raises:
        InputError: an unknown field or recipe, a value out of range, fields that a budget chooses or does not read, or
            a bad source.
        NonFiniteLossError: the loss left the finite numbers.
    """
    opened = data.open_source(source)
    begun = start if start is None or isinstance(start, Weights) else model_weights.load(start)
    folder = "" if start is None or isinstance(start, Weights) else os.fspath(start)
    table = recipes.with_fields(recipes.recipe(recipe or ("default" if start is None else "continue")), fields)
    out = _held_out(held_out, len(opened), workdir)
    rows = data.split_rows(len(opened), 0, out).train
    wanted = {"seed": seed, "budget_bytes": budget_bytes, **table}
    resolved.of(wanted, opened, len(rows), begun)
    # A notebook should run on any number of devices: as many share a pass as divide it.
    devices = math.gcd(jax.device_count(), _pass_rows(table["train"]["batch"], table["train"]["microbatch"]))
    own = {"data": {"zero_rows": zero_rows}, "mesh": {"data": devices, "model": 1}, "start": folder}
    return train({**wanted, **own}, opened, rows, workdir, progress=progress, start=begun)


def _held_out(asked: int | None, rows: int, workdir: str | os.PathLike | None) -> int:
    """How many rows to hold out; a run that began with none, as those of older versions did, goes on with none."""
    if asked is not None:
        check_range("held_out", asked, 0, rows // 10)
        return asked
    some = min(HELD_OUT, rows // SHARE)
    return some if some >= drift.LEAST and not (workdir and records.held_none_out(Path(workdir))) else 0


def _run(fields: Mapping[str, Any], source: Source, rows: Rest, start: Weights | None) -> Run:
    own, wanted, use = resolved.of(fields, source, len(rows), start)
    check_range("seed", fields["seed"], 0, 2**31 - 1)
    continued.same_for_all(start)
    return Run(own, wanted, use, source, corpus.same_for_all(source), rows, start)


def _finished(run: Run, folder: Path | None) -> Weights | None:
    """The model of a run that is complete; it must be this one."""
    if folder is None:
        return None
    processes.first(lambda: records.check_config(folder, run.record()))
    there = processes.first(lambda: (folder / MODEL).exists())
    return model_weights.load(folder / MODEL) if there else None


def _swept(folder: Path | None) -> None:
    """Remove what a run that was killed after it had its model has left."""
    if folder is not None:
        with contextlib.suppress(BusyError, OSError):  # by who writes it now; of folders that may not be changed
            corpus.remove_copy(folder)
        for name in (folder / MODEL, folder):
            if files.left(name):
                files.sweep(name)


def _learned(run: Run, folder: Path | None, validate: Validate | None, shown: bool) -> Weights:
    """The weights after all stages, from where the run folder says that they are."""
    t, steps, last = run.fields["train"], plan.steps(run.plan), plan.rounds(run.plan)
    job = _job(run, steps) if steps else None
    with contextlib.ExitStack() as opened:
        keeper = opened.enter_context(Checkpoints(folder / CHECKPOINTS, t["keep_last"])) if folder else None
        saved = (keeper.restore(functools.partial(_like, run, job)) if keeper else None) or Saved(0, {}, {})
        log = records.Log(folder, saved.number, steps) if folder and jax.process_index() == 0 else None
        sizes = {"done": min(saved.number, steps), "steps": steps, "batch": t["batch"], "every": t["log_every"]}
        meter = opened.enter_context(Meter(log, **sizes, shown=shown, last_good=_last_good(keeper)))
        keeping = stages.Keeping(meter, keeper, opened.enter_context(Watch()) if keeper else None)
        cosines = saved.told.get("cosines", [])
        params = _landmarks(run, keeping) if not steps and not saved.number else {}
        if job is not None and saved.number <= steps:
            params = _by_steps(run, job, saved, keeping, validate)
        if last["rounds"]:
            decoder_w = _dictionary(run, params, saved)
            size, looked_at, improved = _rounds(run)
            meter.say(f"a dictionary of {run.h:,}: each round looks at {size:,} of {len(run.rows):,} rows")
            decoder_w, cosines = stages.run_rounds(
                last, decoder_w, cosines, looked_at, before=steps, keeping=keeping, shown=shown, improved=improved
            )
            if run.of_codebooks:
                return _of_codebooks(run, decoder_w, _summary(run, steps, meter, cosines))
            params = refine.params(decoder_w)
        return _weights(run, params, _summary(run, steps, meter, cosines))


def _rounds(run: Run) -> tuple[int, Callable[[int], Any], Callable[[Any, Any], tuple[Any, dict[str, float]]]]:
    """How many rows a round looks at, which, and what it makes of them."""
    if run.of_codebooks:
        looked_at = functools.partial(codebooks.looked_at, run.source, run.rows, run.seed)
        return codebooks.size_of_round(len(run.rows)), looked_at, codebooks.improved
    size = refine.size_of_round(run.h, run.k, len(run.rows))
    looked_at = functools.partial(refine.looked_at, run.source, run.rows, run.h, run.k, run.seed)
    return size, looked_at, lambda decoder_w, x: refine.improved(decoder_w, run.k, x)


def _of_codebooks(run: Run, found: codebooks.Codebooks, summary: dict[str, Any]) -> Weights:
    """The weights of codebooks: atoms of unit length, and as levels their lengths and what codes aim at."""
    sample = run.rows[encoders.rows_for_levels(len(run.rows))]
    aim = codebooks.aim(found, on_host.unit_rows(np.asarray(run.source.take(sample), np.float32)))
    atoms, lengths = additive.split(found)
    levels = {levels_name("pursuit", ADDITIVE): additive.levels(lengths, aim)}
    return dataclasses.replace(_weights(run, refine.params(atoms), summary), levels=levels)


def _learn_levels(weights: Weights, source: Source, rows: Rest) -> None:
    """The levels of packed values, once and for all: rows of any part and day can then be joined."""
    if storage_bits(weights.storage) is not None:
        sample = rows[encoders.rows_for_levels(len(rows))]
        encoders.learn_levels(weights, weights.encoder, weights.storage, lambda: source.take(sample))


def _with_residual(run: Run, weights: Weights, source: Source, rows: Rest) -> Weights:
    """With a basis for what the nonzeros leave of rows, where the budget has bytes for it."""
    if run.use is None or not run.use.residual_bytes:
        return weights
    number = np.unique(np.linspace(0, len(rows) - 1, min(len(rows), RESIDUAL_ROWS)).astype(np.int64))
    x = source.take(rows[number])
    codes = encoders.Encoder(weights, weights.encoder, weights.storage).encode(x)
    return residual.extended(weights, run.use.residual_bytes, x, codes)


def _note_held_out(weights: Weights, source: Source, rows: Rest) -> None:
    """How well rows are reconstructed that training never saw, by the encoder and storage that the model is for."""
    some = rows.left_out[encoders.rows_for_levels(len(rows.left_out))]
    if (told := drift.note(weights, source.take(some))) is not None:
        weights.summary[drift.NOTE] = told


def _by_steps(run: Run, job: Job, saved: Saved, keeping: stages.Keeping, validate: Validate | None) -> Params:
    """The parameters after all gradient steps, in the memory of this process."""
    meter = keeping.meter
    state = states.from_flat(job.like, saved.arrays) if saved.number else job.start(keeping)
    meter.say(f"training on {_devices(job.mesh)}" + (f", from step {saved.number}" if saved.number else ""))

    def asked(state: State) -> dict[str, float]:
        assert validate is not None
        scores = validate(_weights(run, _here(state.params), {}))
        meter.say(f"step {int(state.step)}: " + ", ".join(f"{name} {value:.3f}" for name, value in scores.items()))
        return scores

    with _feed(run, job.mesh) as feed:
        t = run.fields["train"]
        state = stages.run_steps(t, job.step, state, feed, keeping, None if validate is None else asked)
    return _here(state.params)


def _landmarks(run: Run, keeping: stages.Keeping) -> Params:
    """The parameters that a run begins with which begins with rows of the data; none of one that draws them."""
    init, steps = run.fields["model"]["init_encoder"], run.fields["train"]["neighbour_steps"]
    if run.start is not None or init != recipes.LANDMARKS:
        return {}
    params = landmarks.params(run.h, run.source, run.rows, run.seed)
    if not steps:
        return params

    def check() -> None:
        if jax.process_count() == 1 and keeping.asked(0):  # several would have to agree on a step
            assert keeping.watch is not None
            raise keeping.watch.stopped("stopped while landmarks were moved, of which nothing is kept")

    params = landmarks.tuned(params, run.k, run.source, run.rows, run.seed, steps, keeping.meter.shown, check)
    return multihost_utils.broadcast_one_to_all(params) if jax.process_count() > 1 else params


def _dictionary(run: Run, params: Params, saved: Saved) -> refine.Dictionary:
    """What rounds begin with: the decoder of the steps, that of the last round, the start's, or rows of the data."""
    if params:
        return params["decoder_w"]
    if saved.number:
        return np.asarray(saved.arrays["decoder_w"])
    if run.start is not None:
        return run.start.params["decoder_w"]
    begun = codebooks if run.of_codebooks else refine
    return begun.start(run.h, run.source, run.rows, run.seed)


def _like(run: Run, job: Job | None, number: int) -> dict[str, Any]:
    """The names, shapes and layouts of what a checkpoint holds."""
    if job is not None and number <= plan.steps(run.plan):
        return states.flat(job.like)
    return {"decoder_w": np.zeros((run.h, run.source.width), np.float32)}


def _pass_rows(batch: int, microbatch: int) -> int:
    return microbatch or batch


def _job(run: Run, steps: int) -> Job:
    """The jitted step, and the state that it starts from."""
    model, t, mesh = run.fields["model"], run.fields["train"], run.fields["mesh"]
    mesh = sharding.make_mesh(mesh["data"], mesh["model"])
    sharding.check_sizes(mesh, model["h"], _pass_rows(t["batch"], t["microbatch"]))
    module = CompresSAE(
        d=run.source.width,
        h=model["h"],
        k=model["k"],
        activation=model["activation"],
        init_encoder="transpose" if model["init_encoder"] == recipes.LANDMARKS else model["init_encoder"],
        gradient=t["gradient"],
        dtype=jnp.dtype(model["dtype"]),
    )
    rate = updates.schedule(t["lr"], t["warmup_steps"], steps, t["end_lr"])
    adam = updates.optimizer(rate, t["clip_norm"], t["b1"], t["b2"])
    mix = Mix(t["weight_4k"], t["weight_pairs"], t["weight_prefixes"], t["distance"])
    dead_after = usage.window(len(run.rows), t["batch"])
    own = {"mix": mix, "dead_after": dead_after, "decoder_rows": t["decoder_rows"]}
    step = updates.make_step(module, adam, rate, mesh, **own)
    like = states.abstract(module, adam, mesh)

    def start(keeping: stages.Keeping) -> State:
        if run.start is not None:
            return states.continued(module, adam, mesh, run.start.params)
        if begun := _landmarks(run, keeping):
            return states.continued(module, adam, mesh, begun)
        return states.create(module, adam, mesh, run.seed)

    return Job(module, mesh, start, like, step)


def _feed(run: Run, mesh: Mesh) -> Feed:
    t = run.fields["train"]
    sizes = {"steps": t["steps"], "batch": t["batch"], "microbatch": _pass_rows(t["batch"], t["microbatch"])}
    return Feed(run.source, run.rows, sharding.of(mesh, "batch"), seed=run.seed, **sizes)


def _last_good(keeper: Checkpoints | None) -> Callable[[], str]:
    return (lambda: keeper.newest) if keeper else (lambda: "none without a workdir")


def _here(params: Mapping[str, Any]) -> Params:
    """Copies in memory of this process, whatever devices and processes hold the parameters."""
    if jax.process_count() > 1:
        params = multihost_utils.process_allgather(params, tiled=True)
    return {name: np.array(value, np.float32) for name, value in params.items()}


def _weights(run: Run, params: Params, summary: dict[str, Any]) -> Weights:
    """The weights, with the way in which they were made to be used."""
    model = run.fields["model"]
    if run.fields["train"]["decoder_rows"] == "free" and plan.steps(run.plan):
        params = compressae.with_unit_rows(params)
    made = Weights(params, model["h"], model["k"], model["activation"], summary)
    if run.use is not None:
        return dataclasses.replace(made, encoder=run.use.encoder, storage=run.use.storage)
    if run.start is not None:
        used = {name: getattr(run.start, name) for name in ("encoder", "storage", "query_times")}
        made = dataclasses.replace(made, **used)
    elif model["init_encoder"] == recipes.LANDMARKS:
        made = dataclasses.replace(made, query_times=landmarks.QUERY_TIMES)
    return dataclasses.replace(made, encoder="pursuit") if summary.get("refine") else made


def _summary(run: Run, steps: int, meter: Meter, cosines: list[float]) -> dict[str, Any]:
    """The story of a training."""
    batch = run.fields["train"]["batch"]
    told = {
        "steps": steps,
        "rows_seen": steps * batch,
        "stages": run.plan,
        "seconds": round(meter.seconds, 1),
        "metrics": meter.last,
        "seed": run.seed,
        "model": run.fields["model"],
        "train": run.fields["train"],
    }
    if run.start is not None:
        told["start"] = continued.note(run.start)
    if cosines:
        rounded = [round(cosine, 5) for cosine in cosines]
        told["refine"] = {"rounds": len(cosines), "cosine": cosines[-1], "cosines": rounded}
    return told


def _devices(mesh: Mesh) -> str:
    kind = mesh.devices.flat[0].device_kind
    return (
        f"{mesh.size} × {kind} ({jax.default_backend()}), mesh data={mesh.shape['data']} × model={mesh.shape['model']}"
    )
