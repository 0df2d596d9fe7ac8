"""A request to stop (SIGTERM) that training answers between two steps, the same step on every process."""

import signal
import threading
from typing import Any

import jax


class Watch:
    """While this context lasts, SIGTERM asks to stop instead of ending the process."""

    def __init__(self) -> None:
        self._asked = False
        # Several processes have jax.distributed listen, and agree on a step; a thread may not listen at all.
        self._listens = jax.process_count() == 1 and threading.current_thread() is threading.main_thread()

    def __enter__(self) -> "Watch":
        if self._listens:
            self._before = signal.signal(signal.SIGTERM, self._ask)
        return self

    def __exit__(self, *error: Any) -> None:
        if self._listens:
            signal.signal(signal.SIGTERM, self._before)

    def asked(self, step: int) -> bool:
        """Whether to stop after this step."""
        if jax.process_count() == 1:
            return self._asked
        from jax.experimental import multihost_utils

        return multihost_utils.reached_preemption_sync_point(step)

    def _ask(self, number: int, frame: Any) -> None:
        del number, frame
        self._asked = True
