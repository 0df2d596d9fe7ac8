"""A piece of work in a child of this process: what it returned, raised and printed, or what ended it."""

import os
import pickle
import select
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from typing import Any, NamedTuple


class Outcome(NamedTuple):
    """How a child ended; `error` names the kinds of what it raised, the nearest first."""

    value: Any = None
    error: tuple[str, ...] = ()
    number: int | None = None  # of the system, where it said one
    message: str = ""
    where: str = ""  # a traceback
    printed: str = ""
    signal: int = 0
    hung: bool = False

    @property
    def whole(self) -> bool:
        """Whether the work came to its end."""
        return not (self.error or self.signal or self.hung)

    def __str__(self) -> str:
        if self.hung:
            return "hung"
        if self.signal:
            return f"ended by {signal.Signals(self.signal).name}"
        return f"{self.error[0]}: {self.message}" if self.error else "done"


def run(work: Callable[[], Any], seconds: float = 60, meanwhile: Callable[[int], None] | None = None) -> Outcome:
    """The outcome of `work()` in a fork of this process; `meanwhile` is called with its number once it runs."""
    receives, sends = os.pipe()
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as printed:
        number = os.fork()
        if number == 0:
            _child(work, sends, printed.fileno())
        os.close(sends)
        if meanwhile is not None:
            meanwhile(number)
        sent, hung = _received(receives, seconds)
        os.close(receives)
        if hung:
            os.kill(number, signal.SIGKILL)
        status = os.waitpid(number, 0)[1]
        printed.seek(0)
        text = printed.read()
    ended = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
    said = pickle.loads(sent) if sent and not ended and not hung else {}
    return Outcome(**said, printed=text, signal=0 if hung else ended, hung=hung)


def _child(work: Callable[[], Any], sends: int, printed: int) -> None:
    try:
        os.dup2(printed, 1)
        os.dup2(printed, 2)
        sys.stdout = os.fdopen(1, "w", encoding="utf-8", buffering=1, closefd=False)
        sys.stderr = os.fdopen(2, "w", encoding="utf-8", buffering=1, closefd=False)
        try:
            said = {"value": work()}
        except BaseException as error:
            kinds = tuple(one.__name__ for one in type(error).__mro__)
            number = error.errno if isinstance(error, OSError) else None
            said = {"error": kinds, "number": number, "message": str(error), "where": traceback.format_exc()}
        with open(sends, "wb") as pipe:
            pickle.dump(said, pipe)
    finally:
        os._exit(0)


def _received(pipe: int, seconds: float) -> tuple[bytes, bool]:
    """What a child sent until it ended, and whether it was still silent when its time was over."""
    sent, until = b"", time.monotonic() + seconds
    while True:
        if not select.select([pipe], [], [], max(0.0, until - time.monotonic()))[0]:
            return sent, True
        some = os.read(pipe, 2**16)
        if not some:
            return sent, False
        sent += some
