"""A run folder without its training, for the tests of this folder."""

from compressae_jax.jobs import inputs
from compressae_jax.model import weights as model_weights
from compressae_jax.training import recipes, records
from configs import default


def experiment(source):
    config = default.get_config("published")  # the models of these tests are, with a few latents
    config.data.source = source
    config.evaluation.resamples = 100
    return config


def trained(workdir, config, weights):
    """A run folder as training leaves it."""
    source = inputs.source(config)
    record = {**recipes.settled(config.to_dict(), source.width), "source": source.identity(), "sampling": 2}
    records.write_config(workdir, record)
    model_weights.save(weights, workdir / "model")
