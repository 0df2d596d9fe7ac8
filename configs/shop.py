"""Item vectors of a real shop (2,600 x 128, shipped): the quickstart.

python launch/run.py --config=configs/shop.py --workdir=runs/shop
"""

import ml_collections

from configs import default


def get_config() -> ml_collections.ConfigDict:
    """The quickstart's experiment."""
    config = default.get_config()
    config.data.source = "shop"
    config.model.h, config.model.k = 1024, 16
    config.train.steps, config.train.batch = 1500, 512
    config.evaluation.ks = (4, 8, 16)
    config.train.validate_every = config.train.checkpoint_every = 500
    return config
