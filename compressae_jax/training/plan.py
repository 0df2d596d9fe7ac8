"""What a run is made of, a list of stages in JSON; `stages` runs them.

{"kind": "steps", "steps": n}: updates by gradient. {"kind": "rounds", "rounds": n, "gain": least}: rounds of `refine`,
n at most, which end when they gain less. Steps come first, and either may be missing: rounds alone begin with rows of
the data. How far a run is, is one number: its steps and then its rounds; checkpoints are named by it.
"""

from collections.abc import Mapping, Sequence
from typing import Any

STEPS, ROUNDS = "steps", "rounds"
# Fields of the table that rounds alone do not read.
OF_STEPS = {
    "model": ("init_encoder", "dtype"),
    "train": (
        *("neighbour_steps", "batch", "microbatch", "lr", "warmup_steps", "end_lr", "clip_norm", "weight_4k"),
        *("weight_pairs", "weight_prefixes", "distance", "gradient", "decoder_rows", "b1", "b2"),
        *("log_every", "validate_every", "checkpoint_every"),
    ),
}
RECENT = 3  # rounds whose mean gain counts: each sees other rows, and alone errs by as much as late ones gain

Stage = dict[str, Any]


def of(train: Mapping[str, Any], wanted: Sequence[Mapping[str, Any]] = ()) -> list[Stage]:
    """The stages that the fields of training ask for, or those of a budget, whose rounds the fields may say."""
    if not wanted:
        wanted = [{"kind": STEPS, "steps": train["steps"]}, {"kind": ROUNDS, "rounds": 0}]
    said = {"rounds": train["refine_rounds"]} if train["refine_rounds"] else {}
    plan = [{**one, **said, "gain": train["refine_gain"]} if one["kind"] == ROUNDS else dict(one) for one in wanted]
    return [one for one in plan if one[one["kind"]]]


def fields(plan: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The fields of training that ask for these stages."""
    last = rounds(plan)
    gain = {"refine_gain": last["gain"]} if last["rounds"] else {}
    return {"steps": steps(plan), "refine_rounds": last["rounds"], **gain}


def steps(plan: Sequence[Mapping[str, Any]]) -> int:
    """Updates by gradient; 0 where there are none."""
    return sum(one["steps"] for one in plan if one["kind"] == STEPS)


def rounds(plan: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """The stage of rounds; one of none where there is none."""
    return next((one for one in plan if one["kind"] == ROUNDS), {"rounds": 0, "gain": 0.0})


def enough(cosines: Sequence[float], gain: float) -> bool:
    """Whether rounds that found these mean cosines have come to gain less than `gain` each; 0: never."""
    recent = cosines[-RECENT - 1 :]
    return gain > 0 and len(recent) > RECENT and (recent[-1] - recent[0]) / RECENT < gain
