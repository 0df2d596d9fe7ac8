"""The jobs that follow training in a run folder: compress, search, evaluate; `tables` and `figures` show the result."""

import dataclasses
import io
import json
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ml_collections
import numpy as np
import scipy.sparse
from jaxtyping import Float

from compressae_jax import data
from compressae_jax.codes import disk
from compressae_jax.codes import folder as codes_folder
from compressae_jax.codes.codes import Codes
from compressae_jax.codes.packed import Packed
from compressae_jax.data.named import Dataset
from compressae_jax.data.sources import Source
from compressae_jax.evaluation import contenders, figures, measures, protocols, streams
from compressae_jax.evaluation.contenders import Contender
from compressae_jax.evaluation.corpus import Corpus
from compressae_jax.evaluation.examples import neighbour_examples
from compressae_jax.evaluation.measures import Scores
from compressae_jax.evaluation.protocols import Neighbours, Protocol
from compressae_jax.evaluation.provenance import provenance
from compressae_jax.evaluation.tables import closing, format_examples, format_table, markdown
from compressae_jax.model import weights as model_weights
from compressae_jax.model.weights import Weights
from compressae_jax.notation import FolderError, InputError, check_choice, check_range
from compressae_jax.retrieval import compress as compression
from compressae_jax.retrieval import found, index
from compressae_jax.training import records

__all__ = ["closing", "compress", "evaluate", "format_examples", "format_table", "search"]

MODEL, CODES, FOUND = "model", "codes", "found.npz"
BASELINE_ROWS = 65_536  # training rows that baselines are fitted to, at most: as many as faiss takes for 256 centroids
FOUND_TOP = 10


def compress(config: ml_collections.ConfigDict, workdir: str | os.PathLike, weights: Weights) -> dict[str, int | float]:
    """Compress the config's source into the run folder's codes; an interrupted call continues."""
    return compression.compress(
        weights,
        _source(config),
        Path(workdir) / CODES,
        batch=config.compress.batch,
        encoder=config.compress.encoder or None,
        storage=config.compress.storage or None,
        zero_rows=config.data.zero_rows,
    )


def search(config: ml_collections.ConfigDict, workdir: str | os.PathLike) -> None:
    """Search the run folder's codes for the held-out queries (reconstructed space) and write scores and rows."""
    workdir, source = Path(workdir), _source(config)
    split = data.split_rows(len(source), config.data.queries, config.data.validation)
    queries = streams.take(source, split.queries)
    queries = queries[queries.any(axis=1)]
    rows = index.open_index(workdir / CODES, model_weights.load(workdir / MODEL), "reconstructed")
    scores, numbers = rows.search(queries, min(FOUND_TOP, len(rows)), backend=config.search.backend)
    found.write(workdir / FOUND, scores, numbers, rows.ids)


def evaluate(config: ml_collections.ConfigDict, workdir: str | os.PathLike, progress: bool = True) -> dict[str, Any]:
    """Put the run folder's model beside dense search and baselines in all protocols that the data has.

    Writes `report.json`, `report.md`, `per_query.npz` and, where matplotlib is installed, figures; returns the report.

    Raises:
        InputError: an unknown protocol, space, baseline or dataset, a k above h, or data too small to hold rows out.
    """
    start, workdir = time.perf_counter(), Path(workdir)
    for name in config.evaluation.protocols:
        check_choice("evaluation.protocols", name, protocols.NAMES)
    model, source = model_weights.load(workdir / MODEL), _source(config)
    weights = _as_used(config, model)
    split = data.split_rows(len(source), config.data.queries, config.data.validation)
    codes, norms = _codes(config, workdir, weights, source, progress)
    corpus = Corpus(source, weights, codes, norms, split.queries)
    asked = _own_protocols(config, weights, source, corpus, codes, norms)
    asked += _judged_elsewhere(config, weights, progress)
    if not asked:
        wanted = ", ".join(config.evaluation.protocols) or "no protocol"
        raise InputError(f"{source.name} has nothing to evaluate by {wanted}")
    training = streams.take(source, _sample(split.train, config.seed))
    compared = _contenders(config, weights, corpus, training)
    scores = measures.ask(asked, compared, progress)
    usage = measures.usage(corpus.codes, model.k)
    report = {
        "workdir": str(workdir),
        "source": source.summary(),
        "model": {"d": weights.d, "h": weights.h, "k": model.k, "fingerprint": model.fingerprint},
        "protocols": measures.described(asked, scores),
        "baseline_rows": len(training),
        "contenders": measures.measured(compared, scores, weights.d, config.evaluation.resamples, config.seed),
        "examples": _examples(config, asked, compared, model.k),
        "usage": {"latents": weights.h, "dead": int((usage == 0).sum())},
        **provenance(),
        "seed": config.seed,
        "config": json.loads(config.to_json_best_effort()),
    }
    report |= _drawn(workdir, report, usage)
    report["seconds"] = round(time.perf_counter() - start, 1)
    _write(workdir, report, scores)
    return report


def _as_used(config: ml_collections.ConfigDict, model: Weights) -> Weights:
    """The model with the encoder and storage that are evaluated, and as many nonzeros as the largest budget asks for.

    Smaller budgets are prefixes of its codes.
    """
    ks = config.evaluation.ks
    for k in ks:
        check_range("evaluation.ks", k, 1, model.h)
    encoder, storage = config.compress.encoder or model.encoder, config.compress.storage or model.storage
    return dataclasses.replace(model, k=max([model.k, *ks]), encoder=encoder, storage=storage)


def _source(config: ml_collections.ConfigDict) -> Source:
    wanted = config.data
    return data.open_source(wanted.source, column=wanted.column, ids_column=wanted.ids_column, key=wanted.key)


def _codes(
    config: ml_collections.ConfigDict, workdir: Path, weights: Weights, source: Source, progress: bool
) -> tuple[Codes | Packed, Float[np.ndarray, "n 2"] | None]:
    """Codes of all rows: the run folder's, if they are of this model and source, else made anew in memory."""
    try:
        codes, norms, _, meta = codes_folder.read(workdir / CODES)
    except FolderError:
        return _compressed(config, weights, source, progress)
    given = (meta.get("fingerprint"), meta.get("source"), len(codes), meta.get("encoder"), _storage_of(codes))
    if given == (weights.fingerprint, source.summary(), len(source), weights.encoder, weights.storage):
        return codes, norms
    return _compressed(config, weights, source, progress)


def _compressed(
    config: ml_collections.ConfigDict, weights: Weights, source: Source, progress: bool
) -> tuple[Codes | Packed, Float[np.ndarray, "n 2"] | None]:
    """Codes in memory. Rows keep their numbers: a zero row that is to be dropped stays, and is found by nobody."""
    policy = "stop" if config.data.zero_rows == "stop" else "keep"
    codes, norms, _ = compression.compress_in_memory(
        weights, source, config.compress.batch, zero_rows=policy, progress=progress
    )
    return codes, norms


def _storage_of(codes: Codes | Packed) -> str:
    return f"packed{codes.packing.bits}" if isinstance(codes, Packed) else str(codes.values.dtype)


def _own_protocols(
    config: ml_collections.ConfigDict,
    weights: Weights,
    source: Source,
    corpus: Corpus,
    codes: Codes | Packed,
    norms: Float[np.ndarray, "n 2"] | None,
) -> list[Protocol]:
    """The protocols that the config asks for and the data has."""
    wanted = config.evaluation.protocols
    asked: list[Protocol] = []
    if "neighbours" in wanted:
        asked.append(protocols.of_neighbours(source, corpus))
    if config.data.source not in data.names():
        return asked
    dataset = data.load(config.data.source)
    whole = Corpus(source, weights, codes, norms, np.zeros(0, np.int64))
    if "judgements" in wanted and dataset.judgements() is not None:
        asked.append(_judged("judgements", dataset, whole))
    if "purchases" in wanted and dataset.train is not None and dataset.test is not None:
        asked.append(protocols.of_purchases(whole, dataset.train, dataset.test))
    return asked


def _judged_elsewhere(config: ml_collections.ConfigDict, weights: Weights, progress: bool) -> list[Protocol]:
    """The model carried to other datasets with judgements, whose vectors it compresses."""
    asked = []
    for name in config.evaluation.judged:
        dataset = data.load(name)
        if dataset.judgements() is None:
            raise InputError(f"evaluation.judged: dataset {name!r} has no judgements")
        codes, norms = _compressed(config, weights, dataset.vectors, progress)
        whole = Corpus(dataset.vectors, weights, codes, norms, np.zeros(0, np.int64))
        asked.append(_judged(f"judgements on {name}", dataset, whole))
    return asked


def _judged(name: str, dataset: Dataset, corpus: Corpus) -> Protocol:
    judgements, queries = dataset.judgements(), dataset.queries
    assert judgements is not None and queries is not None
    asked, place = np.unique(judgements.query_rows, return_inverse=True)
    shape = (len(asked), len(corpus))
    wanted = scipy.sparse.csr_matrix((judgements.scores, (place, judgements.doc_rows)), shape)
    own_rows = asked if dataset.exclude_self else None
    return protocols.of_judgements(name, corpus, streams.take(queries, asked), wanted, own_rows)


def _sample(rows: np.ndarray, seed: int) -> np.ndarray:
    return np.sort(np.random.default_rng(seed).permutation(rows)[:BASELINE_ROWS])


def _contenders(
    config: ml_collections.ConfigDict, weights: Weights, corpus: Corpus, training: Float[np.ndarray, "n d"]
) -> list[Contender]:
    wanted = config.evaluation
    codes = contenders.codes(corpus, wanted.spaces, wanted.ks, config.search.backend)
    budgets = [one.budget for one in codes if one.budget is not None]
    others = [*codes, *contenders.baselines(wanted.baselines, budgets, training)]
    # Side by side at each number of bytes, the codes first.
    return [contenders.peer(weights.d), *sorted(others, key=lambda one: -(one.budget or 0))]


def _examples(
    config: ml_collections.ConfigDict, asked: Sequence[Protocol], compared: Sequence[Contender], k: int
) -> list[dict[str, Any]]:
    """Example items of a dataset with names: dense, and CompresSAE at the model's k in the default space."""
    names = data.load(config.data.source).items if config.data.source in data.names() else None
    if names is None or not isinstance(asked[0], Neighbours):
        return []
    codes = [one for one in compared if one.k == k]
    shown = next((one for one in codes if one.space == "reconstructed"), codes[0] if codes else None)
    return neighbour_examples(names, asked[0], [compared[0], *([shown] if shown else [])])


def _drawn(workdir: Path, report: dict[str, Any], usage: Float[np.ndarray, " h"]) -> dict[str, Any]:
    """Draw the figures that there is something for; their names, or how to get them."""
    if not figures.available():
        return {"figures": [], "figures_note": "Figures need matplotlib: pip install 'compressae_jax[figures]'."}
    drawn = []
    if "neighbours" in report["protocols"]:
        asked = report["protocols"]["neighbours"]
        title = f"{report['source']['name']}: {asked['scored']:,} held-out rows, {asked['rows']:,} searched"
        figures.recall_bytes(report["contenders"], title, workdir / "recall_bytes.png")
        drawn.append("recall_bytes.png")
    lines = records.read_metrics(workdir)
    if lines:
        figures.training(lines, workdir / "training.png")
        drawn.append("training.png")
    figures.usage(usage, workdir / "usage.png")
    return {"figures": [*drawn, "usage.png"], "figures_note": ""}


def _write(workdir: Path, report: dict[str, Any], scores: Scores) -> None:
    """The scores of every query, and the report for programs and for people; the last of them marks all as done."""
    arrays = {
        f"{protocol}/{contender}/{metric}": values.astype(np.float32)
        for protocol, of_contender in scores.items()
        for contender, of_metric in of_contender.items()
        for metric, values in of_metric.items()
    }
    packed = io.BytesIO()
    np.savez_compressed(packed, **arrays)  # type: ignore[arg-type]
    _replace(workdir / "per_query.npz", packed.getvalue())
    _replace(workdir / "report.md", markdown(report).encode())
    _replace(workdir / "report.json", (json.dumps(report, indent=1, ensure_ascii=False) + "\n").encode())


def _replace(path: Path, content: bytes) -> None:
    aside = path.with_name(f".{path.name}.new")
    aside.write_bytes(content)
    disk.sync(aside)
    os.replace(aside, path)
