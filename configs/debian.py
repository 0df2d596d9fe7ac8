"""Debian's packages by their short descriptions (34,169 x 384, shipped): the quickstart.

python launch/run.py --config=configs/debian.py --workdir=runs/quickstart
"""

import importlib.util

import ml_collections

from configs import default


def get_config() -> ml_collections.ConfigDict:
    """Packed pursuit codes of 64 and 32 bytes by one dictionary, and published one-pass codes of 64 bytes beside them.

    What is fitted is fitted to three quarters of the rows; the others are searched alone, too.
    """
    config = default.get_config()
    config.data.source = "debian"
    config.data.unseen, config.data.validation = 8000, 0
    config.budget_bytes = 64
    config.train.refine_gain = 1e-3  # after some eight rounds; 1e-4, the default, lets them go on to fifteen
    config.evaluation.budgets = (32,)
    config.evaluation.beside.published = published()
    config.evaluation.baselines = ("int8", "pca_int8@64")
    if importlib.util.find_spec("faiss"):  # of the extra [bench]
        config.evaluation.baselines += ("pq@64", "rq@32")
    config.evaluation.examples = ("gimp", "git", "vlc")
    return config


def published() -> ml_collections.ConfigDict:
    """A sixth of the steps that they would have by default."""
    fields = ml_collections.ConfigDict(default.model("published"))
    fields.model.h, fields.model.k = 2048, 15
    fields.train.steps, fields.train.batch = 500, 1024
    return fields
