"""The counts of all runs in one file, and as tables between two markers of docs/RELIABILITY.md."""

import dataclasses
import datetime
import json
import os
import platform
import re
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from faults.counts import Count

from compressae_jax.evaluation import provenance

PAGE = Path(__file__).resolve().parents[2] / "docs/RELIABILITY.md"
COUNTS = PAGE.parents[1] / "results/faults.json"  # what the tables are made of: a part may be counted by itself
BEGIN, END = "<!-- counts: begin -->", "<!-- counts: end -->"
PACKAGES = ("jax", "jaxlib", "orbax-checkpoint", "numpy", "numba", "pyarrow", "safetensors")
HEADINGS = {
    "kills": "Killed at a call",
    "errors": "Errors of the system at a call",
    "script-kills": "Launch scripts killed at a call",
    "script-errors": "Errors of the system at a call of a launch script",
    "unread": "EIO at a read",
    "flips": "One bit flipped",
    "fuzz": "Files changed at will",
    "pairs": "Two writers of one name",
    "jobs": "Two jobs in one run folder",
    "replaced": "Readers during replacements",
    "threads": "Eight threads on one index",
    "fork": "Forked after a search",
    "growth": "Time and memory",
}
SHOWN = 10  # failures that the page names


def write(counts: Sequence[Count], seconds: float, whole: bool) -> None:
    """Put counts beside those of other runs, and make the page of all.

    `whole`: all rows of these parts were counted, so that none of an older run is one of theirs any more.
    """
    kept = json.loads(COUNTS.read_text(encoding="utf-8"))
    kept["runs"].append(_where(seconds))
    run, parts = len(kept["runs"]) - 1, {one.part for one in counts}
    rows = {(row["part"], row["what"]): row for row in kept["rows"] if not (whole and row["part"] in parts)}
    for one in counts:
        row = dataclasses.asdict(one)
        row.pop("seconds")
        row |= {"failures": row["failures"][:SHOWN], "failed": len(one.failures), "run": run}
        rows[one.part, one.what] = row
    kept["rows"] = list(rows.values())
    _forget_runs(kept)
    COUNTS.write_text(json.dumps(kept, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    page = PAGE.read_text(encoding="utf-8")
    before, after = page.split(BEGIN)[0], page.split(END)[1]
    PAGE.write_text(f"{before}{BEGIN}\n{tables(kept['rows'], kept['runs'])}\n{END}{after}", encoding="utf-8")


def _forget_runs(kept: dict[str, Any]) -> None:
    """Number anew the runs of which rows are left."""
    numbers = sorted({row["run"] for row in kept["rows"]})
    kept["runs"] = [kept["runs"][number] for number in numbers]
    for row in kept["rows"]:
        row["run"] = numbers.index(row["run"])


def tables(rows: Sequence[dict[str, Any]], runs: Sequence[str]) -> str:
    """A table for each part, a line for each thing, then what failed, and where all this was counted."""
    text = ["| | tried | failed |", "|---|---:|---:|"]
    of_part = {part: [row for row in rows if row["part"] == part] for part in HEADINGS}
    of_part = {part: mine for part, mine in of_part.items() if mine}
    for part, mine in of_part.items():
        tried, failed = (sum(row[name] for row in mine) for name in ("tried", "failed"))
        text.append(f"| {HEADINGS[part]} | {tried:,} | {failed:,} |")
    for part, mine in of_part.items():
        names = list(dict.fromkeys(name for row in mine for name in row["more"]))
        text += ["", f"**{HEADINGS[part]}**", "", _row(["", "tried", "failed", *names])]
        text.append(_row(["---"] + ["---:"] * (2 + len(names))))
        for row in mine:
            figures = [_figure(row["more"].get(name, "")) for name in names]
            text.append(_row([row["what"], f"{row['tried']:,}", f"{row['failed']:,}", *figures]))
    failures = [failure for row in rows for failure in row["failures"]]
    if failures:
        text += ["", f"**What failed** (the first {SHOWN} kinds)", ""]
        text += [f"- {line}" for line in list(dict.fromkeys(map(_kind, failures)))[:SHOWN]]
    for run in dict.fromkeys(row["run"] for mine in of_part.values() for row in mine):
        theirs = [HEADINGS[part] for part, mine in of_part.items() if any(row["run"] == run for row in mine)]
        text += ["", f"{'; '.join(theirs)}: {runs[run]}"]
    return "\n".join(text)


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _figure(value: float | int | str) -> str:
    return f"{value:,.3g}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else value


def _kind(failure: str) -> str:
    """The first line of a failure, without what is other each time."""
    line = failure.splitlines()[0].replace("|", "\\|")
    return re.sub(r"(call|input|read) \d+( of \d+)?", r"\1 …", re.sub(r"/\S*faults-\w+", "…", line))[:300]


def _where(seconds: float) -> str:
    versions = ", ".join(f"{name} {number}" for name, number in provenance.versions(PACKAGES).items())
    command = shlex.join(["python", "-m", "tests.faults", *sys.argv[1:]])
    machine = f"{platform.processor() or platform.machine()}, {len(os.sched_getaffinity(0))} cores"
    return (
        f"`{command}`, {seconds / 60:.0f} minutes; {machine}, Linux {platform.release()}; "
        f"Python {platform.python_version()}, {versions}; commit {(provenance.commit() or 'unknown')[:12]}; "
        f"{datetime.datetime.now(datetime.UTC):%F}."
    )
