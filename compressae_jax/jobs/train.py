"""The first job: a model trained on the rows of a source that are not held out."""

import os

import ml_collections

from compressae_jax.evaluation import neighbours
from compressae_jax.jobs import check, inputs
from compressae_jax.model.weights import Weights
from compressae_jax.training import loop


def train(config: ml_collections.ConfigDict, workdir: str | os.PathLike, progress: bool = True) -> Weights:
    """The weights, trained, continued or already there, once the whole config is checked; see `training.loop.train`."""
    source, start = inputs.source(config), inputs.start(config)
    check.whole(config, workdir, source, start)
    split = inputs.split(config, len(source))
    validate = None
    if len(split.validation):
        validate = neighbours.validator(source, split.validation, split.train, backend=config.search.backend)
    return loop.train(config.to_dict(), source, split.train, workdir, validate, progress, start)
