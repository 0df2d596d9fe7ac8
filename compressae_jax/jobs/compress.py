"""The second job: all rows of the source through the run folder's model."""

import os
from pathlib import Path

import ml_collections

from compressae_jax import compression
from compressae_jax.jobs import inputs, run_folder
from compressae_jax.model.weights import Weights


def compress(
    config: ml_collections.ConfigDict, workdir: str | os.PathLike, weights: Weights, progress: bool = True
) -> dict[str, int | float]:
    """Compress the config's source into the run folder's codes; an interrupted call continues.

    Codes of another model or source that stand there are replaced: a run folder has those of its own model.
    """
    return compression.to_folder(
        weights,
        inputs.source(config),
        Path(workdir) / run_folder.CODES,
        batch=config.compress.batch,
        encoder=config.compress.encoder or None,
        storage=config.compress.storage or None,
        zero_rows=config.data.zero_rows,
        overwrite=True,
        progress=progress,
    )
