"""The whole config, seen to be one that all four jobs can follow, before any of them reads a row or writes a byte."""

import os
from collections.abc import Sequence
from pathlib import Path

import ml_collections

from compressae_jax import data
from compressae_jax.base import files
from compressae_jax.codes.storage import kinds
from compressae_jax.codes.storage.kinds import STORAGES, storage_bits
from compressae_jax.data.sources import Source
from compressae_jax.evaluation import contenders, protocols
from compressae_jax.evaluation.examples import rows_named
from compressae_jax.jobs import inputs, judged, run_folder
from compressae_jax.model import budgets, encoders
from compressae_jax.model.weights import Weights
from compressae_jax.notation import InputError, check_choice, check_range
from compressae_jax.retrieval.index import BACKENDS
from compressae_jax.training import resolved

MOST = 2**31 - 1


def whole(
    config: ml_collections.ConfigDict, workdir: str | os.PathLike, source: Source, start: Weights | None = None
) -> None:
    """Raise InputError for the first field that a job would refuse, and for outputs that have no place.

    `start`: the model that is trained on.

    Raises:
        InputError: a value out of range, an unknown name, names or judgements that cannot be read, a baseline whose
            package is missing, something else in the place of an output.
    """
    rows = inputs.split(config, len(source)).train
    fields, _, use = resolved.of(config.to_dict(), source, len(rows), start)
    check_range("config.seed", config.seed, 0, MOST)
    check_choice("config.data.zero_rows", config.data.zero_rows, data.ZERO_ROWS)
    check_range("config.compress.batch", config.compress.batch, 1, MOST)
    check_choice("config.search.backend", config.search.backend, ("auto", *BACKENDS))
    made = use or start  # what says how codes are made, unless the config does
    encoder = config.compress.encoder or (made.encoder if made else "topk")
    storage = config.compress.storage or (made.storage if made else "float16")
    check_choice("config.compress.storage", storage, STORAGES)
    encoders.check(encoder, fields["model"]["activation"], storage_bits(storage) is not None)
    h, k = fields["model"]["h"], fields["model"]["k"]
    kinds.check(storage, h)
    evaluation(config, source.width, h, k, storage)
    for name in config.evaluation.beside:
        _beside(config, name, source, len(rows))
    known(config, source)
    outputs(workdir)


def evaluation(config: ml_collections.ConfigDict, d: int, h: int, k: int, storage: str) -> None:
    """Raise InputError unless a model of these sizes, and rows of this storage, can be evaluated as the config says."""
    wanted = config.evaluation
    for name in wanted.protocols:
        check_choice("evaluation.protocols", name, protocols.NAMES)
    for one in wanted.ks:
        check_range("evaluation.ks", one, 1, h)
    if storage_bits(storage) is not None and set(wanted.ks) - {k}:
        raise InputError(
            f"evaluation.ks={tuple(wanted.ks)} asks for prefixes of rows, which packed rows have none of (storage "
            f"{storage}, k={k}); add --config.evaluation.ks='()'"
        )
    for one in wanted.budgets:
        budgets.of_dictionary(one, h, d)
    check_range("evaluation.resamples", wanted.resamples, 1, 10**7)
    contenders.check(wanted.baselines, wanted.spaces, _budgets(h, [k, *wanted.ks]), d)
    for name in wanted.judged:
        if data.load(name).judgements() is None:
            raise InputError(f"evaluation.judged: dataset {name!r} has no judgements")


def _beside(config: ml_collections.ConfigDict, name: str, source: Source, rows: int) -> None:
    """Raise InputError unless a model to be compared can be trained, in a folder of its name."""
    if not name.isidentifier():
        raise InputError(f"evaluation.beside: a name must be letters, digits and _, not {name!r}")
    try:
        resolved.of(inputs.beside(config, name).to_dict(), source, rows)
    except InputError as error:
        raise InputError(f"evaluation.beside.{name}: {error}") from None


def known(config: ml_collections.ConfigDict, source: Source) -> None:
    """Raise InputError unless judgements, purchases and names, of the user or of a dataset, can be read and are of the
    source, as far as they are asked for.
    """
    judged.judgements(config, source)
    judged.purchases(config, source)
    dataset = inputs.dataset(config)
    names = dataset.items if dataset is not None else None
    if asked := tuple(config.evaluation.examples):
        if names is None:
            raise InputError(f"evaluation.examples={asked} are names, and {config.data.source} has none of its rows")
        rows_named(names, asked)
    if dataset is None:
        return
    wanted = config.evaluation.protocols
    if "judgements" in wanted:
        dataset.judgements()
    if "purchases" in wanted and dataset.train is not None and dataset.test is not None:
        shapes = dataset.train.shape, dataset.test.shape
        if shapes[0] != shapes[1]:
            raise InputError(f"{dataset.folder}: train.npz {shapes[0]} and test.npz {shapes[1]} are of unlike users")


def outputs(workdir: str | os.PathLike) -> None:
    """Raise InputError where something stands in the place of an output."""
    workdir = files.check_out(workdir)
    for name in (run_folder.MODEL, run_folder.CODES, run_folder.BESIDE):
        files.check_out(Path(workdir) / name)
    for name in (run_folder.CONFIG, run_folder.FOUND, *run_folder.REPORTS):
        files.check_out(Path(workdir) / name, folder=False)


def _budgets(h: int, ks: Sequence[int]) -> list[int]:
    """Bytes of float16 rows, near enough to ask which baselines have a form for them."""
    return [k * (2 + (2 if h <= 2**16 else 4)) + 4 for k in ks]
