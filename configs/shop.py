"""Item vectors of a real shop (2,600 x 128, shipped), with purchases: published one-pass codes of few products.

    python launch/run.py --config=configs/shop.py --workdir=runs/shop

Two shared CPU cores, 2026-11-23: .8 minutes of training, 1.2 in all. k=16 in 68 bytes, recall@100 of 260 held-out
rows .325 sparse, .432 reconstructed, .758 dense_query; purchase recall@20 .086, .087, .106 (dense .107, ± .007); no
latent dead. PQ (extra [bench], --config.evaluation.baselines) is ahead of all: recall@100 .939, purchase recall@20
.108.
"""

import ml_collections

from configs import default


def get_config() -> ml_collections.ConfigDict:
    """Published one-pass codes of h=1024, k=16, and at smaller k by prefix."""
    config = default.get_config("published")
    config.data.source = "shop"
    config.model.h, config.model.k = 1024, 16
    config.train.steps, config.train.batch = 1500, 512
    config.evaluation.ks = (4, 8, 16)
    config.train.validate_every = config.train.checkpoint_every = 500
    return config
