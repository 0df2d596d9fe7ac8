"""The fourth job: the run folder's model beside dense search and baselines, in all protocols that the data has."""

import dataclasses
import json
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import ml_collections
import numpy as np
from jaxtyping import Float

from compressae_jax import __version__, compression, data
from compressae_jax.base import files
from compressae_jax.codes import folder as codes_folder
from compressae_jax.codes.rows import Rows
from compressae_jax.codes.storage.kinds import storage_bits
from compressae_jax.data import identity, sampling
from compressae_jax.data.sources import Source
from compressae_jax.evaluation import contenders, measures, protocols, report, streams
from compressae_jax.evaluation.contenders import Contender
from compressae_jax.evaluation.corpus import OWN, Coded, Corpus
from compressae_jax.evaluation.examples import neighbour_examples
from compressae_jax.evaluation.protocols import Neighbours, Protocol
from compressae_jax.evaluation.provenance import provenance
from compressae_jax.jobs import check, inputs, judged, run_folder
from compressae_jax.jobs.train import train
from compressae_jax.model import budgets, encoders
from compressae_jax.model import weights as model_weights
from compressae_jax.model.weights import Weights
from compressae_jax.notation import FolderError, InputError
from compressae_jax.retrieval.index import SPACE


def evaluate(config: ml_collections.ConfigDict, workdir: str | os.PathLike, progress: bool = True) -> dict[str, Any]:
    """Put the run folder's model beside dense search and baselines in all protocols that the data has.

    Writes `report.json`, `report.md`, `per_query.npz` and, where matplotlib is installed, figures; returns the report.

    Raises:
        InputError: an unknown protocol, space, baseline or dataset, a k above h, or data too small to hold rows out.
        BusyError: another process evaluates this run.
    """
    workdir = Path(workdir)
    model, source = model_weights.load(workdir / run_folder.MODEL), inputs.source(config)
    check.evaluation(config, model.d, model.h, model.k, config.compress.storage or model.storage)
    check.known(config, source)
    check.outputs(workdir)
    run = run_folder.made(workdir, config, source)
    with files.locked(workdir / run_folder.REPORT):  # a name of its own: each file of the report locks its own, too
        return _evaluated(config, workdir, model, source, run, progress)


def evaluate_once(config: ml_collections.ConfigDict, workdir: str | os.PathLike) -> dict[str, Any]:
    """The report of the run folder, as it stands there if nothing has changed that it depends on, else made anew."""
    source, model = inputs.source(config), model_weights.load(Path(workdir) / run_folder.MODEL)
    wanted = {
        "model": model.fingerprint,
        "source": {name: value for name, value in source.identity().items() if name != "modified"},
        "config": json.loads(config.to_json_best_effort()),
        "version": __version__,
        "judged": judged.digest(config, source),
    }
    if run_folder.is_complete(workdir, "evaluate", wanted):
        return json.loads((Path(workdir) / run_folder.REPORTS[0]).read_bytes())
    made = evaluate(config, workdir)
    with files.locked(workdir):
        run_folder.complete(workdir, "evaluate", wanted, [*run_folder.REPORTS, *made["figures"]])
    return made


def _evaluated(
    config: ml_collections.ConfigDict,
    workdir: Path,
    model: Weights,
    source: Source,
    run: run_folder.Made,
    progress: bool,
) -> dict[str, Any]:
    """The report, made and written."""
    start, split = time.perf_counter(), run.split(len(source))
    coded = _coded(config, workdir, model, source, run, progress)
    corpus = Corpus(source, coded, split.queries)
    asked = _own_protocols(config, source, corpus, coded, split)
    asked += _judged_elsewhere(config, coded, progress)
    if not asked:
        wanted = ", ".join(config.evaluation.protocols) or "no protocol"
        raise InputError(f"{source.name} has nothing to evaluate by {wanted}")
    training = streams.take(source, sampling.sample(split.train, contenders.BASELINE_ROWS, run.seed))
    compared = _contenders(config, corpus, training)
    scores = measures.ask(asked, compared, progress)
    usage = measures.usage(corpus.coded[OWN].rows, model.k)
    made = {
        "workdir": str(workdir),
        "source": source.summary(),
        "model": {"d": model.d, **_described(model), "codes": coded[OWN].weights.kind},
        "beside": {name: _described(one.weights) for name, one in coded.items() if name != OWN},
        "protocols": measures.described(asked, scores),
        "baseline_rows": len(training),
        "contenders": measures.measured(compared, scores, model.d, config.evaluation.resamples, run.seed),
        "examples": _examples(config, asked, compared, model.k),
        "usage": {"latents": model.h, "dead": int((usage == 0).sum())},
        **provenance(),
        "seed": run.seed,
        "config": run.config(json.loads(config.to_json_best_effort())),
    }
    made |= report.drawn(workdir, made, usage)
    made["seconds"] = round(time.perf_counter() - start, 1)
    report.write(workdir, made, scores)
    return made


def _described(weights: Weights) -> dict[str, Any]:
    return {"codes": weights.kind, "h": weights.h, "k": weights.k, "fingerprint": weights.fingerprint}


def _coded(
    config: ml_collections.ConfigDict,
    workdir: Path,
    model: Weights,
    source: Source,
    run: run_folder.Made,
    progress: bool,
) -> dict[str, Coded]:
    """The models that are compared, by name, with their codes of all rows.

    The run's own has as many nonzeros as the largest of `ks` asks for: smaller ones are prefixes of its codes. Its
    dictionary makes codes of the `budgets`. Those `beside` it are trained on the same rows, in run folders of their
    own, unless they are there.
    """
    wanted, own_budget = config.evaluation, run.budget_bytes
    k = max([model.k, *wanted.ks])
    encoder, storage = config.compress.encoder or model.encoder, config.compress.storage or model.storage
    own = dataclasses.replace(model if k == model.k else model.with_k(k), encoder=encoder, storage=storage)
    models: dict[str, tuple[Weights, int]] = {OWN: (own, own_budget)}
    for budget in wanted.budgets:
        if budget != own_budget:
            models[f"{budget} bytes"] = budgets.with_budget(model, budget), budget
    for name in wanted.beside:
        asked, folder = inputs.beside(config, name), workdir / run_folder.BESIDE / name
        one = train(asked, folder, progress)
        models[name] = one, run_folder.made(folder, asked, source).budget_bytes
    trained = run.split(len(source)).train
    coded = {}
    for name, (one, budget) in models.items():
        _learn_levels(one, source, trained)
        coded[name] = Coded(one, _codes(config, workdir, one, source, progress), budget or None)
    return coded


def _learn_levels(weights: Weights, source: Source, trained: sampling.Rest) -> None:
    """The levels of packed values, where a model has none for them: from rows that it was trained on."""
    if storage_bits(weights.storage) is not None:
        sample = trained[encoders.rows_for_levels(len(trained))]
        encoders.learn_levels(weights, weights.encoder, weights.storage, lambda: streams.take(source, sample))


def _codes(config: ml_collections.ConfigDict, workdir: Path, weights: Weights, source: Source, progress: bool) -> Rows:
    """Codes of all rows: the run folder's, if they are of this model and source, else made anew in memory."""
    try:
        codes, _, _, meta = codes_folder.read(workdir / run_folder.CODES)
    except FolderError:
        return _compressed(config, weights, source, progress)
    given = (meta.get("fingerprint"), len(codes), meta.get("encoder"), codes.storage)
    if given == (weights.fingerprint, len(source), weights.encoder, weights.storage) and _is_of(meta, source):
        return codes
    return _compressed(config, weights, source, progress)


def _is_of(meta: Mapping[str, Any], source: Source) -> bool:
    """Whether codes are surely of this source: a folder of version 0.1, which has no sample of it, may be stale."""
    noted = meta.get("source")
    return isinstance(noted, dict) and "sample" in noted and identity.difference(noted, source.identity()) is None


def _compressed(config: ml_collections.ConfigDict, weights: Weights, source: Source, progress: bool) -> Rows:
    """Codes in memory. Rows keep their numbers: a zero row that is to be dropped stays, and is found by nobody."""
    policy = "stop" if config.data.zero_rows == "stop" else "keep"
    rows = compression.in_memory(weights, source, config.compress.batch, zero_rows=policy, progress=progress)
    return rows.like(rows.arrays())


def _own_protocols(
    config: ml_collections.ConfigDict,
    source: Source,
    corpus: Corpus,
    coded: Mapping[str, Coded],
    split: data.Split,
) -> list[Protocol]:
    """The protocols that the config asks for and the data has."""
    wanted, dataset = config.evaluation.protocols, inputs.dataset(config)
    own, bought = judged.judgements(config, source), judged.purchases(config, source)
    whole = Corpus(source, coded, np.zeros(0, np.int64))
    asked: list[Protocol] = []
    if "neighbours" in wanted:
        asked.append(protocols.of_neighbours(source, corpus))
    if "unseen" in wanted and len(split.unseen):
        others = np.setdiff1d(np.arange(len(source)), split.unseen)
        asked.append(protocols.of_neighbours(source, Corpus(source, coded, others), split.queries, "unseen"))
    if "judgements" in wanted and own is not None:
        asked.append(protocols.of_judgements("judgements", whole, own.vectors(), own.placed.wanted, own.own_rows))
    elif "judgements" in wanted and dataset is not None and dataset.judgements() is not None:
        asked.append(protocols.of_dataset("judgements", dataset, whole))
    if "purchases" in wanted and bought is not None:
        asked.append(protocols.of_purchases(whole, bought.train, bought.test))
    elif "purchases" in wanted and dataset is not None and dataset.train is not None and dataset.test is not None:
        asked.append(protocols.of_purchases(whole, dataset.train, dataset.test))
    return asked


def _judged_elsewhere(config: ml_collections.ConfigDict, coded: Mapping[str, Coded], progress: bool) -> list[Protocol]:
    """The models carried to other datasets with judgements, whose vectors they compress."""
    asked = []
    for name in config.evaluation.judged:
        dataset = data.load(name)
        there = {
            of: one._replace(rows=_compressed(config, one.weights, dataset.vectors, progress))
            for of, one in coded.items()
        }
        whole = Corpus(dataset.vectors, there, np.zeros(0, np.int64))
        asked.append(protocols.of_dataset(f"judgements on {name}", dataset, whole))
    return asked


def _contenders(
    config: ml_collections.ConfigDict, corpus: Corpus, training: Float[np.ndarray, "n d"]
) -> list[Contender]:
    wanted = config.evaluation
    codes: list[Contender] = []
    for of in corpus.coded:
        ks = wanted.ks if of == OWN else ()
        some = contenders.codes(corpus, of, wanted.spaces or None, ks, config.search.backend)
        names = {one.name for one in codes}
        codes += [dataclasses.replace(one, name=f"{one.name} ({of})") if one.name in names else one for one in some]
    budgets = [one.budget for one in codes if one.budget is not None]
    others = [*codes, *contenders.baselines(wanted.baselines, budgets, training)]
    # Side by side at each number of bytes, the codes first.
    return [contenders.peer(training.shape[1]), *sorted(others, key=lambda one: -(one.budget or 0))]


def _examples(
    config: ml_collections.ConfigDict, asked: Sequence[Protocol], compared: Sequence[Contender], k: int
) -> list[dict[str, Any]]:
    """Example items of a dataset with names: dense, and the run's own codes in the default space."""
    dataset = inputs.dataset(config)
    names = dataset.items if dataset else None
    if names is None or not isinstance(asked[0], Neighbours):
        return []
    own = [one for one in compared if one.of == OWN and one.k == k]
    shown = next((one for one in own if one.space == SPACE), own[0] if own else None)
    wanted = tuple(config.evaluation.examples)
    return neighbour_examples(names, asked[0], [compared[0], *([shown] if shown else [])], wanted)
