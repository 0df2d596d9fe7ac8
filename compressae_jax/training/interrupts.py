"""A request to stop (SIGINT, SIGTERM) that training answers between two steps, the same step on every process."""

import os
import signal
import threading
from typing import Any

import jax

from compressae_jax.notation import Stopped

ASKING = (signal.SIGINT, signal.SIGTERM)


class Watch:
    """While this context lasts, SIGINT and SIGTERM ask to stop instead of ending the process; a second SIGINT ends it.

    Signals that the process ignores, as under nohup, stay ignored.
    """

    def __init__(self) -> None:
        self._asked: int | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "Watch":
        if threading.current_thread() is threading.main_thread():  # no other may listen
            # Several processes have jax.distributed listen to SIGTERM, and agree on a step.
            for number in ASKING if jax.process_count() == 1 else ASKING[:1]:
                if signal.getsignal(number) is not signal.SIG_IGN:
                    self._before[number] = signal.signal(number, self._ask)
        return self

    def __exit__(self, *error: Any) -> None:
        for number, before in self._before.items():
            signal.signal(number, before)
        if self._asked is not None and error[0] is None and jax.process_count() == 1:
            signal.raise_signal(self._asked)  # it came too late to be answered here

    def asked(self, done: int) -> bool:
        """Whether to stop, after so many steps and rounds."""
        if jax.process_count() == 1:
            return self._asked is not None
        from jax.experimental import multihost_utils

        return multihost_utils.reached_preemption_sync_point(done)

    def stopped(self, where: str) -> Stopped:
        """What to raise: where the run stopped, what is kept of it, and by which signal."""
        return Stopped(f"{where}; the same command continues", self._asked or signal.SIGTERM)

    def _ask(self, number: int, frame: Any) -> None:
        if self._asked is not None and number == signal.SIGINT:
            before = self._before[number]
            (before if callable(before) else signal.default_int_handler)(number, frame)
        self._asked = number
        if jax.process_count() > 1:
            os.kill(os.getpid(), signal.SIGTERM)
