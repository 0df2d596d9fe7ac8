"""The third job: the held-out queries searched among the other rows of the run folder's codes."""

import os
from pathlib import Path

import ml_collections

from compressae_jax.evaluation import streams
from compressae_jax.jobs import inputs, run_folder
from compressae_jax.model import weights as model_weights
from compressae_jax.retrieval import found, index

TOP = 10


def search(config: ml_collections.ConfigDict, workdir: str | os.PathLike) -> None:
    """Search the run folder's codes for the held-out queries and write scores and rows."""
    workdir, source = Path(workdir), inputs.source(config)
    queries = streams.take(source, inputs.split(config, len(source)).queries)
    queries = queries[queries.any(axis=1)]
    weights = model_weights.load(workdir / run_folder.MODEL)
    rows = index.open_index(workdir / run_folder.CODES, weights)
    best = rows.search(queries, min(TOP, len(rows)), backend=config.search.backend)
    found.write(workdir / run_folder.FOUND, best)
