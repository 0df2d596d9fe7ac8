"""All faults, in full: `python -m tests.faults` from the project's root; `--write` puts what it counts into the docs.

python -m tests.faults --only=kills,errors --writers=model,index
"""

import argparse
import dataclasses
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from faults import injected, shim, writers
from faults.counts import Count

FAST = 3  # calls of each fault and start
PARTS = ("kills", "errors")


def main() -> int:
    """Count, print a line for each, and say by the exit code whether all held."""
    options = _options()
    if reason := shim.why_not():
        print(reason, file=sys.stderr)
        return 1
    if not shim.preloaded():
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, "-m", "tests.faults", *sys.argv[1:]]
            return subprocess.run(command, env=shim.environment(shim.build(Path(folder))), check=False).returncode
    counts = []
    for count in _counted(options):
        print(count, flush=True)
        for failure in count.failures[: options.shown]:
            print("   ", failure[:2000], flush=True)
        counts.append(count)
    if options.json:
        Path(options.json).write_text(json.dumps([dataclasses.asdict(one) for one in counts]), encoding="utf-8")
    return int(any(one.failures for one in counts if one.what != writers.CARELESS.name))


def _counted(options: argparse.Namespace) -> Iterator[Count]:
    only = options.only.split(",") if options.only else PARTS
    at_most = FAST if options.fast else None
    for part in ("kills", "errors"):
        if part in only:
            for writer in writers.table() + [writers.CARELESS] * options.fast:
                if not options.writers or writer.name in options.writers.split(","):
                    yield from injected.tried(writer, part, at_most, options.seed)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fast", action="store_true", help="a few of everything, as the test suite has it")
    parser.add_argument("--only", default="", help=f"parts, of {', '.join(PARTS)}")
    parser.add_argument("--writers", default="", help="names of writers")
    parser.add_argument("--seed", type=int, default=0, help="of what is drawn")
    parser.add_argument("--shown", type=int, default=3, help="failures of each row to print")
    parser.add_argument("--json", default="", help="a file for the counts")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
