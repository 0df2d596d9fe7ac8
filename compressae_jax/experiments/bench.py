"""Where experiments work: rows that are split once, models that are trained once, cells that are measured once.

All of it lies in one work folder, so an interrupted experiment goes on with the cell that it was in, and training with
its last checkpoint.
"""

import dataclasses
import functools
import io
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from compressae_jax import data
from compressae_jax.base import files, sealed
from compressae_jax.baselines import dense
from compressae_jax.data.named import Dataset
from compressae_jax.data.npz import DAMAGE
from compressae_jax.data.sampling import Rest
from compressae_jax.data.sources import Source
from compressae_jax.evaluation.provenance import provenance
from compressae_jax.experiments.cells import Outcome, Result, Spec, digest
from compressae_jax.model.weights import Weights
from compressae_jax.notation import FolderError, InputError
from compressae_jax.training import loop, recipes

CELLS, TRAININGS = "cells", "trainings"
DATASET = "dataset"  # how the fields of a spec begin that name a set
VERSION = 1
MADE = ("commit", "date", "hardware", "versions")
HELD_OUT = 1000  # queries, and validation rows, at most; at most a tenth of all
DEEPEST = 100  # neighbours


class Rows(NamedTuple):
    """A set by the neighbour protocol: vectors to train on and to search, queries, and their exact neighbours."""

    training: Float[np.ndarray, "n d"]
    validation: Float[np.ndarray, "v d"]
    searched: Float[np.ndarray, "m d"]
    queries: Float[np.ndarray, "q d"]
    truth: Int[np.ndarray, "q 100"]

    @property
    def d(self) -> int:
        """Width of a vector."""
        return self.queries.shape[1]


@dataclasses.dataclass(frozen=True)
class Bench:
    """The work folder of an experiment, whose lock the caller holds."""

    folder: Path
    progress: bool = True

    def measured(self, spec: Spec, measure: Callable[["Bench", Spec], Outcome]) -> Result:
        """The result of a cell, as it was kept, or measured now and kept."""
        kept = self.kept(spec)
        if kept is not None:
            return kept
        start = time.perf_counter()
        outcome = measure(self, spec)
        now = provenance()
        made = {name: now[name] for name in MADE}
        self._keep(Result(spec, outcome.scores, outcome.told, time.perf_counter() - start, made))
        kept = self.kept(spec)  # as any later run finds it: float32, and what JSON makes of the rest
        assert kept is not None
        return kept

    def kept(self, spec: Spec) -> Result | None:
        """The result of a cell that was measured before, on the same vectors; None where there is none."""
        path = self._path(spec)
        if not path.exists():
            return None
        remedy = f"remove {path}, and it is measured anew"
        fields = sealed.read(path, VERSION, remedy)
        try:
            with np.load(path.with_suffix(".npz"), allow_pickle=False) as arrays:
                scores = {name: arrays[name] for name in arrays.files}
        except (*DAMAGE, OSError, ValueError) as error:
            raise FolderError(f"{path.with_suffix('.npz')} is damaged ({error}); {remedy}") from None
        return Result(spec, scores, fields["told"], fields["seconds"], fields["made"])

    def _keep(self, result: Result) -> None:
        path = self._path(result.spec)
        path.parent.mkdir(parents=True, exist_ok=True)
        arrays = {name: np.asarray(values, np.float32) for name, values in result.scores.items()}
        packed = io.BytesIO()
        np.savez_compressed(packed, **arrays)  # type: ignore[arg-type]
        files.write_bytes(path.with_suffix(".npz"), packed.getvalue())
        fields = {"spec": result.spec, "told": result.told, "seconds": round(result.seconds, 2), "made": result.made}
        sealed.replace(path, {"format_version": VERSION, **fields})

    def _path(self, spec: Spec) -> Path:
        sets = sorted({value for name, value in spec.items() if name.startswith(DATASET)})
        return self.folder / CELLS / f"{digest({'spec': spec, 'sources': [identity(one) for one in sets]})}.json"

    def trained(
        self,
        name: str,
        training: Float[np.ndarray, "n d"],
        fields: Mapping[str, Any],
        recipe: str = "published",
        seed: int = 0,
        validate: Callable[[Weights], dict[str, float]] | None = None,
    ) -> Weights:
        """The model of a recipe with some fields changed, trained on all of these rows of the set `name`, once.

        `budget_bytes` and `refine_rounds` stand among `fields` like any other. Its run folder is `run_folder(…)`.
        """
        folder = self.run_folder(name, training, fields, recipe, seed)
        own = dict(fields)
        budget = own.pop("budget_bytes", None)
        wanted = {
            "seed": seed,
            "budget_bytes": budget,
            **recipes.with_fields(recipes.recipe(recipe), own),
            "data": {"zero_rows": "keep"},
            "mesh": {"data": 1, "model": 1},
            "start": "",
        }
        rows = Rest(len(training), np.empty(0, np.int64))
        source = data.open_source(training)
        return loop.train(wanted, source, rows, folder, validate, progress=self.progress)

    def run_folder(
        self, name: str, training: Float[np.ndarray, "n d"], fields: Mapping[str, Any], recipe: str, seed: int
    ) -> Path:
        """Where a training lies: metrics.jsonl, checkpoints, the model."""
        what = {"source": identity(name), "rows": len(training), "fields": dict(fields)}
        return (
            self.folder / TRAININGS / digest({**what, "first": training[:1].tolist(), "recipe": recipe, "seed": seed})
        )


def source(name: str) -> Source:
    """The vectors of a dataset by name, or of any file or folder."""
    return data.load(name).vectors if name in data.names() else data.open_source(name)


def absent(names: Iterable[str]) -> dict[str, str]:
    """Of datasets by name, or files, those that are not at hand, with the reason."""
    found = {}
    for name in names:
        try:
            source(name)
        except InputError as error:
            found[name] = str(error)
    return found


def dataset(name: str) -> Dataset:
    """A dataset by name, with its judgements, purchases and texts.

    Raises:
        InputError: not a name.
    """
    return data.load(name)


@functools.lru_cache(maxsize=64)
def identity(name: str) -> str:
    """What the vectors of a set are, in a word; not where they lie."""
    told = {key: value for key, value in source(name).identity().items() if key not in ("name", "modified")}
    return digest(told)


@functools.lru_cache(maxsize=2)
def split(name: str, most: int = 0, unseen: bool = False) -> Rows:
    """A set by the neighbour protocol; of more than `most` rows (0: any) so many, drawn by seed 0.

    `unseen`: a random half of the rows is trained on and the other half searched, so that no method finds rows that it
    was fitted to. Zero rows, which have no direction, are left out.

    Raises:
        InputError: too few rows to hold any out.
    """
    opened = source(name)
    x = opened.read(0, len(opened))
    x = x[x.any(axis=1)]
    if most and len(x) > most:
        x = x[np.sort(np.random.default_rng(0).permutation(len(x))[:most])]
    drawn = data.split_rows(len(x), HELD_OUT, HELD_OUT)
    if not len(drawn.queries) or len(x) - len(drawn.queries) <= DEEPEST:
        raise InputError(f"{name}: {len(x)} rows are too few to hold some out as queries and to search {DEEPEST}")
    training, searched = x[np.asarray(drawn.train)], np.delete(x, drawn.queries, axis=0)
    if unseen:
        training, searched = np.array_split(training[np.random.default_rng(0).permutation(len(training))], 2)
    queries = x[drawn.queries]
    _, truth = dense.fit(searched).add(searched).search(queries, DEEPEST)
    return Rows(training, x[drawn.validation], searched, queries, truth)
