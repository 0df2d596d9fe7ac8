"""Seconds to start: what importing `fit` takes beyond jax's own import, and the search door to its answers.

    python -m benchmarks.startup --out=results

Every side is a process of its own, in turn. The door is asked for its help, and for an index that does not exist, which
imports all that a search on a CPU needs, jax not among it. Packages are those of `-X importtime`, which itself slows an
import.
"""

import argparse
import collections
import functools
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import timing
from benchmarks.timing import shown, spread

ROOT = Path(__file__).resolve().parent.parent
DOOR = str(ROOT / "launch" / "search.py")
SIDES = {
    "python -c pass": ["-c", "pass"],
    "import jax": ["-c", "import jax"],
    "from compressae_jax import fit": ["-c", "from compressae_jax import fit"],
    "from compressae_jax import Expander": ["-c", "from compressae_jax import Expander"],
    "launch/search.py --help": [DOOR, "--help"],
    "launch/search.py, no such index": [DOOR, "--index=none", "--queries=none"],
}
ENDS = {"launch/search.py, no such index": 2}  # exit codes; 0 of the others
BASE, OURS = "import jax", "from compressae_jax import fit"  # the package alone imports nothing
LIMIT = 1.0  # seconds beyond jax's
TRACES, HEAVIEST = 3, 5


def main() -> None:
    """Start all sides in turn, trace the import, write the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--out", default="", help="folder for startup.json and startup.md")
    flags = parser.parse_args()
    sides = {name: functools.partial(started, SIDES[name], ENDS.get(name, 0)) for name in SIDES}
    seconds = timing.alternate(sides, flags.repeats)
    beyond = spread(np.subtract(seconds[OURS], seconds[BASE]))
    report = {
        "claim": f"{OURS} takes at most {LIMIT} s beyond import jax",
        "settings": vars(flags),
        "machine": timing.machine(),
        "seconds": {name: spread(some) for name, some in seconds.items()},
        "beyond_jax": beyond,
        "within": beyond["median"] < LIMIT,
        "packages_ms": heaviest([traced() for _ in range(TRACES)]),
    }
    if flags.out:
        timing.write(flags.out, "startup", report, table(report))
    print(table(report))


def started(arguments: list[str], end: int = 0) -> str:
    """What a Python process wrote to stderr.

    Raises:
        SystemExit: it ended with another exit code, so its seconds say nothing.
    """
    with tempfile.TemporaryDirectory() as empty:  # a folder here named `none` must not be found
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, cwd=empty, env=environment)
    if done.returncode != end:
        raise SystemExit(f"{arguments} ended with {done.returncode}, not {end}: {done.stderr[-2000:]}")
    return done.stderr


def traced() -> dict[str, float]:
    """Milliseconds by package of what compressae_jax imports after jax."""
    return by_package(started(["-X", "importtime", "-c", f"{BASE}; {OURS}"]), BASE.split()[-1])


def by_package(trace: str, base: str) -> dict[str, float]:
    """Milliseconds in modules themselves, summed by package, of the imports after that of `base`."""
    taken: dict[str, float] = collections.defaultdict(float)
    begun = False
    for line in trace.splitlines():
        if not line.startswith("import time:") or "self [us]" in line:
            continue
        own, _, name = line.removeprefix("import time:").split("|")
        if begun:
            taken[name.strip().split(".")[0]] += int(own) / 1000
        begun = begun or name.rstrip() == f" {base}"  # one space: not indented, so no import within another
    return dict(taken)


def heaviest(traces: list[dict[str, float]]) -> dict[str, float]:
    """The packages that take most in the median of some traces."""
    names = set().union(*traces)
    medians = {name: float(np.median([trace.get(name, 0.0) for trace in traces])) for name in names}
    return dict(sorted(medians.items(), key=lambda item: -item[1])[:HEAVIEST])


def table(report: dict[str, Any]) -> str:
    """Processes down; then the difference and the packages."""
    m, beyond = report["machine"], report["beyond_jax"]
    lines = [
        f"Seconds from the start of a process to its end: medians of {report['settings']['repeats']} alternating runs "
        f"after one to warm up (least to greatest); {m['processor']}, {m['cores']} core{'s' * (m['cores'] != 1)}, "
        f"Python {m['python']}, jax {m['jax']}. `python -m benchmarks.startup`.",
        "",
        *timing.markdown("process | s", ((name, shown(some)) for name, some in report["seconds"].items())),
        "",
        f"`{OURS}` takes {shown(beyond)} s beyond `{BASE}`, run by run (below zero: it imports no jax); the limit is "
        f"{LIMIT:.0f} s.",
        "",
        f"The heaviest packages beyond jax, in modules themselves (`-X importtime`, medians of {TRACES}; `jax` is what "
        "of it is imported only then):",
        "",
        *timing.markdown("package | ms", ((name, f"{some:.0f}") for name, some in report["packages_ms"].items())),
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
