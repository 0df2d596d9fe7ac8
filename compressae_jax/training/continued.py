"""A run that trains a model on: the start is seen to fit, and decides what the fields leave open with None, 0 or ''."""

import copy
from collections.abc import Mapping
from typing import Any

from compressae_jax.codes.storage.kinds import ADDITIVE, RESIDUAL
from compressae_jax.data.sources import Source
from compressae_jax.model.weights import Weights
from compressae_jax.notation import InputError
from compressae_jax.training import processes

STEPS, ROUNDS = 1000, 10  # unless fields say how many


def fields(given: Mapping[str, Any], start: Weights, source: Source) -> dict[str, Any]:
    """The fields of a run with what the start decides: h and activation; k, and steps or rounds, where they are open.

    A dictionary made for pursuit continues with rounds, any other model with gradient steps.

    Raises:
        InputError: vectors of another width, another h or activation than the start's, a budget, which would choose
            them, or steps for landmarks.
    """
    own: dict[str, Any] = copy.deepcopy(dict(given))
    model, train, who = own["model"], own["train"], f"(fingerprint {start.fingerprint})"
    if source.width != start.d:
        raise InputError(f"{source.name}: vectors have width d={source.width}, the start {who} has d={start.d}")
    if start.storage == RESIDUAL:
        raise InputError(
            f"the start {who} has a basis for what its nonzeros leave (storage {RESIDUAL!r}), which is not trained on; "
            "learn another model, with budget_bytes=…"
        )
    if start.storage == ADDITIVE:
        raise InputError(
            f"the start {who} has codebooks (storage {ADDITIVE!r}), which are not trained on; learn another model, "
            "with budget_bytes=…"
        )
    own["budget_bytes"] = own.get("budget_bytes") or 0
    if own["budget_bytes"]:
        raise InputError(
            f"budget_bytes={own['budget_bytes']} chooses h, k, encoder and storage, which the start {who} has: "
            f"h={start.h}, k={start.k}, {start.encoder}, {start.storage}; leave it out, or give another k"
        )
    if steps := train.get("neighbour_steps"):  # a table without it is refused later, by name
        raise InputError(
            f"neighbour_steps={steps} move landmarks that a run draws, and this one has the atoms of "
            f"the start {who}; give neighbour_steps=0 (recipe 'continue' does)"
        )
    for name, has in (("h", start.h), ("activation", start.activation)):
        if model[name] not in (None, 0, "", has):
            raise InputError(
                f"{name}={model[name]!r} is asked for, the start {who} has {name}={has!r}; leave it out (recipe "
                "'continue' does)"
            )
        model[name] = has
    model["k"], train["steps"] = model["k"] or start.k, train["steps"] or 0
    if not train["steps"] and not train["refine_rounds"]:
        train |= {"refine_rounds": ROUNDS} if start.encoder == "pursuit" else {"steps": STEPS}
    return own


def same_for_all(start: Weights | None) -> None:
    """Raise InputError unless every process has the same start."""
    first, *others = processes.all_of(lambda: start.fingerprint if start is not None else "none")
    for number, other in enumerate(others, 1):
        if other != first:
            raise InputError(f"process {number} has another start than process 0: {other}, not {first}")


def note(start: Weights) -> dict[str, Any]:
    """What a summary keeps of the start: who it is, and what it was trained on."""
    return {"fingerprint": start.fingerprint, "source": start.summary.get("source", {})}
