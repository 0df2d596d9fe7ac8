"""What the experiment of joint training refuses; `test_reproduce` runs it."""

import pytest

from compressae_jax.experiments import joint
from compressae_jax.notation import InputError
from configs.experiments import joint as config


@pytest.mark.parametrize(
    ("arms", "told"),
    [(("posthoc", "first"), "arms must be one of"), (("all", "posthoc"), "must begin with 'posthoc'")],
)
def test_arms_that_cannot_be_compared(arms, told):
    settings = {**config.get_config().sizes.toy.to_dict(), "arms": arms}
    with pytest.raises(InputError, match=told):
        joint.cells(settings)


def test_every_arm_is_asked_on_all_sets():
    settings = config.get_config().sizes.full.to_dict()
    specs = joint.cells(settings)
    assert len(specs) == 5 * 2 * 3 and all(spec["asked"] == ["debian", "scifact"] for spec in specs)
    assert {spec["arm"] for spec in specs[:6]} == {"posthoc"}
