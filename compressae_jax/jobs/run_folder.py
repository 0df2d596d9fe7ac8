"""The folder of a run: where everything lies in it, what it was made with, and which jobs in it are complete."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import ml_collections
import xxhash

from compressae_jax import data
from compressae_jax.base import files, sealed
from compressae_jax.data import identity
from compressae_jax.data.sources import Source
from compressae_jax.model import weights as model_weights
from compressae_jax.notation import FolderError, InputError
from compressae_jax.training import recipes, records

MODEL, CODES, FOUND, CONFIG, DONE = "model", "codes", "found.npz", "config.json", "done.json"
BESIDE = "beside"  # run folders of the models that are compared with this one
REPORT = "report"  # no file: the name that an evaluation locks
REPORTS = ("report.json", "report.md", "per_query.npz")
DONE_VERSION = 1
FIXED = (
    "seed",
    "budget_bytes",
    "data.queries",
    "data.validation",
    "data.unseen",
    "data.zero_rows",
)  # for no later job to change


class Made(NamedTuple):
    """What a run was made with, as its config.json says: never what a later command's flags say."""

    record: dict[str, Any]

    @property
    def seed(self) -> int:
        """Of all that was drawn."""
        return self.record["seed"]

    @property
    def budget_bytes(self) -> int:
        """Bytes of a vector that chose h and k; 0 where none did, as in runs of version 0.1."""
        return _field(self.record, "budget_bytes")

    def split(self, rows: int) -> data.Split:
        """The rows that were held out of a source of so many, and the others."""
        draw = data.split_rows if "sampling" in self.record else data.split_of_0_1
        queries, validation, unseen = (
            _field(self.record, f"data.{name}") for name in ("queries", "validation", "unseen")
        )
        return draw(rows, queries, validation, unseen=unseen)

    def config(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        """What was asked for now, with the fields of model and training that the run had."""
        own = {name: self.record[name] for name in ("model", "train")}
        return {**asked, **own, "budget_bytes": self.budget_bytes}


def made(workdir: str | os.PathLike, config: ml_collections.ConfigDict, source: Source) -> Made:
    """What the run in a folder was made with, seen to be of this source and not to contradict the config.

    Raises:
        FolderError: no config.json, or a damaged one.
        InputError: another source, or fields that say otherwise which rows were held out.
    """
    path = Path(workdir) / CONFIG
    remedy = "it says which rows were held out of the training; train in a new folder"
    record = sealed.read(path, records.FORMAT_VERSION, remedy)
    asked = config.to_dict()
    # A start says how codes are made, and leaves no budget to choose by.
    now = {**asked, "budget_bytes": 0} if config.start else recipes.settled(asked, source.width)
    try:
        noted = dict(record["source"])
        differing = [
            f"config.{name} was {_field(record, name)!r}, now {_field(now, name)!r}"
            for name in FIXED
            if _field(record, name) != _field(now, name)
        ]
    except (KeyError, TypeError, ValueError):
        raise FolderError(f"{path} is damaged: a field of a run is missing; {remedy}") from None
    if "sampling" not in record:
        noted.pop("sample", None)  # of version 0.1, whose sample is of another kind
    changed = identity.difference(noted, source.identity())
    if changed is not None:
        differing.append(f"source {noted.get('name')} had {changed}")
    if differing:
        raise InputError(
            f"workdir {workdir} holds a run that was made otherwise: {'; '.join(differing)}; give what it was made with"
        )
    return Made(record)


def check_given(workdir: str | os.PathLike, given: Mapping[str, Any]) -> None:
    """Raise InputError where fields of model or training, by dotted name as flags give them, are not the run's.

    A start is told by its fingerprint, wherever its folder lies now.
    """
    record = sealed.read(Path(workdir) / CONFIG, records.FORMAT_VERSION, "train in a new folder")
    for name, value in given.items():
        if name == "start":
            start = record.get("start")
            was = start.get("fingerprint", "") if isinstance(start, Mapping) else ""
            now = model_weights.load(value).fingerprint if value else ""
            if was != now:
                raise InputError(
                    f"workdir {workdir} holds a run that was made otherwise: its start was {was or 'none'}, "
                    f"config.start is {now or 'none'}; give what it was made with, or leave it out"
                )
        section, _, own = name.partition(".")
        if section in ("model", "train") and record.get(section, {}).get(own) != value:
            raise InputError(
                f"workdir {workdir} holds a run that was made otherwise: config.{name} was "
                f"{record.get(section, {}).get(own)!r}, now {value!r}; give what it was made with, or leave it out"
            )


def is_complete(workdir: str | os.PathLike, job: str, inputs: Mapping[str, Any]) -> bool:
    """Whether a job was done in a folder with these inputs, and what it wrote is there as it wrote it."""
    try:
        done = sealed.read(Path(workdir) / DONE, DONE_VERSION, "it is made anew")
        noted = done["jobs"][job]
        there = {name: _hash(Path(workdir) / name) for name in noted["written"]}
        return noted["inputs"] == _digest(inputs) and noted["written"] == there
    except (FolderError, LookupError, TypeError, AttributeError):
        return False


def complete(workdir: str | os.PathLike, job: str, inputs: Mapping[str, Any], written: Sequence[str]) -> None:
    """Note that a job is done; the caller holds the folder's lock."""
    path = Path(workdir) / DONE
    try:
        jobs = dict(sealed.read(path, DONE_VERSION, "it is made anew")["jobs"])
    except (FolderError, LookupError, TypeError, ValueError):
        jobs = {}
    jobs[job] = {"inputs": _digest(inputs), "written": {name: _hash(Path(workdir) / name) for name in written}}
    sealed.replace(path, {"format_version": DONE_VERSION, "jobs": jobs})


def _field(fields: Any, name: str) -> Any:
    """A field by dotted name; 0 where a run has none of it: `fit` holds no row out."""
    section, _, own = name.rpartition(".")
    place = fields[section] if section else fields
    return place.get(own, 0)


def _digest(inputs: Mapping[str, Any]) -> str:
    return xxhash.xxh3_128_hexdigest(sealed.encoded(dict(inputs)))


def _hash(path: Path) -> str | None:
    try:
        with files.open_regular(path) as file:
            return files.digest(file).hexdigest()
    except (FileNotFoundError, FolderError):
        return None
