"""Definitions of WordNet 3.0 (117,659 x 384, all-MiniLM-L6-v2), and the model carried to SciFact's judgements.

python launch/run.py --config=configs/wordnet.py --workdir=runs/wordnet
"""

import ml_collections

from configs import default


def get_config() -> ml_collections.ConfigDict:
    """h=2048, k=16 on the neighbour protocol."""
    config = default.get_config()
    config.data.source = "wordnet"
    config.model.h, config.model.k = 2048, 16
    config.train.steps = 6000
    config.evaluation.ks = (4, 8, 16)
    config.evaluation.baselines += ("pq",)  # needs the extra [bench]
    config.evaluation.judged = ("scifact",)
    return config
