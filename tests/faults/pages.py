"""The counts as tables between two markers of docs/RELIABILITY.md."""

import datetime
import os
import platform
import re
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from faults.counts import Count

from compressae_jax.evaluation import provenance

PAGE = Path(__file__).resolve().parents[2] / "docs/RELIABILITY.md"
BEGIN, END = "<!-- counts: begin -->", "<!-- counts: end -->"
PACKAGES = ("jax", "jaxlib", "orbax-checkpoint", "numpy", "numba", "pyarrow", "safetensors")
HEADINGS = {
    "kills": "Killed at a call",
    "errors": "Errors of the system at a call",
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


def write(counts: Sequence[Count], seconds: float) -> None:
    """Replace what stands between the markers."""
    page = PAGE.read_text(encoding="utf-8")
    before, after = page.split(BEGIN)[0], page.split(END)[1]
    PAGE.write_text(f"{before}{BEGIN}\n{tables(counts, seconds)}\n{END}{after}", encoding="utf-8")


def tables(counts: Sequence[Count], seconds: float) -> str:
    """A table for each part, a line for each thing, then what failed, and where all this was counted."""
    text = ["| | tried | failed |", "|---|---:|---:|"]
    parts = [part for part in HEADINGS if any(one.part == part for one in counts)]
    for part in parts:
        mine = [one for one in counts if one.part == part]
        text.append(f"| {HEADINGS[part]} | {sum(c.tried for c in mine):,} | {sum(len(c.failures) for c in mine):,} |")
    for part in parts:
        mine = [one for one in counts if one.part == part]
        names = list(dict.fromkeys(name for one in mine for name in one.more))
        text += ["", f"**{HEADINGS[part]}**", "", _row(["", "tried", "failed", *names])]
        text.append(_row(["---"] + ["---:"] * (2 + len(names))))
        for one in mine:
            figures = [_figure(one.more.get(name, "")) for name in names]
            text.append(_row([one.what, f"{one.tried:,}", f"{len(one.failures):,}", *figures]))
    failures = [failure for one in counts for failure in one.failures]
    if failures:
        text += ["", f"**What failed** (the first {SHOWN} kinds)", ""]
        text += [f"- {line}" for line in list(dict.fromkeys(map(_kind, failures)))[:SHOWN]]
    return "\n".join([*text, "", _where(seconds)])


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
