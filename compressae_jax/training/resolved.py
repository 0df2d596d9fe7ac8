"""What a run will do, decided before anything runs: its fields with nothing left open, and the stages they ask for."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from compressae_jax.data.sources import Source
from compressae_jax.model.budgets import Budget, choose
from compressae_jax.model.weights import Weights
from compressae_jax.training import continued, plan, recipes
from compressae_jax.training.plan import Stage


class Resolved(NamedTuple):
    """Fields with what a recipe, a budget or a start chose in its place; `use`: what the budget chose."""

    fields: dict[str, Any]
    plan: list[Stage]
    use: Budget | None


def of(fields: Mapping[str, Any], source: Source, rows: int, start: Weights | None = None) -> Resolved:
    """The run that fields (seed, model, train, budget_bytes, …) ask for, on so many rows of a source.

    Raises:
        InputError: fields that contradict each other, the start or the vectors' width, or that are out of range.
    """
    own = recipes.settled(fields, source.width, rows) if start is None else continued.fields(fields, start, source)
    # The default budget, by which nobody said what rows are for, keeps to storages that serve every similarity.
    said = fields["budget_bytes"] is not None
    use = choose(own["budget_bytes"], source.width, rows, cosines=said) if own["budget_bytes"] else None
    wanted = plan.of(own["train"], use.stages if use is not None else ())
    if use is not None:
        own["model"] |= {"h": use.h, "k": use.k}
        own["train"] |= plan.fields(wanted)
    recipes.check({name: own[name] for name in recipes.PUBLISHED})
    return Resolved(own, wanted, use)
