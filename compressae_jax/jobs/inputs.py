"""What a config names, opened: the vectors, what else is known about them, and which rows are held out."""

import ml_collections

from compressae_jax import data
from compressae_jax.data import named
from compressae_jax.data.sources import Source
from compressae_jax.model import weights as model_weights
from compressae_jax.model.weights import Weights


def source(config: ml_collections.ConfigDict) -> Source:
    """The vectors of `config.data`, not read yet."""
    wanted = config.data
    return data.open_source(
        wanted.source,
        column=wanted.column,
        ids_column=wanted.ids_column,
        key=wanted.key,
        ids_key=wanted.ids_key,
        ids=wanted.ids,
        scale=wanted.scale,
    )


def beside(config: ml_collections.ConfigDict, name: str) -> ml_collections.ConfigDict:
    """The experiment that trains the model of this name in `evaluation.beside`, on the same rows, and nothing else."""
    own = config.copy_and_resolve_references()
    wanted = own.evaluation.beside[name]
    own.start, own.compress.encoder, own.compress.storage = "", "", ""
    own.evaluation.beside, own.evaluation.ks, own.evaluation.budgets = ml_collections.ConfigDict(), (), ()
    own.budget_bytes, own.model, own.train = wanted.budget_bytes, wanted.model, wanted.train
    return own


def start(config: ml_collections.ConfigDict) -> Weights | None:
    """The model that is trained on; None where training begins anew."""
    return model_weights.load(config.start) if config.start else None


def dataset(config: ml_collections.ConfigDict) -> data.Dataset | None:
    """The dataset that `config.data.source` is, by name or as a folder of one's own; None of plain vectors."""
    wanted = config.data.source
    return data.load(wanted) if wanted in data.names() else named.of_folder(wanted)


def split(config: ml_collections.ConfigDict, rows: int) -> data.Split:
    """The rows of a source of so many that are held out as queries, for validation and as unseen, and the others."""
    return data.split_rows(rows, config.data.queries, config.data.validation, unseen=config.data.unseen)
