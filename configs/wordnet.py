"""Definitions of WordNet 3.0 (117,659 x 384, all-MiniLM-L6-v2), and the model carried to SciFact's judgements.

    python launch/run.py --config=configs/wordnet.py --workdir=runs/wordnet

Two shared CPU cores, 2026-11-23: 12 minutes of training (1,024 rows a step, 8,500 rows/s), 7 of evaluation (most of
it PQ, which needs the extra [bench]). recall@100 of 1,000 held-out rows among 116,659, k=16 in 68 bytes: .500 sparse,
.568 reconstructed, .679 dense_query (± .009, .007, .005); 2 of 2,048 latents dead; SciFact nDCG@10 .408, .385, .463
(± .05; dense .648). The rate was tuned on the validation rows: 1,500 steps at 2e-3, 4e-3 and 6e-3 gave recall@100
.685, .692, .692 and cosine .833, .841, .844 there (20,000 rows searched); these 6,000 steps .697 and .846.
"""

import ml_collections

from configs import default


def get_config() -> ml_collections.ConfigDict:
    """Published one-pass codes of h=2048, k=16 on the neighbour protocol."""
    config = default.get_config("published")
    config.data.source = "wordnet"
    config.model.h, config.model.k = 2048, 16
    config.train.steps = 6000
    config.evaluation.ks = (4, 8, 16)
    config.evaluation.baselines += ("pq",)  # needs the extra [bench]
    config.evaluation.judged = ("scifact",)
    return config
