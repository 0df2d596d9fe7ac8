"""All faults, in full: `python -m tests.faults` from the project's root; `--write` puts what it counts into the docs.

python -m tests.faults --only=kills,errors --what="model;index"
"""

import argparse
import dataclasses
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from faults import changes, damaged, growth, injected, jobs, pages, readers, scripts, shim, together, warm, writers
from faults.counts import Count

FLIPS, INPUTS, REPLACEMENTS = 2000, 5000, 500  # in all; replacements of each thing
FAST = {"kills": 1, "errors": 1, "reads": 1, "flips": 70, "inputs": 120, "replacements": 4, "pairs": 2}


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
    began, counts = time.monotonic(), []
    for count in _counted(options):
        print(count, flush=True)
        for failure in count.failures[: options.shown]:
            print("   ", failure[:2000], flush=True)
        counts.append(count)
    if options.json:
        Path(options.json).write_text(json.dumps([dataclasses.asdict(one) for one in counts]), encoding="utf-8")
    if options.write:
        pages.write(counts, time.monotonic() - began, whole=not options.what)
    return int(any(one.failures for one in counts if one.what != writers.CARELESS.name))


def _counted(options: argparse.Namespace) -> Iterator[Count]:
    only = options.only.split(",") if options.only else PARTS
    for part in PARTS:
        if part in only:
            yield from PARTS[part](options)


def _kills(options: argparse.Namespace) -> Iterator[Count]:
    yield from _injected("kills", options)


def _errors(options: argparse.Namespace) -> Iterator[Count]:
    yield from _injected("errors", options)


def _injected(part: str, options: argparse.Namespace) -> Iterator[Count]:
    warm.warm()
    for writer in _chosen(options, writers.table() + changes.table()[:: 4 if options.fast else 1]):
        yield from injected.tried(writer, part, FAST[part] if options.fast else None, options.seed)
    if options.fast:
        yield from injected.tried(writers.CARELESS, part)


def _script_kills(options: argparse.Namespace) -> Iterator[Count]:
    yield from _scripts("kills", options)


def _script_errors(options: argparse.Namespace) -> Iterator[Count]:
    yield from _scripts("errors", options)


def _scripts(part: str, options: argparse.Namespace) -> Iterator[Count]:
    warm.warm()
    with tempfile.TemporaryDirectory(prefix="faults-", dir=injected.IN_MEMORY) as scratch:
        for script in _chosen(options, scripts.table(scripts.prepared(Path(scratch)))):
            for count in injected.tried(script, part, FAST[part] if options.fast else None, options.seed):
                yield dataclasses.replace(count, part=f"script-{part}")


def _jobs(options: argparse.Namespace) -> Iterator[Count]:
    warm.warm()
    with tempfile.TemporaryDirectory(prefix="faults-", dir=injected.IN_MEMORY) as scratch:
        yield from jobs.pairs(scripts.prepared(Path(scratch)), options.what.split(";") if options.what else ())


def _unread(options: argparse.Namespace) -> Iterator[Count]:
    for reader in _chosen(options, readers.sources() + _folders(options)):
        yield from injected.unread(reader, FAST["reads"] if options.fast else None, options.seed)


def _flips(options: argparse.Namespace) -> Iterator[Count]:
    chosen = _chosen(options, _folders(options))
    yield from damaged.flipped(chosen, (FAST["flips"] if options.fast else FLIPS) // len(chosen) + 1, options.seed)


def _fuzz(options: argparse.Namespace) -> Iterator[Count]:
    chosen = _chosen(options, readers.sources() + _folders(options))
    yield from damaged.fuzzed(chosen, (FAST["inputs"] if options.fast else INPUTS) // len(chosen) + 1, options.seed)


def _pairs(options: argparse.Namespace) -> Iterator[Count]:
    warm.warm()
    chosen = _chosen(options, writers.table() + changes.table())
    yield from together.pairs(chosen, FAST["pairs"] if options.fast else None, options.seed)


def _replaced(options: argparse.Namespace) -> Iterator[Count]:
    warm.warm()
    chosen = _chosen(options, [*writers.table(), changes.changing()])
    yield from together.replaced(chosen, FAST["replacements"] if options.fast else REPLACEMENTS)


def _threads(options: argparse.Namespace) -> Iterator[Count]:
    yield from together.threads_and_forks()


def _growth(options: argparse.Namespace) -> Iterator[Count]:
    warm.warm()
    yield from growth.measured(growth.FEWER if options.fast else growth.ROWS)


PARTS: dict[str, Callable[[argparse.Namespace], Iterator[Count]]] = {
    "kills": _kills,
    "errors": _errors,
    "script-kills": _script_kills,
    "script-errors": _script_errors,
    "jobs": _jobs,
    "unread": _unread,
    "flips": _flips,
    "fuzz": _fuzz,
    "pairs": _pairs,
    "replaced": _replaced,
    "threads": _threads,
    "growth": _growth,
}


def _folders(options: argparse.Namespace) -> list:
    return readers.folders(not options.fast) + changes.readers()


def _chosen(options: argparse.Namespace, table: list) -> list:
    return [one for one in table if not options.what or one.name in options.what.split(";")]


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fast", action="store_true", help="a few of everything, as the test suite has it")
    parser.add_argument("--only", default="", help=f"parts, of {', '.join(PARTS)}")
    parser.add_argument("--what", default="", help="names of writers or readers, between semicolons; left out, all")
    parser.add_argument("--seed", type=int, default=0, help="of what is drawn")
    parser.add_argument("--shown", type=int, default=3, help="failures of each row to print")
    parser.add_argument("--json", default="", help="a file for the counts")
    parser.add_argument("--write", action="store_true", help="put the counts into docs/RELIABILITY.md")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
