import pytest

from compressae_jax.model import budgets
from compressae_jax.training import plan, recipes


def train(**changes):
    return {**recipes.PUBLISHED["train"], **changes}


STEPS, ROUNDS = {"kind": "steps", "steps": 3000}, {"kind": "rounds", "rounds": 4, "gain": 1e-4}


@pytest.mark.parametrize(
    ("fields", "wanted"),
    [
        (train(), [STEPS]),
        (train(refine_rounds=4), [STEPS, ROUNDS]),
        (train(refine_rounds=4, steps=0, refine_gain=0.5), [{**ROUNDS, "gain": 0.5}]),
    ],
)
def test_fields_ask_for_stages_and_stages_say_the_fields(fields, wanted):
    assert plan.of(fields) == wanted
    assert plan.fields(wanted)["steps"] == fields["steps"]
    assert plan.fields(wanted)["refine_rounds"] == fields["refine_rounds"]


def test_a_budget_is_a_list_of_stages_whose_rounds_the_fields_may_say():
    stages = budgets.choose(32, 128, 2600).stages
    assert plan.of(train(), stages) == [{**ROUNDS, "rounds": 15}]
    assert plan.of(train(refine_rounds=4, refine_gain=0.0), stages) == [{**ROUNDS, "gain": 0.0}]


def test_rounds_are_enough_when_the_last_three_gained_less_than_asked():
    found = [0.5, 0.6, 0.7, 0.8]
    assert not plan.enough(found, 0.09) and plan.enough(found, 0.11)
    assert not plan.enough(found[:3], 0.5) and not plan.enough([0.5] * 9, 0.0)
    assert not plan.enough([0.5, 0.6, 0.9, 0.8], 0.09)  # one that lost is noise
