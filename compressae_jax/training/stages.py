"""The stages of a run at work: gradient steps and dictionary rounds, with one log and one store of checkpoints."""

import functools
import warnings
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from compressae_jax.base import progress
from compressae_jax.training import plan, refine
from compressae_jax.training import state as states
from compressae_jax.training.checkpoints import Checkpoints
from compressae_jax.training.feed import Feed
from compressae_jax.training.interrupts import Watch
from compressae_jax.training.meter import Meter
from compressae_jax.training.state import State
from compressae_jax.training.step import Step


class Keeping(NamedTuple):
    """What stages write to and listen to; without a run folder there are no checkpoints, and nobody to stop for."""

    meter: Meter
    keeper: Checkpoints | None
    watch: Watch | None

    def save(self, number: int, arrays: Mapping[str, Any], told: Mapping[str, Any]) -> None:
        """Begin to write a checkpoint, once all lines before it are on the disk."""
        if self.keeper is not None:
            self.meter.sync()
            self.keeper.save(number, arrays, told)

    def asked(self, number: int) -> bool:
        """Whether to stop after so many steps and rounds."""
        return self.watch is not None and self.watch.asked(number)

    def stop(self, where: str) -> None:
        """End the run here, with what it has so far on the disk."""
        assert self.keeper is not None and self.watch is not None
        self.keeper.wait()
        raise self.watch.stopped(f"{where}, which is kept in {self.keeper.folder}")


def run_steps(
    t: Mapping[str, Any],
    step: Step,
    state: State,
    feed: Feed,
    keeping: Keeping,
    validate: Callable[[State], dict[str, float]] | None,
) -> State:
    """The gradient steps that are left, with the validations and checkpoints that are due between them."""
    meter = keeping.meter
    for number in range(int(state.step), t["steps"]):
        state, metrics = step(state, feed.batch(number))
        done = number + 1
        meter.dispatched(done, metrics)
        if validate is not None and _due(done, t["validate_every"], t["steps"]):
            meter.settle(functools.partial(validate, state))
        stop = keeping.asked(done)
        if keeping.keeper is not None and (stop or _due(done, t["checkpoint_every"], t["steps"])):
            meter.settle()
            meter.check(done, states.all_finite(state))
            keeping.save(done, states.flat(state), {})
        if stop:
            keeping.stop(f"stopped at step {done} of {t['steps']}")
    meter.settle()
    meter.check(t["steps"], states.all_finite(state))
    return state


def run_rounds(
    stage: Mapping[str, Any],
    decoder_w: refine.Dictionary,
    cosines: list[float],
    looked_at: Callable[[int], Float[np.ndarray, "m d"]],
    *,
    before: int,
    keeping: Keeping,
    shown: bool,
    improved: Callable[[refine.Dictionary, Float[np.ndarray, "m d"]], tuple[refine.Dictionary, dict[str, float]]],
) -> tuple[refine.Dictionary, list[float]]:
    """The dictionary after the rounds that are left, and the mean cosine that each of all rounds found.

    `cosines` are those of the rounds done, `looked_at` gives the unit rows of a round, `improved` makes it, and
    `before` it were so many steps. Ctrl-C loses the round that it falls into, no other, also without a run folder: what
    was learned comes back, with a warning.
    """
    most = stage["rounds"]
    with progress.bar(most, "refine", "rounds", len(cosines), shown) as bar:
        while len(cosines) < most and not plan.enough(cosines, stage["gain"]):
            number = len(cosines)
            try:
                decoder_w, told = improved(decoder_w, looked_at(number))
            except KeyboardInterrupt:
                if keeping.keeper is not None or not before + number:
                    raise
                what = f"interrupted in round {number + 1} of {most}; what was learned before it is returned"
                warnings.warn(what, stacklevel=2)
                break
            gain = {"gain": told["cosine"] - cosines[-1]} if cosines else {}
            cosines = [*cosines, told["cosine"]]
            keeping.meter.round(number + 1, {**told, **gain})
            keeping.save(before + number + 1, {"decoder_w": decoder_w}, {"cosines": cosines})
            bar.set_postfix_str(", ".join(f"{name} {value:.4g}" for name, value in told.items()))
            bar.update()
            if keeping.asked(before + number + 1):
                keeping.stop(f"stopped after round {number + 1} of at most {most}")
    return decoder_w, cosines


def _due(done: int, every: int, steps: int) -> bool:
    return done == steps or (every > 0 and done % every == 0)
