"""Processes that a test started, by their titles: a worker is killed while it works."""

import os
import signal
from pathlib import Path

MARK = "COMPRESSAE_TEST_OF"  # a variable that all processes of a test inherit


def titled(title: str, mark: str) -> list[int]:
    """The numbers of processes of this title, or command line, among those that inherited the mark."""
    found = []
    for entry in Path("/proc").iterdir():
        ours = entry.name.isdecimal() and title in _read(entry / "cmdline")
        if ours and f"{MARK}={mark}\0" in _read(entry / "environ") + "\0":
            found.append(int(entry.name))
    return sorted(found)


def kill_at_work(title: str, mark: str) -> int | None:
    """SIGKILL to one that bears this title, held while it is looked at again; None where there is none."""
    for number in titled(title, mark):
        try:
            os.kill(number, signal.SIGSTOP)
            at_work = number in titled(title, mark)
            os.kill(number, signal.SIGKILL if at_work else signal.SIGCONT)
        except ProcessLookupError:
            continue
        if at_work:
            return number
    return None


def _read(path: Path) -> str:
    try:
        return path.read_bytes().decode(errors="replace")
    except OSError:  # it has ended, or is another user's
        return ""
