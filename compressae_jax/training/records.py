"""What a run writes down for people: config.json, metrics.jsonl, TensorBoard files; its state is with `checkpoints`."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TextIO

from compressae_jax.codes import disk
from compressae_jax.notation import FolderError, InputError
from compressae_jax.training import recipes

CONFIG, METRICS, BOARD = "config.json", "metrics.jsonl", "tensorboard"
FORMAT_VERSION = 1

SECTIONS = ("seed", "data", "model", "train", "source")  # that decide what is learned
# Of those, the fields that only decide what is shown and kept, or how a sum is divided over passes.
FREE = ("train.log_every", "train.validate_every", "train.checkpoint_every", "train.keep_last", "train.microbatch")
SOURCE = ("rows", "width", "sample")  # of a source, what tells it apart; it may move

Record = dict[str, Any]


def check_config(workdir: Path, record: Record) -> None:
    """Raise InputError unless the run in `workdir`, if there is one, is the one that `record` describes.

    Raises:
        InputError: the fields that differ, with both values.
        FolderError: a config.json that is damaged or newer, or other files in its place.
    """
    path = workdir / CONFIG
    kept = [name for name in ("model", "checkpoints/*[0-9]") if any(workdir.glob(name))]
    if not kept:
        return  # nothing was learned yet that another config could spoil
    if not path.exists():
        raise FolderError(f"{workdir} holds {' and '.join(kept)} but no {CONFIG}; choose another workdir")
    older = disk.read_json(path, FORMAT_VERSION, f"choose another workdir, or remove {workdir} to train from the start")
    before, now = (_deciding(_completed(one)) for one in (older, json.loads(json.dumps(record))))
    differing = [name for name in sorted(before | now) if before.get(name) != now.get(name)]
    if differing:
        pairs = "; ".join(f"{name} was {before.get(name)!r}, now {now.get(name)!r}" for name in differing)
        raise InputError(f"workdir {workdir} holds a run with another config: {pairs}; choose another workdir")


def write_config(workdir: Path, record: Record) -> None:
    """Write the resolved config, whole or not at all."""
    workdir.mkdir(parents=True, exist_ok=True)
    disk.write_json(workdir / CONFIG, {"format_version": FORMAT_VERSION, **record})


def _completed(record: Record) -> Record:
    """A record with the fields that came after it, at their defaults, which change nothing."""
    newer = {section: {**fields, **record[section]} for section, fields in recipes.DEFAULT.items() if section in record}
    return {**record, **newer}


def _deciding(record: Record) -> dict[str, Any]:
    """The fields that decide the result, by dotted name."""
    kept = {section: record[section] for section in SECTIONS if section in record}
    kept["source"] = {name: record["source"][name] for name in SOURCE}
    return {name: value for name, value in _flat(kept, "").items() if name not in FREE}


def _flat(tree: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for name, value in tree.items():
        fields |= _flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {prefix + name: value}
    return fields


class Log:
    """metrics.jsonl and, where tensorboardX is installed, TensorBoard files: one line and one point a step.

    Lines of steps past `done`, which a run left behind that did not live to its next checkpoint, are cut first.
    """

    def __init__(self, workdir: Path, done: int):
        self._path = workdir / METRICS
        self.last = _cut(self._path, done)
        self._file: TextIO = self._path.open("a", encoding="utf-8")
        self._board = _board(workdir / BOARD, done)

    def write(self, line: dict[str, Any]) -> None:
        """Append one step's numbers; `line['step']` counts the updates done."""
        self._file.write(json.dumps(line) + "\n")
        self._file.flush()
        self.last = line
        for name, value in line.items():
            if self._board is not None and name != "step":
                self._board.add_scalar(name, value, line["step"])

    def sync(self) -> None:
        """Wait until all lines are on the disk; before a checkpoint, so that none is missing behind it."""
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the files."""
        self._file.close()
        if self._board is not None:
            self._board.close()


def read_metrics(workdir: str | os.PathLike) -> list[dict[str, Any]]:
    """The lines of a run's metrics.jsonl; a last one cut short by a kill is left out."""
    path = Path(workdir) / METRICS
    return _whole_lines(path) if path.exists() else []


def _cut(path: Path, done: int) -> dict[str, Any]:
    """Keep the lines up to step `done`; the last of them, or nothing."""
    kept = [line for line in (_whole_lines(path) if path.exists() else []) if line["step"] <= done]
    aside = path.with_name(path.name + ".new")
    aside.write_text("".join(json.dumps(line) + "\n" for line in kept), encoding="utf-8")
    aside.replace(path)
    return kept[-1] if kept else {}


def _whole_lines(path: Path) -> list[dict[str, Any]]:
    lines = []
    for text in path.read_text(encoding="utf-8").splitlines():
        try:
            lines.append(json.loads(text))
        except ValueError:  # cut short by a kill; what follows is from a later life of the run
            continue
    return lines


def _board(folder: Path, done: int) -> Any:
    try:
        import tensorboardX
    except ImportError:
        return None
    return tensorboardX.SummaryWriter(str(folder), purge_step=done + 1 if done else None)
