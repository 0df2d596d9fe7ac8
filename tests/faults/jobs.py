"""Two jobs in one run folder, in every ordered pair: the first is held in the middle, the second runs, the first ends.

Whoever writes a name that the other one holds is told so in one line, and leaves it alone; the first one always comes
to its end, with the result that it has alone; and `run.py` afterwards leaves what it leaves in a folder of its own.
"""

import functools
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from faults import forked, scripts, shim, writers
from faults.counts import Count
from faults.injected import IN_MEMORY, same
from faults.scripts import REPORTS, Prepared

from compressae_jax.base import files
from compressae_jax.jobs import run_folder
from compressae_jax.notation import BusyError

SECONDS = 600  # until a job hangs
HELD = 2  # places at which a job is held; of one that goes through others, one that lies in the first of them
TOLD, LACKS = "is being written by", ("is missing", "does not exist")


class Job(NamedTuple):
    """`begins` puts into a run folder what the job needs to have all of its work before it."""

    script: str
    flags: Callable[[Path], list[str]]
    begins: Callable[[Path], Any]
    names: tuple[str, ...]  # of the run folder, '' itself, whose locks it takes
    at: str = ""  # of one that goes through others: which is the first that it has still to do

    @property
    def holds(self) -> str:
        """Whose lock it has in the middle of what it does first."""
        places = ("training", "compression", "search", "evaluation")
        return self.names[places.index(self.at)] if self.at else self.names[0]

    @property
    def name(self) -> str:
        """As rows of the table have it."""
        return f"{self.script}, at its {self.at}" if self.at else self.script


def table(made: Prepared) -> list[Job]:
    """The jobs that write into a run folder."""

    def in_run(path: Path) -> list[str]:
        return [*made.config, f"--workdir={path}"]

    def lacks(*patterns: str) -> Callable[[Path], Any]:
        return lambda path: shutil.copytree(made.run, path, ignore=shutil.ignore_patterns(*patterns))

    codes, found, report = run_folder.CODES, run_folder.FOUND, run_folder.REPORT
    nothing, everything = Path.mkdir, ("", codes, found, report)
    no_codes, no_found = (lacks(*some, run_folder.DONE, *REPORTS) for some in ((codes, found), (found,)))
    return [
        Job("train.py", in_run, nothing, ("",)),
        Job("compress.py", lambda path: [*made.compress, f"--out={path / codes}"], no_codes, (codes,)),
        Job("join.py", lambda path: [*made.join, f"--out={path / codes}"], no_codes, (codes,)),
        Job("search.py", lambda path: [*made.search, f"--out={path / found}"], no_found, (found,)),
        Job("evaluate.py", in_run, no_found, (report,)),
        Job("run.py", in_run, nothing, everything, "training"),
        Job("run.py", in_run, no_codes, everything, "compression"),
        Job("run.py", in_run, no_found, everything, "search"),
        Job("run.py", in_run, lacks(*REPORTS), everything, "evaluation"),
    ]


def pairs(made: Prepared, only: Sequence[str] = ()) -> Iterator[Count]:
    """A count of each ordered pair; `only`: of those whose first job is one of these."""
    jobs, right = table(made), _Right(made)
    seconds = {job.script: job for job in jobs}.values()
    for first in (job for job in jobs if not only or job.script in only):
        calls = _calls(first)
        places = [calls // 10] if first.at else np.linspace(0, calls, HELD + 2).astype(int)[1:-1].tolist()
        for second in seconds:
            began = time.monotonic()
            count = Count("jobs", f"{first.name}, then {second.script}", more={"told": 0})
            for at in places:
                with tempfile.TemporaryDirectory(prefix="faults-", dir=IN_MEMORY) as scratch:
                    held = _Held(first, second, right, Path(scratch))
                    failures = list(held.tried(at))
                count.tried += 1
                count.more["told"] += held.told
                where = f"held at call {at} of {calls}"
                count.failures += [f"{count.what}, the first {where}: {failure}" for failure in failures]
            if first.holds in second.names and not count.more["told"]:
                count.failures.append(f"{count.what}: nobody was ever told who writes")
            count.seconds = time.monotonic() - began
            yield count


def _calls(job: Job) -> int:
    """How many calls a job makes alone."""
    with tempfile.TemporaryDirectory(prefix="faults-", dir=IN_MEMORY) as scratch:
        path = Path(scratch) / "run"
        job.begins(path)
        done = forked.run(lambda: _armed(job, path, shim.COUNT), SECONDS)
    if not done.whole:
        raise AssertionError(f"{job.script} alone: {done}\n{done.where}\n{done.printed[-2000:]}")
    return len(done.value)


def _armed(job: Job, path: Path, mode: int, at: int = 0) -> list[str]:
    shim.arm(path, mode, at)
    scripts.launch(job.script, *job.flags(path))
    shim.disarm()
    return shim.met()


class _Right:
    """What may stand in a run folder: each name's content as the jobs write it alone."""

    def __init__(self, made: Prepared) -> None:
        self.names = _names(made.run)
        self.whole = scripts.read_folder(made.run)
        self._run = functools.partial(scripts.launch, "run.py", *made.config)
        with tempfile.TemporaryDirectory(prefix="faults-", dir=IN_MEMORY) as scratch:
            out = Path(scratch) / "found.npz"
            forked.run(lambda: scripts.launch("search.py", *made.search, f"--out={out}"), SECONDS)
            self._searched = writers.read_npz(out)  # all queries, where a run has those that were held out

    def wrong(self, path: Path) -> Iterator[str]:
        """What stands in a folder and is not right."""
        try:
            there = scripts.read_folder(path)
        except Exception as error:  # whatever it is
            yield f"something broken stands there ({type(error).__name__}: {error})"
            return
        for name, content in there.items():
            allowed = [self.whole[name], *([self._searched] if name == run_folder.FOUND else [])]
            if not any(same(content, one) for one in allowed):
                yield f"{name} is another than alone"

    def completed(self, path: Path) -> Iterator[str]:
        """What `run.py`, run in a folder now, does not make right."""
        done = forked.run(lambda: self._run(f"--workdir={path}"), SECONDS)
        if not done.whole:
            yield f"run.py afterwards: {done}\n{done.where}\n{done.printed[-1000:]}"
        elif not same(scripts.read_folder(path), self.whole):
            yield "run.py afterwards leaves something else"
        elif left := sorted(_names(path) ^ self.names) + sorted(set(os.listdir(path.parent)) - {path.name}):
            yield f"left after run.py: {', '.join(left)}"


class _Held:
    """One run folder, in which the first job is held."""

    def __init__(self, first: Job, second: Job, right: _Right, scratch: Path) -> None:
        self._first, self._second, self._right, self._path = first, second, right, scratch / "run"
        self.told = 0
        first.begins(self._path)

    def tried(self, at: int) -> Iterator[str]:
        """What does not hold."""
        failures: list[str] = []
        done = forked.run(
            lambda: _armed(self._first, self._path, shim.STOP, at),
            SECONDS,
            meanwhile=lambda number: failures.extend(self._meanwhile(number)),
        )
        yield from failures
        if not done.whole:
            yield f"the first: {done}\n{done.where}\n{done.printed[-1000:]}"
        yield from self._right.wrong(self._path)
        yield from self._right.completed(self._path)

    def _meanwhile(self, number: int) -> Iterator[str]:
        """The second job while the first, of that process number, is held."""
        os.waitid(os.P_PID, number, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
        try:
            yield from self._beside()
        finally:
            os.kill(number, signal.SIGCONT)

    def _beside(self) -> Iterator[str]:
        held = [name for name in self._second.names if _locked(self._path / name)]
        done = forked.run(lambda: scripts.launch(self._second.script, *self._second.flags(self._path)), SECONDS)
        lines = [line for line in done.printed.splitlines() if TOLD in line]
        if not done.whole:
            said = done.printed.strip().splitlines()[-1:] or [""]
            if done.error[:1] != ("SystemExit",) or done.message != "2" or "Traceback" in done.printed:
                yield f"the second, not one line and exit code 2: {done}\n{done.where}\n{done.printed[-1500:]}"
            elif held and len(lines) != 1:
                yield f"the second is not told who writes {held}: {said[0]}"
            elif not held and not any(word in said[0] for word in LACKS):
                yield f"the second, where nobody wrote what it writes: {said[0]}"
        self.told += len(lines)


def _locked(path: Path) -> bool:
    """Whether somebody holds the lock of a name."""
    try:
        with files.locked(path):
            return False
    except BusyError:
        return True


def _names(path: Path) -> set[str]:
    found = {str(each.relative_to(path.parent)) for each in path.rglob("*")}
    return {name for name in found if not scripts.RANDOM.search(name)}
