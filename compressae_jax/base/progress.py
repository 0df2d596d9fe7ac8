"""Progress of long work on stderr: a bar on a terminal, elsewhere a whole line now and then."""

import os
import sys
import time
from typing import Any

from tqdm import tqdm

VARIABLE = "COMPRESSAE_PROGRESS"  # of the environment: 0 silences all
FIRST, LONGEST = 5.0, 600.0  # seconds to the first line, and between two at most; each pause is twice the one before
LINE = "{desc}: {percentage:3.0f}% {n_fmt} of {total_fmt}{unit} [{elapsed}, {remaining} left, {rate_fmt}{postfix}]"
MANY = 100_000  # from here on counts are shortened: 1.2M


def bar(total: int, what: str, unit: str = "rows", done: int = 0, shown: bool = True) -> tqdm:
    """A tqdm of so much work, `done` of it from before; where stderr is no terminal it writes lines and no controls.

    Nothing shows of what is over in half a second.
    """
    shown = shown and os.environ.get(VARIABLE) != "0"
    options: dict[str, Any] = {"total": total, "initial": done, "desc": what, "unit": f" {unit}", "disable": not shown}
    options |= {"file": sys.stderr, "unit_scale": total >= MANY}
    if _is_terminal(sys.stderr):
        return tqdm(**options, delay=0.5, dynamic_ncols=True)
    return Lines(**options, mininterval=0, miniters=1)


def drawn() -> bool:
    """Whether bars of others, which know no lines, may be drawn: on a terminal, unless all are silenced."""
    return os.environ.get(VARIABLE) != "0" and _is_terminal(sys.stderr)


class Lines(tqdm):
    """A tqdm for files: whole lines, after `FIRST` seconds, at growing intervals, and at the end."""

    monitor_interval = 0  # no thread that would refresh
    disable: bool

    def __init__(self, **options: Any):
        self._due, self._pause = time.monotonic() + FIRST, FIRST
        self._told = False
        super().__init__(**options)

    def display(self, msg: str | None = None, pos: int | None = None) -> bool:
        """Write a line where one is due."""
        del msg, pos
        if time.monotonic() < self._due:
            return False
        self._pause = min(2 * self._pause, LONGEST)
        self._due = time.monotonic() + self._pause
        self._line()
        return True

    def clear(self, nolock: bool = False) -> None:
        """Nothing: what is in a file stays."""

    def close(self) -> None:
        """Write a last line, if any was due before."""
        if self.disable:
            return
        self.disable = True
        self._decr_instances(self)
        if self._told or time.monotonic() >= self._due:
            self._line()

    def _line(self) -> None:
        self._told = True
        text = self.format_meter(**{**self.format_dict, "bar_format": LINE, "ascii": True})
        self.fp.write(encodable(text, self.fp) + "\n")
        self.fp.flush()


def encodable(text: str, stream: Any) -> str:
    """The text with x for × and ? for all else that the stream's encoding lacks."""
    encoding = getattr(stream, "encoding", None) or "ascii"
    try:
        text.encode(encoding)
        return text
    except (UnicodeEncodeError, LookupError):
        return text.replace("×", "x").encode("ascii", "replace").decode("ascii")


def _is_terminal(stream: Any) -> bool:
    return bool(getattr(stream, "isatty", lambda: False)())
