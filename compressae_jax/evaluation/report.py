"""What an evaluation found, on the disk: report.json, report.md, scores of every query, figures; jobs make it."""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from compressae_jax.base import files
from compressae_jax.evaluation import figures
from compressae_jax.evaluation.measures import Scores
from compressae_jax.evaluation.tables import closing, format_examples, format_table, markdown
from compressae_jax.training import records

__all__ = ["closing", "drawn", "format_examples", "format_table", "write"]


def drawn(workdir: Path, report: dict[str, Any], usage: Float[np.ndarray, " h"]) -> dict[str, Any]:
    """Draw the figures that there is something for; their names, or how to get them."""
    if not figures.available():
        return {"figures": [], "figures_note": "Figures need matplotlib: pip install 'compressae_jax[figures]'."}
    drawn = []
    if "neighbours" in report["protocols"]:
        asked = report["protocols"]["neighbours"]
        title = f"{report['source']['name']}: {asked['scored']:,} held-out rows, {asked['rows']:,} searched"
        figures.recall_bytes(report["contenders"], title, workdir / "recall_bytes.png", asked["headline"])
        drawn.append("recall_bytes.png")
    lines = records.read_metrics(workdir)
    if lines:
        figures.training(lines, workdir / "training.png")
        drawn.append("training.png")
    figures.usage(usage, workdir / "usage.png")
    return {"figures": [*drawn, "usage.png"], "figures_note": ""}


def write(workdir: Path, report: dict[str, Any], scores: Scores) -> None:
    """The scores of every query, and the report for programs and for people; the last of them marks all as done."""
    arrays = {
        f"{protocol}/{contender}/{metric}": values.astype(np.float32)
        for protocol, of_contender in scores.items()
        for contender, of_metric in of_contender.items()
        for metric, values in of_metric.items()
    }
    packed = io.BytesIO()
    np.savez_compressed(packed, **arrays)  # type: ignore[arg-type]
    files.write_bytes(workdir / "per_query.npz", packed.getvalue())
    files.write_bytes(workdir / "report.md", markdown(report).encode())
    files.write_bytes(workdir / "report.json", (json.dumps(report, indent=1, ensure_ascii=False) + "\n").encode())
