"""The rows that training may draw: seen to be finite, zero rows dealt with, at hand by number; `feed` draws."""

from pathlib import Path

import jax
import numpy as np
import xxhash
from jax.experimental import multihost_utils
from jaxtyping import Int

from compressae_jax import data
from compressae_jax.data.sources import InMemory, Source
from compressae_jax.notation import InputError, check_choice

ENDS = 128  # rows at either end of a source that tell it apart


def fingerprint(source: Source, rows: Int[np.ndarray, " n"]) -> str:
    """16 hex digits of a source's first and last rows and of the rows that are trained on."""
    digest = xxhash.xxh3_128(np.ascontiguousarray(rows, np.int64))
    digest.update(source.read(0, min(ENDS, len(source))))
    digest.update(source.read(max(0, len(source) - ENDS), len(source)))
    return digest.hexdigest()[:16]


def usable_rows(source: Source, rows: Int[np.ndarray, " n"], zero_rows: str, shown: bool) -> Int[np.ndarray, " m"]:
    """The rows less the zero ones, where the policy says 'drop'; every value of the source is seen on the way.

    Raises:
        InputError: NaN or infinity, with its row; zero rows, where the policy is 'stop'; no row left.
    """
    check_choice("config.data.zero_rows", zero_rows, data.ZERO_ROWS)
    zero = data.find_zero_rows(source, progress=None if shown else False)
    if len(zero) and zero_rows == "stop":
        raise data.zero_rows_met(source, zero)
    rows = np.setdiff1d(rows, zero) if zero_rows == "drop" else rows
    if not len(rows):
        raise InputError(f"{source.name} has no row to train on")
    return rows


def within_reach(source: Source, cache: Path | None, shown: bool) -> Source:
    """The source, if its rows can be taken by number; else a copy under `cache`, or in memory where there is none."""
    if source.random_access:
        return source
    if cache is None:
        return InMemory(source.read(0, len(source)), source.name)
    path = cache / "vectors.npy"
    if jax.process_index() == 0:
        cache.mkdir(parents=True, exist_ok=True)
        data.stage(source, path, progress=None if shown else False)
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices("staged")
    return data.open_source(path)
