"""What a run writes down for people: config.json, metrics.jsonl, TensorBoard files; its state is with `checkpoints`."""

import json
import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import xxhash

from compressae_jax.base import files, sealed
from compressae_jax.data import identity, sampling
from compressae_jax.notation import FolderError, InputError
from compressae_jax.training import plan, recipes

CONFIG, METRICS, BOARD = "config.json", "metrics.jsonl", "tensorboard"
FORMAT_VERSION = 2  # 1: no `sampling`, no `stages`
SUM = "sum"  # of a line of metrics.jsonl, its last field: the hash of the others

# That decide what is learned, as source and rows do.
SECTIONS = ("seed", "data", "model", "train", "budget_bytes", "start")
# Of those, the fields that only decide what is shown and kept, or how a sum is divided over passes.
FREE = {
    *("train.log_every", "train.validate_every", "train.checkpoint_every", "train.keep_last", "train.microbatch"),
    "start.folder",  # the start is told by its fingerprint
}

Record = dict[str, Any]
Line = dict[str, Any]


def check_config(workdir: Path, record: Record) -> None:
    """Raise InputError unless the run in `workdir`, if there is one, is the one that `record` describes.

    Raises:
        InputError: the fields that differ, with both values; a run of version 0.1 that was not finished.
        FolderError: a config.json that is damaged or newer, or other files in its place.
    """
    path = workdir / CONFIG
    if not (kept := _kept(workdir)):
        return  # nothing was learned yet that another config could spoil
    if not path.exists():
        raise FolderError(f"{workdir} holds {' and '.join(kept)} but no {CONFIG}; choose another workdir")
    remedy = f"choose another workdir, or remove {workdir} to train from the start"
    older = sealed.read(path, FORMAT_VERSION, remedy)
    if older.get("sampling") != sampling.VERSION and "model" not in kept:
        raise InputError(
            f"workdir {workdir} holds a run that version 0.1 began and did not finish, with rows in another order than "
            "this version draws; finish it with 0.1, or choose another workdir"
        )
    if differing := _differing(older, json.loads(json.dumps(record))):
        raise InputError(
            f"workdir {workdir} holds a run with another config: {'; '.join(differing)}; choose another workdir"
        )


def write_config(workdir: Path, record: Record) -> None:
    """Write the resolved config, whole or not at all; the caller holds the folder's lock."""
    workdir.mkdir(parents=True, exist_ok=True)
    sealed.replace(workdir / CONFIG, {"format_version": FORMAT_VERSION, **record})


def held_none_out(workdir: Path) -> bool:
    """Whether a run began in `workdir` that trains on all rows of its source."""
    if not _kept(workdir) or not (workdir / CONFIG).exists():
        return False
    record = sealed.read(workdir / CONFIG, FORMAT_VERSION, f"remove {workdir} to train from the start")
    trained, rows = record.get("rows"), record["source"].get("rows")
    return not trained or trained["trained"] == rows  # of version 0.1, whose `fit` held none out: nothing


def _kept(workdir: Path) -> list[str]:
    """What was learned in a folder, by name."""
    return [name for name in ("model", "checkpoints/*[0-9]", "refined") if any(workdir.glob(name))]


def _differing(older: Record, newer: Record) -> list[str]:
    before, now = (_deciding(_completed(one)) for one in (older, newer))
    named = [name for name in sorted(before | now) if before.get(name) != now.get(name)]
    differing = [f"{name} was {before.get(name)!r}, now {now.get(name)!r}" for name in named]
    noted = older["source"]
    if "sampling" not in older:  # the sample of version 0.1 is of another kind
        noted = {name: value for name, value in noted.items() if name != "sample"}
    if (changed := identity.difference(noted, newer["source"])) is not None:
        differing.append(f"source {noted.get('name')} had {changed}")
    elif "rows" in older and older["rows"] != newer["rows"]:
        differing.append(f"rows were {older['rows']}, now {newer['rows']}")
    return differing


def _completed(record: Record) -> Record:
    """A record with the fields that came after it, at their defaults, which change nothing."""
    newer = {
        section: {**fields, **record[section]} for section, fields in recipes.PUBLISHED.items() if section in record
    }
    return {"budget_bytes": 0, "start": {"folder": "", "fingerprint": ""}, **record, **newer}


def _deciding(record: Record) -> dict[str, Any]:
    """The fields that decide the result, by dotted name."""
    wanted = record.get("stages") or plan.of(record["train"])
    kept = {section: record[section] for section in SECTIONS if section in record}
    kept["train"] = {**record["train"], **plan.fields(wanted)}
    named = flat(kept)
    free = FREE - ({"train.microbatch"} if record["train"]["weight_pairs"] else set())  # pairs are of one pass
    if not named["train.steps"]:
        free = free | {f"{section}.{name}" for section, names in plan.OF_STEPS.items() for name in names}
        if named["model.init_encoder"] == recipes.LANDMARKS:
            free = free - {"model.init_encoder", "train.neighbour_steps"}
    return {name: value for name, value in named.items() if name not in free}


def flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """The fields of a record by dotted name."""
    fields: dict[str, Any] = {}
    for name, value in tree.items():
        fields |= flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {prefix + name: value}
    return fields


class Log:
    """metrics.jsonl and, where tensorboardX is installed, TensorBoard files: a line and a point a step or round.

    Lines past `done`, which a run left behind that did not live to its next checkpoint, are cut first. `steps` are
    those of the run, after which its rounds count.
    """

    def __init__(self, workdir: Path, done: int, steps: int):
        self._steps = steps
        kept = self._cut(workdir / METRICS, done)
        self.last: Line = next((line for line in reversed(kept) if "step" in line), {})
        self.seconds: float = kept[-1].get("seconds", 0.0) if kept else 0.0  # that the run has taken
        self._file = os.open(workdir / METRICS, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
        self._board = _board(workdir / BOARD, done)

    def write(self, line: Line) -> None:
        """Append the numbers of a step, or of a round."""
        left = memoryview(_encoded(line))
        while left:  # a disk that fills takes a part, and raises when asked again
            left = left[os.write(self._file, left) :]
        if "step" in line:
            self.last = line
        for name, value in line.items():
            if self._board is not None and name not in ("step", "stage", "round"):
                self._board.add_scalar(name, value, self._number(line))

    def sync(self) -> None:
        """Wait until all lines are on the disk; before a checkpoint, so that none is missing behind it."""
        os.fsync(self._file)

    def close(self) -> None:
        """Close the files."""
        os.close(self._file)
        if self._board is not None:
            self._board.close()

    def _number(self, line: Line) -> int:
        """How far the run was."""
        return line["step"] if "step" in line else self._steps + line["round"]

    def _cut(self, path: Path, done: int) -> list[Line]:
        """Keep the lines up to `done`; damaged ones go, with a warning."""
        lines, whole = _lines(path)
        kept = [line for line in lines if self._number(line) <= done]
        if not whole or len(kept) < len(lines):
            files.write_bytes(path, b"".join(map(_encoded, kept)))
        return kept


def read_metrics(workdir: str | os.PathLike) -> list[Line]:
    """The lines of a run's metrics.jsonl.

    A last one cut short by a kill is left out, and any that is damaged, with a warning.
    """
    return _lines(Path(workdir) / METRICS)[0]


def _encoded(line: Line) -> bytes:
    return json.dumps({**line, SUM: _sum(line)}).encode() + b"\n"


def _sum(line: Line) -> str:
    return xxhash.xxh3_64_hexdigest(json.dumps(line).encode())


def _lines(path: Path) -> tuple[list[Line], bool]:
    """The lines that are as they were written, and whether the file holds nothing else."""
    try:
        *texts, torn = path.read_bytes().split(b"\n")
    except FileNotFoundError:
        return [], True
    read = [_decoded(text) for text in texts]
    # Lines of version 0.1 have no sums, and numbers only: where one has a sum, all must.
    summed = any(line is not None and SUM in line for line in read)
    good = []
    for line in read:
        given = line.pop(SUM, None) if line else None
        good.append(line and (given == _sum(line) if summed else all(map(_is_number, line.values()))))
    damaged = [str(number) for number, fine in enumerate(good, 1) if not fine]
    if damaged:
        some = ", ".join(damaged[:5]) + (", …" if len(damaged) > 5 else "")
        warnings.warn(f"{path} is damaged: left out line {some} of {len(texts)}", stacklevel=3)
    return [line for line, fine in zip(read, good, strict=True) if line and fine], not torn and not damaged


def _decoded(text: bytes) -> Line | None:
    try:
        line = json.loads(text.decode("utf-8"))
    except (ValueError, RecursionError):
        return None
    return line if isinstance(line, dict) and ("step" in line or "round" in line) else None


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _board(folder: Path, done: int) -> Any:
    try:
        import tensorboardX
    except ImportError:
        return None
    return tensorboardX.SummaryWriter(str(folder), purge_step=done + 1 if done else None)
