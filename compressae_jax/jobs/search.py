"""The third job: the held-out queries searched among the other rows of the run folder's codes."""

import os
from pathlib import Path

import ml_collections
import numpy as np

from compressae_jax import data
from compressae_jax.base import files
from compressae_jax.codes import folder as codes_folder
from compressae_jax.codes.rows import Rows
from compressae_jax.data.sources import Source
from compressae_jax.evaluation import streams
from compressae_jax.jobs import inputs, run_folder
from compressae_jax.model import weights as model_weights
from compressae_jax.notation import InputError
from compressae_jax.retrieval import found
from compressae_jax.retrieval.found import Found
from compressae_jax.retrieval.index import Index, search_source

TOP = 10
BATCH = 256  # queries between two steps of the bar


def search(config: ml_collections.ConfigDict, workdir: str | os.PathLike, progress: bool = True) -> int:
    """Search the codes of the rows that are no query for those that are, and write what was found; how many were asked.

    Row numbers are those of `codes/`; `query_ids` are the queries' ids, or their row numbers in the source.

    Raises:
        InputError: no row was held out, or codes that are not of this model and source.
    """
    workdir, source = Path(workdir), inputs.source(config)
    held_out = run_folder.made(workdir, config, source).split(len(source)).queries
    weights = model_weights.load(workdir / run_folder.MODEL)
    rows, _, _, meta = codes_folder.read(workdir / run_folder.CODES)
    wanted = {"model": weights.fingerprint, "codes": meta, "queries": held_out.tolist(), "top": TOP}
    if run_folder.is_complete(workdir, "search", wanted):
        return len(held_out)
    kept = np.flatnonzero(~np.isin(_numbers(source, rows), held_out))
    if not len(held_out) or not len(kept):
        raise InputError(f"{source.name}: a search needs rows held out as queries; {len(source)} rows are too few")
    index = Index(rows[kept], weights)
    queries, top = data.open_source(streams.take(source, held_out)), min(TOP, len(index))
    best = search_source(index, queries, top, config.search.backend, BATCH, progress)
    numbered = Found(best.scores, np.where(best.rows < 0, found.NOTHING, kept[best.rows]), best.ids)
    with files.locked(workdir):
        found.write(workdir / run_folder.FOUND, numbered, held_out if source.ids is None else source.ids[held_out])
        run_folder.complete(workdir, "search", wanted, [run_folder.FOUND])
    return len(held_out)


def _numbers(source: Source, rows: Rows) -> np.ndarray:
    """The source rows that codes are of: all, or those that are not zero where these were dropped.

    Raises:
        InputError: they are as many as neither.
    """
    if len(rows) == len(source):
        return np.arange(len(source))
    numbers = np.setdiff1d(np.arange(len(source)), data.find_zero_rows(source))
    if len(numbers) != len(rows):
        raise InputError(f"{len(rows)} rows of codes are not of {source.name}, which has {len(source)}; compress again")
    return numbers
