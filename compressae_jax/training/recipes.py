"""The one table of model and training fields: defaults, units, legal ranges; experiments in configs/ change some.

What the default leaves open (None) is said by `settled`.
"""

import copy
import math
from collections.abc import Mapping
from typing import Any

from compressae_jax.model.compressae import DECODER_ROWS, INITS
from compressae_jax.model.losses import DISTANCES
from compressae_jax.model.topk import GRADIENTS
from compressae_jax.model.topk_host import ACTIVATIONS
from compressae_jax.notation import InputError, check_choice, check_range
from compressae_jax.training import landmarks, plan

Fields = dict[str, dict[str, Any]]  # {'model': {name: value}, 'train': {name: value}}

DTYPES = ("float32", "bfloat16")
LANDMARKS = "landmarks"  # the start that is no draw

# Published one-pass codes, trained in a way that suits any set of vectors.
PUBLISHED: Fields = {
    "model": {
        "h": 2048,  # latents: the width of a code
        "k": 16,  # nonzeros kept in a row
        "activation": "topk",  # by magnitude with sign; 'relu2_topk' for landmarks; the others are ablations
        "init_encoder": "transpose",  # of the decoder; 'kaiming' is the published start, 'landmarks' are rows
        "dtype": "float32",  # of the matrix products, or 'bfloat16'; parameters are float32 either way
    },
    "train": {
        "neighbour_steps": 0,  # before the others, of landmarks: a loss on who is near to whom in the sparse space
        "steps": 3000,  # updates; 0, with refine_rounds: the dictionary starts from rows of the data
        "batch": 1024,  # rows of an update, over all devices
        "microbatch": 0,  # rows of one accumulation pass, over all devices; 0: the whole batch
        "lr": 6e-3,  # peak learning rate of Adam
        "warmup_steps": 100,  # linear from 0 to the peak, at most a tenth of all steps
        "end_lr": 0.0,  # where the cosine decay ends, as a fraction of the peak; 1: constant
        "clip_norm": 1.0,  # largest norm of the gradient over all parameters; 0: no clipping
        "weight_4k": 0.125,  # of the term with 4k nonzeros
        "weight_pairs": 0.0,  # of the term on cos(s_x, s_y): .05 serves the sparse space, at a cost to the others
        "weight_prefixes": 0.0,  # of the terms with k/2 and k/4 nonzeros, for codes that are cut: evaluation.ks
        "distance": "cosine",  # of reconstructions in the loss; 'l2' is an ablation
        "gradient": "kept",  # of the selection: through the entries kept; 'all' is an ablation
        "decoder_rows": "unit",  # their length after each step; 'projected' gradients, too, or 'free': ablations
        "b1": 0.9,  # Adam's decay of the mean
        "b2": 0.999,  # Adam's decay of the square
        "refine_rounds": 0,  # after the steps: rounds, at most, of pursuit codes and their best decoder; 0: a budget's
        "refine_gain": 1e-4,  # of mean cosine: rounds end when the last three gained less than this each; 0: never
        "log_every": 1,  # steps from one line of metrics.jsonl to the next
        "validate_every": 250,  # steps; 0: at the end only
        "checkpoint_every": 250,  # steps; 0: at the end only
        "keep_last": 2,  # newest checkpoints kept
    },
}

# Packed pursuit codes of a budget, which chooses h and k and learns by rounds; published one-pass codes where h, k or
# steps are named.
DEFAULT: Fields = {
    "model": {**PUBLISHED["model"], "h": None, "k": None},
    "train": {**PUBLISHED["train"], "steps": None},
}
BUDGET_BYTES = 64  # of a vector, unless more is said
NARROW_SHARE = 0.5  # bytes a number, at most, of that default: an eighth of float32, so that narrow vectors shrink, too
LEAST_BYTES = 3  # that hold a nonzero, whatever the dictionary

# arXiv 2505.11388, section 4, and the published class. Neither states a learning rate: Adam's usual one stands in.
PAPER: Fields = {
    "model": {**PUBLISHED["model"], "h": 4096, "k": 32, "init_encoder": "kaiming"},
    "train": {
        **PUBLISHED["train"],
        "steps": 500,
        "batch": 100_000,
        "microbatch": 20_000,  # ours: an h-wide float32 array of it takes 330 MB
        "lr": 1e-3,
        "warmup_steps": 0,
        "end_lr": 1.0,
        "clip_norm": 0.0,
        "validate_every": 100,
        "checkpoint_every": 100,
    },
}

# For the space of codes alone: `landmarks`, as many as the rows afford, moved for the sake of their neighbours. More
# steps find no more (docs/research-log.md).
SPARSE: Fields = {
    "model": {**PUBLISHED["model"], "h": None, "activation": "relu2_topk", "init_encoder": LANDMARKS},
    "train": {**PUBLISHED["train"], "steps": 0, "neighbour_steps": 12},
}

# From a model on (`start`), which decides what is 0 or '' here: see `continued`. The rate is that of a new model: after
# 300 steps it reconstructed the rows that it was given best, of four from 1e-3 up; lower ones forget others less.
CONTINUE: Fields = {
    "model": {**PUBLISHED["model"], "h": 0, "k": 0, "activation": ""},
    "train": {**PUBLISHED["train"], "steps": 0},
}

RECIPES: dict[str, Fields] = {
    "default": DEFAULT,
    "published": PUBLISHED,
    "sparse": SPARSE,
    "paper": PAPER,
    "continue": CONTINUE,
}
NAMED = {"h": "model", "k": "model", "steps": "train"}  # what a budget chooses, and the sections where it stands

# Lowest and highest legal integer; k has h above it.
INTEGERS = {
    "h": (1, 2**31 - 1),
    "neighbour_steps": (0, 2**31 - 1),
    "steps": (0, 2**31 - 1),
    "batch": (1, 2**31 - 1),
    "microbatch": (0, 2**31 - 1),
    "warmup_steps": (0, 2**31 - 1),
    "log_every": (1, 2**31 - 1),
    "validate_every": (0, 2**31 - 1),
    "checkpoint_every": (0, 2**31 - 1),
    "keep_last": (1, 2**31 - 1),
    "refine_rounds": (0, 2**31 - 1),
}
# Lowest legal number (itself legal or not), and the one that it must stay below.
NUMBERS = {
    "lr": (0.0, False, math.inf),
    "end_lr": (0.0, True, math.inf),
    "clip_norm": (0.0, True, math.inf),
    "weight_4k": (0.0, True, math.inf),
    "refine_gain": (0.0, True, 1.0),
    "weight_pairs": (0.0, True, math.inf),
    "weight_prefixes": (0.0, True, math.inf),
    "b1": (0.0, True, 1.0),
    "b2": (0.0, True, 1.0),
}
CHOICES = {
    "activation": ACTIVATIONS,
    "init_encoder": (*INITS, LANDMARKS),
    "dtype": DTYPES,
    "distance": DISTANCES,
    "gradient": GRADIENTS,
    "decoder_rows": DECODER_ROWS,
}


def recipe(name: str) -> Fields:
    """A copy of a recipe's fields, to change at will."""
    check_choice("recipe", name, RECIPES)
    return copy.deepcopy(RECIPES[name])


def with_fields(fields: Fields, changes: Mapping[str, Any]) -> Fields:
    """The fields with some changed, each named without its section (no name stands in both)."""
    known = [*fields["model"], *fields["train"]]
    for name in changes:
        check_choice("field", name, known)
    return {section: {name: changes.get(name, value) for name, value in old.items()} for section, old in fields.items()}


def settled(fields: Mapping[str, Any], d: int, rows: int = 0) -> dict[str, Any]:
    """Fields of a run on vectors of width d, with nothing left open: a budget, or h, k and steps.

    Where none of `budget_bytes`, h, k and steps is said, the budget is 64 bytes, of narrow vectors half a byte a
    number. Where h, k or steps are, or the budget is 0, there is none, and those of the three that are open are those
    of the recipe 'published', or as many landmarks as the `rows` trained on afford. A budget leaves h and k open for
    `budgets.choose`.

    Raises:
        InputError: a budget beside h, k or steps, which it chooses, or beside fields that its rounds do not read.
    """
    own = copy.deepcopy(dict(fields))
    given = {name: own[section][name] for name, section in NAMED.items() if own[section][name] is not None}
    budget = fields["budget_bytes"]
    if budget and given:
        told = ", ".join(f"{name}={value!r}" for name, value in given.items())
        raise InputError(
            f"budget_bytes={budget} chooses {', '.join(given)}, but {told} is asked for, by hand or by a recipe; give "
            "one or the other"
        )
    if budget is None:
        own["budget_bytes"] = 0 if given else min(BUDGET_BYTES, max(LEAST_BYTES, int(NARROW_SHARE * d)))
    if own["budget_bytes"]:
        own["train"]["steps"] = 0
        _check_read(own)
    else:
        if own["model"]["init_encoder"] == LANDMARKS and "h" not in given:
            given["h"] = landmarks.suited(rows, int(given.get("k") or PUBLISHED["model"]["k"]))
        for name, section in NAMED.items():
            own[section][name] = given.get(name, PUBLISHED[section][name])
    return own


def _check_read(own: Mapping[str, Any]) -> None:
    """Raise InputError for fields that were changed and that a run of rounds alone does not read."""
    unread = [
        name
        for section, names in plan.OF_STEPS.items()
        for name in names
        if own[section][name] != DEFAULT[section][name]
    ]
    if unread:
        raise InputError(
            f"codes of a budget ({own['budget_bytes']} bytes) learn a dictionary by rounds of least squares, which "
            f"have no {', no '.join(unread)}; leave them out, or name h, k or steps, for published one-pass codes"
        )


def check(fields: Mapping[str, Mapping[str, Any]]) -> None:
    """Raise InputError unless every field of the table is there, no other is, and each value is legal."""
    for section, table in PUBLISHED.items():
        for name in fields[section]:
            check_choice(f"field of config.{section}", name, table)
        for name in table:
            if name not in fields[section]:
                raise InputError(f"config.{section} must have the field {name!r} (its default is {table[name]!r})")
    given = {**fields["model"], **fields["train"]}
    if given["h"] == 0 or given["activation"] == "":
        raise InputError(
            f"h={given['h']!r} and activation={given['activation']!r} must be named unless a model is trained on: 0 "
            "and '' stand for those of a start"
        )
    for name, (low, high) in INTEGERS.items():
        check_range(name, given[name], low, high)
    check_range("k", given["k"], 1, given["h"])
    for name, legal in CHOICES.items():
        check_choice(name, given[name], legal)
    for name, bounds in NUMBERS.items():
        _check_number(name, given[name], *bounds)
    _check_together(given)


def _check_number(name: str, given: Any, low: float, low_is_legal: bool, high: float) -> None:
    is_number = isinstance(given, (int, float)) and not isinstance(given, bool)
    if not is_number or not (given >= low if low_is_legal else given > low) or not given < high:
        raise InputError(
            f"{name} must be a number {'from' if low_is_legal else 'above'} {low:g} and below {high:g}, not {given!r}"
        )


def _check_together(given: Mapping[str, Any]) -> None:
    if given["refine_rounds"] and given["activation"] != "topk":
        raise InputError(f"refine_rounds need activation='topk', which pursuit chooses by, not {given['activation']!r}")
    if given["neighbour_steps"] and (given["init_encoder"], given["activation"]) != (LANDMARKS, "relu2_topk"):
        raise InputError(
            f"neighbour_steps={given['neighbour_steps']} move landmarks: they need init_encoder={LANDMARKS!r} and "
            f"activation='relu2_topk', not {given['init_encoder']!r} and {given['activation']!r}; give "
            "neighbour_steps=0 for none"
        )
    if not given["steps"] and not given["refine_rounds"] and given["init_encoder"] != LANDMARKS:
        raise InputError("steps must be at least 1, or refine_rounds or landmarks, which can stand in for them")
    if given["microbatch"] and given["batch"] % given["microbatch"]:
        raise InputError(f"microbatch must divide batch={given['batch']}, and {given['microbatch']} does not")
