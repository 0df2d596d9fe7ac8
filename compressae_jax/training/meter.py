"""The numbers of each step on their way from the devices to people: the progress bar, `records`, an alarm."""

import collections
import math
import sys
import time
from collections.abc import Callable
from typing import Any

import jax
from jaxtyping import Array

from compressae_jax.base import progress
from compressae_jax.notation import NonFiniteLossError
from compressae_jax.training.records import Log
from compressae_jax.training.step import Metrics

Numbers = dict[str, Any]

NOTHING: Numbers = {}
RATE_STEPS = 20  # that rows per second are measured over


class Meter:
    """Reads the metrics of step t−1 once step t is dispatched, so that the devices never wait; a context.

    `last_good` says, in words, what a run whose loss is lost can go back to.
    """

    def __init__(
        self,
        log: Log | None,
        *,
        done: int,
        steps: int,
        batch: int,
        every: int,
        shown: bool,
        last_good: Callable[[], str],
    ):
        self._log, self._steps, self._batch, self._every, self._last_good = log, steps, batch, every, last_good
        self._late: tuple[int, Metrics] | None = None
        self._before = log.seconds if log else 0.0  # of the run's earlier lives
        self._start = time.perf_counter()
        self._seen = collections.deque([(done, self._start)], maxlen=RATE_STEPS)
        self.last: Numbers = dict(log.last) if log else {}
        self.shown = shown
        self._bar = progress.bar(steps, "train", "steps", done, shown and done < steps)

    def __enter__(self) -> "Meter":
        return self

    def __exit__(self, *error: Any) -> None:
        self._bar.close()
        if self._log:
            self._log.close()

    @property
    def seconds(self) -> float:
        """Training time of all lives of the run so far."""
        return self._before + time.perf_counter() - self._start

    def dispatched(self, done: int, metrics: Metrics) -> None:
        """Take the metrics of a step that has only begun, and show those of the step before it."""
        late, self._late = self._late, (done, metrics)
        if late:
            self._show(self._read(*late))

    def settle(self, more: Callable[[], Numbers] | None = None) -> Numbers:
        """Wait for the step under way and show it with what `more` finds, called once it is known to be sane."""
        if self._late is None:
            return {}
        late, self._late = self._late, None
        numbers = self._read(*late)
        found = more() if more else NOTHING
        self._show(numbers, found)
        self._seen.clear()  # the rate leaves out what happens between steps
        self._seen.append((numbers["step"], time.perf_counter()))
        return found

    def round(self, number: int, told: Numbers) -> None:
        """Write the line of a round of `refine`."""
        if self._log:
            self._log.write({"stage": "rounds", "round": number, **told, "seconds": round(self.seconds, 3)})

    def check(self, done: int, finite: Array) -> None:
        """Raise NonFiniteLossError unless the state after `done` steps is finite."""
        if not finite:
            raise self._non_finite(done, "parameters or moments", self._lr)

    def sync(self) -> None:
        """Wait until what was shown is on the disk."""
        if self._log:
            self._log.sync()

    def say(self, text: str) -> None:
        """Print a line above the bar."""
        if self.shown:
            self._bar.write(progress.encodable(text, sys.stderr), file=sys.stderr)

    def _read(self, done: int, metrics: Metrics) -> Numbers:
        numbers = {name: float(value) for name, value in jax.device_get(metrics).items()}
        self._seen.append((done, time.perf_counter()))
        self._lr = numbers["lr"]
        wrong = [f"{name} {value}" for name, value in numbers.items() if not math.isfinite(value)]
        if wrong:
            raise self._non_finite(done, ", ".join(wrong), self._lr)
        return {"step": done, **numbers}

    def _non_finite(self, done: int, what: str, lr: float) -> NonFiniteLossError:
        return NonFiniteLossError(
            f"training left the finite numbers at step {done} ({what}); likely cause: the learning rate, {lr:.3g} at "
            f"this step, is too high; last good checkpoint: {self._last_good()}"
        )

    def _show(self, numbers: Numbers, found: Numbers = NOTHING) -> None:
        """Advance the bar; write the line where it is due, or where a validation found something to add to it."""
        done = numbers["step"]
        (before, then), (_, now) = self._seen[0], self._seen[-1]
        rate = (done - before) * self._batch / max(now - then, 1e-9)
        self._bar.update(done - self._bar.n)
        self._bar.set_postfix_str(f"loss {numbers['loss']:.4f}, {rate:,.0f} rows/s", refresh=False)
        if found or done % self._every == 0 or done == self._steps:
            validation = {f"validation/{name}": value for name, value in found.items()}
            speed = {"rows_per_second": round(rate), "seconds": round(self.seconds, 3)}
            self.last = {**numbers, **speed, **validation}
            if self._log:
                self._log.write(self.last)
