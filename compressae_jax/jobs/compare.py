"""Runs beside each other, by what their folders hold: measures over the same queries, configs; no model is run."""

import json
import os
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from compressae_jax.base import sealed
from compressae_jax.codes.spaces import SPACES
from compressae_jax.data import identity
from compressae_jax.evaluation import intervals, significance
from compressae_jax.evaluation.corpus import OWN
from compressae_jax.jobs import run_folder
from compressae_jax.model import weights as model_weights
from compressae_jax.notation import FolderError, InputError
from compressae_jax.training import records

CLOSE = 1e-6  # scores of one search of the same vectors
FEWEST = 2
SECTIONS = ("budget_bytes", "compress", "data", "evaluation", "model", "seed", "start", "train")
OF_FILES = ("start.folder",)  # fields that say where something lies, and not what it is
Contender = Mapping[str, Any]
Row = dict[str, Any]


class Run(NamedTuple):
    """An evaluated run folder: its config.json, report.json, scores by `protocol/contender/metric`, metrics.jsonl."""

    name: str
    workdir: Path
    record: Mapping[str, Any]
    report: Mapping[str, Any]
    scores: Mapping[str, np.ndarray]
    lines: Sequence[Mapping[str, Any]]

    @property
    def codes(self) -> list[Contender]:
        """The contenders that are this run's own codes, of whatever bytes."""
        return [one for one in self.report["contenders"] if one["kind"] == "code" and one.get("of", OWN) == OWN]

    def own(self, space: str) -> Contender | None:
        """Its codes in a space, with the model's k; with the largest that was evaluated where this was not."""
        k, there = self.report["model"]["k"], [one for one in self.codes if one["space"] == space]
        return max(there, key=lambda one: (one["k"] == k, one["k"]), default=None)

    def of(self, protocol: str, contender: str, metric: str) -> np.ndarray:
        """One number a query."""
        return self.scores[f"{protocol}/{contender}/{metric}"]


def compare(workdirs: Sequence[str | os.PathLike], resamples: int = intervals.RESAMPLES) -> dict[str, Any]:
    """The runs' own codes, measure by measure and paired query by query with the first run's, as JSON has it.

    P-values are of permutation tests, by Holm over all comparisons there are.

    Raises:
        InputError: fewer than two runs or one twice, other sources or queries, no measure or space in common.
        FolderError: a folder that is no run, or a run that is not trained or evaluated, or a damaged file in it.
    """
    if len(workdirs) < FEWEST:
        raise InputError(f"workdirs must name at least two runs, not {len(workdirs)}")
    runs = [opened(*one) for one in zip(workdirs, names(workdirs), strict=True)]
    check_same(runs)
    spaces = [space for space in SPACES if all(one.own(space) for one in runs)]
    if not spaces:
        there = "; ".join(f"{run.name} has {', '.join(sorted({c['space'] for c in run.codes}))}" for run in runs)
        raise InputError(f"the runs have no space in common: {there}; evaluate them with the same evaluation.spaces")
    protocols = shared(runs)
    compared: list[Row] = [
        {"protocol": protocol, "metric": metric, "space": space, "run": run.name}
        for protocol, metrics in protocols.items()
        for metric in metrics
        for space in spaces
        for run in runs
    ]
    _tested(compared, runs)
    _measured(compared, runs, resamples)
    return {
        "runs": [_described(run, spaces) for run in runs],
        "source": runs[0].report["source"]["name"],
        "protocols": {
            name: {**runs[0].report["protocols"][name], "metrics": list(ms)} for name, ms in protocols.items()
        },
        "left_out": sorted({name for run in runs for name in run.report["protocols"]} - set(protocols)),
        "differing": differing(runs),
        "measures": compared,
        "codes": [{"run": run.name, **one} for run in runs for one in run.codes],
    }


def names(workdirs: Sequence[str | os.PathLike]) -> list[str]:
    """What runs are called: the folder's name, or the whole path where two share it.

    Raises:
        InputError: one folder twice.
    """
    paths = [Path(os.path.expanduser(one)) for one in workdirs]
    real = [path.resolve() for path in paths]
    if len(twice := {path for path in real if real.count(path) > 1}):
        raise InputError(f"workdirs must be different folders, but {min(twice)} is named twice")
    last = [path.name for path in real]
    return last if len(set(last)) == len(last) else [str(path) for path in paths]


def opened(workdir: str | os.PathLike, name: str) -> Run:
    """An evaluated run folder.

    Raises:
        FolderError: no run, one that is not trained or evaluated, or whose model is another one by now; a damaged file.
    """
    path = Path(os.path.expanduser(workdir))
    if not (path / run_folder.CONFIG).exists():
        raise FolderError(f"{path} is no run folder: it has no {run_folder.CONFIG}")
    record = sealed.read(path / run_folder.CONFIG, records.FORMAT_VERSION, "train in a new folder")
    if not (path / run_folder.MODEL).exists():
        raise FolderError(f"the run in {path} is not finished: it has no {run_folder.MODEL}; its command continues it")
    missing = [file for file in run_folder.REPORTS if not (path / file).exists()]
    if missing:
        raise FolderError(f"the run in {path} is not evaluated: it has no {' and '.join(missing)}; use `evaluate`")
    damaged = f"{path} holds a damaged report; evaluate the run again"
    try:
        report = json.loads((path / "report.json").read_bytes())
        with np.load(path / "per_query.npz") as arrays:
            scores = {key: np.asarray(arrays[key], np.float64) for key in arrays.files}
        run = Run(name, path, record, report, scores, records.read_metrics(path))
        _check_whole(run)
        fingerprint = report["model"]["fingerprint"]
    except (ValueError, KeyError, TypeError, AttributeError, EOFError, zipfile.BadZipFile) as error:
        if isinstance(error, FolderError):
            raise
        raise FolderError(f"{damaged} ({error})") from None
    if (now := model_weights.load(path / run_folder.MODEL).fingerprint) != fingerprint:
        raise FolderError(f"{path} holds model {now}, its report is of {fingerprint}; evaluate the run again")
    return run


def check_same(runs: Sequence[Run]) -> None:
    """Raise InputError unless all runs were asked the same queries for the same rows."""
    first = runs[0]
    for run in runs[1:]:
        pair = f"{first.name} and {run.name}"
        changed = identity.difference(dict(first.record["source"]), dict(run.record["source"]))
        if changed is not None:
            raise InputError(f"{pair} are runs of different sources and cannot be compared: the first has {changed}")
        rows = first.record["source"]["rows"]
        mine, its = (run_folder.Made(dict(one.record)).split(rows) for one in (first, run))
        for part in ("queries", "unseen"):
            held_out, too = getattr(mine, part), getattr(its, part)
            if not np.array_equal(held_out, too):
                raise InputError(
                    f"{pair} hold out other rows ({part}: {len(held_out):,} and {len(too):,}), so their queries "
                    "are not the same; give both the same config.data.queries, validation and unseen"
                )
    for protocol, metrics in shared(runs).items():
        for run in runs[1:]:
            _check_asked(first, run, protocol, metrics)


def shared(runs: Sequence[Run]) -> dict[str, list[str]]:
    """The metrics that all runs have, by protocol, without those that find all rows.

    Raises:
        InputError: there is none.
    """
    found: dict[str, list[str]] = {}
    for name, protocol in runs[0].report["protocols"].items():
        others = [run.report["protocols"].get(name) for run in runs]
        if all(others):
            cut = {metric for one in others for metric in one.get("cut", ())}
            metrics = [m for m in protocol["metrics"] if m not in cut and all(m in one["metrics"] for one in others)]
            found |= {name: metrics} if metrics else {}
    if not found:
        there = "; ".join(f"{run.name}: {', '.join(run.report['protocols'])}" for run in runs)
        raise InputError(f"the runs have no measure in common ({there}); evaluate them by the same protocols")
    return found


def differing(runs: Sequence[Run]) -> dict[str, list[Any]]:
    """The fields that the runs were made with and that are not the same in all, one value a run."""
    fields = []
    for run in runs:
        kept = {section: run.record[section] for section in SECTIONS if section in run.record}
        fields.append({name: one for name, one in records.flat(kept).items() if name not in OF_FILES})
    every = sorted(set().union(*fields))
    return {name: values for name in every if _unlike(values := [one.get(name) for one in fields])}


def _unlike(values: Sequence[Any]) -> bool:
    return any(value != values[0] for value in values)


def _check_whole(run: Run) -> None:
    """Raise ValueError unless every score that the report tells of is there, one a query."""
    for protocol, asked in run.report["protocols"].items():
        for one in run.report["contenders"]:
            for metric in asked["metrics"]:
                shape = run.of(protocol, one["name"], metric).shape
                if shape != (asked["scored"],):
                    raise ValueError(f"{protocol}, {one['name']}, {metric}: {shape} scores, not {asked['scored']}")


def _check_asked(first: Run, run: Run, protocol: str, metrics: Sequence[str]) -> None:
    """Raise InputError unless dense search, which no training changes, scored the same on every query of both."""
    asked = [one.report["protocols"][protocol] for one in (first, run)]
    for field in ("scored", "rows"):
        if asked[0][field] != asked[1][field]:
            raise InputError(
                f"{protocol} of {first.name} and {run.name} are not of the same queries: {field} {asked[0][field]:,} "
                f"and {asked[1][field]:,}"
            )
    for metric in metrics:
        mine, its = (one.of(protocol, _dense(one), metric) for one in (first, run))
        if apart := int((np.abs(mine - its) > CLOSE).sum()):
            raise InputError(
                f"{protocol} of {first.name} and {run.name} are not of the same queries: dense search scores otherwise "
                f"on {apart:,} of {len(mine):,} ({metric})"
            )


def _dense(run: Run) -> str:
    return next(one["name"] for one in run.report["contenders"] if one["kind"] == "dense")


def _values(runs: Sequence[Run], row: Row, run: str) -> np.ndarray:
    """The scores that a row's measure has in a run."""
    one = next(each for each in runs if each.name == run)
    own = one.own(row["space"])
    assert own is not None
    return one.of(row["protocol"], own["name"], row["metric"])


def _tested(rows: Sequence[Row], runs: Sequence[Run]) -> None:
    """Add the p-values of the differences to the first run: by protocol, whose queries are exchanged together."""
    first = runs[0].name
    for protocol in dict.fromkeys(row["protocol"] for row in rows):
        tested = [row for row in rows if row["protocol"] == protocol and row["run"] != first]
        values = np.stack([_values(runs, row, row["run"]) for row in tested], axis=1)
        base = np.stack([_values(runs, row, first) for row in tested], axis=1)
        for row, p in zip(tested, significance.permutation(values, base), strict=True):
            row["p"] = float(p)
    family = [row for row in rows if "p" in row]
    for row, p in zip(family, significance.holm(np.array([row["p"] for row in family])), strict=True):
        row["p_holm"] = float(p)


def _measured(rows: Sequence[Row], runs: Sequence[Run], resamples: int) -> None:
    """Add means and paired differences to the first run, with their intervals."""
    first = runs[0].name
    for row in rows:
        values, base = (_values(runs, row, of) for of in (row["run"], first))
        row.update(intervals.interval(values, resamples)._asdict())
        if row["run"] != first:
            row["difference"] = intervals.difference(values, base, resamples)._asdict()


def _described(run: Run, spaces: Sequence[str]) -> dict[str, Any]:
    model, own = run.report["model"], run.own(spaces[0])
    assert own is not None
    return {
        "name": run.name,
        "workdir": str(run.workdir),
        **{name: model.get(name) for name in ("codes", "h", "fingerprint")},
        "k": own["k"],
        "bytes_per_vector": own["bytes_per_vector"],
        "training_seconds": run.lines[-1].get("seconds") if run.lines else None,
        "seed": run.record["seed"],
    }
