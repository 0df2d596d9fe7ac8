"""What a config names, opened: the vectors, and which of their rows are held out."""

import ml_collections

from compressae_jax import data
from compressae_jax.data.sampling import Split
from compressae_jax.data.sources import Source


def source(config: ml_collections.ConfigDict) -> Source:
    """The vectors of `config.data`, not read yet."""
    wanted = config.data
    return data.open_source(wanted.source, column=wanted.column, ids_column=wanted.ids_column, key=wanted.key)


def split(config: ml_collections.ConfigDict, rows: int) -> Split:
    """The rows of a source of so many that are held out as queries and for validation, and the others."""
    return data.Split(rows, config.data.queries, config.data.validation)
