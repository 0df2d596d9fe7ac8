"""A few seconds on one core, on the shipped item vectors: for tests and for trying a change.

python launch/run.py --config=configs/tiny.py --workdir=runs/tiny
"""

import ml_collections

from configs import default


def get_config() -> ml_collections.ConfigDict:
    """The smallest experiment that goes through every job: published one-pass codes."""
    config = default.get_config("published")
    config.data.source = "shop"
    config.model.h, config.model.k = 128, 4
    config.train.steps, config.train.batch = 40, 128
    config.train.log_every, config.train.validate_every, config.train.checkpoint_every = 5, 20, 10
    config.evaluation.resamples = 200
    return config
