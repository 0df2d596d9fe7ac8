"""Debian's packages by their short descriptions (34,169 x 384, shipped): the quickstart.

    python launch/run.py --config=configs/debian.py --workdir=runs/quickstart

Two CPU cores, 2026-11-26: 2.1 minutes in all, of which .7 for the dictionary (8 rounds) and .4 for published one-pass
codes. recall@100 of 1,000 held-out rows among 8,000 that nothing was fitted to: packed pursuit codes .894 in 63 bytes,
.823 in 31; published one-pass codes in 64 bytes .496 sparse, .633 reconstructed, .711 dense_query (± .009, .007, .005);
PCA + int8 .723 in 64 bytes, PQ .828 in 64 and .711 in 32 (± .005 or less). With 15 rounds .897 and .829. RQ takes many
minutes to fit: --config.evaluation.baselines="('rq@32',)".
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
        config.evaluation.baselines += ("pq@64", "pq@32")
    config.evaluation.examples = ("gimp", "git", "vlc")
    return config


def published() -> ml_collections.ConfigDict:
    """A sixth of the steps that they would have by default."""
    fields = ml_collections.ConfigDict(default.model("published"))
    fields.model.h, fields.model.k = 2048, 15
    fields.train.steps, fields.train.batch = 500, 1024
    return fields
