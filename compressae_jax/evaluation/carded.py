"""What a model card shows of an evaluation: `cs.evaluate`'s, or that of a run's report."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from compressae_jax.evaluation.evaluation import Evaluation
from compressae_jax.notation import InputError

REPORT = "report.json"


def table(evaluation: Any, fingerprint: str) -> str:
    """A table in Markdown, means with intervals, of one evaluation, of several, or of a report about this model.

    A report is a run folder, or its report.json; what it says of other models is left out.

    Raises:
        InputError: neither of these, or a report that is not about this model.
    """
    if isinstance(evaluation, Evaluation):
        return evaluation._repr_markdown_()
    if isinstance(evaluation, (str, os.PathLike)):
        return _of_report(Path(os.path.expanduser(os.fspath(evaluation))), fingerprint)
    if isinstance(evaluation, Sequence) and evaluation:
        return "\n\n".join(table(one, fingerprint) for one in evaluation)
    raise InputError(
        "evaluation must be what cs.evaluate gives, a list of such, or a run folder with a report.json, not "
        f"{evaluation!r:.80}"
    )


def _of_report(path: Path, fingerprint: str) -> str:
    path = path / REPORT if path.is_dir() else path
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
        models = {"own": report["model"], **report.get("beside", {})}
        mine = [name for name, model in models.items() if model["fingerprint"] == fingerprint]
        shown = [one for one in report["contenders"] if one["of"] in mine or one["kind"] == "dense"]
        rows = [
            f"| {one['name']} | {one['bytes_per_vector']:,.0f} | {protocol} | {metric} | {score['mean']:.3f} | "
            f"[{score['low']:.3f}, {score['high']:.3f}] |"
            for protocol in report["protocols"]
            for one in shown
            for metric, score in one["scores"].get(protocol, {}).items()
        ]
        asked = [
            f"{name}: {one['scored']:,} {one['unit']} among {one['rows']:,} rows"
            for name, one in report["protocols"].items()
        ]
        source, date = report["source"]["name"], str(report["date"])[:10]
    except FileNotFoundError:
        raise InputError(f"evaluation: there is no {path}; compressae evaluate writes one") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"evaluation: {path} is no report of compressae evaluate ({error!r:.80})") from None
    if not mine:
        told = ", ".join(str(model["fingerprint"]) for model in models.values())
        raise InputError(f"evaluation: {path} is about the models {told}, not {fingerprint}")
    heading = "| codes | bytes | asked | metric | mean | 95 % interval |\n|---|---:|---|---|---:|---|"
    return "\n".join([heading, *rows, "", f"On {source}, {date}. {'; '.join(asked)}."])
