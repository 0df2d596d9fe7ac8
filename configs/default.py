"""The page that every experiment starts from, and the one for your own vectors.

    python launch/run.py --config=configs/default.py --config.data.source=vectors.npy --workdir=runs/mine

Packed pursuit codes of 64 bytes a vector; --config.budget_bytes=32 for others. Published one-pass codes, which are made
in one product and are plain sparse rows: `--config=configs/default.py:published`, or h, k or steps by hand
(`--config.model.h=2048 --config.model.k=16`), or `--config=configs/default.py:paper`, with the paper's own batches and
rates.
`--config=configs/default.py:continue --config.start=runs/old/model` trains a model on, with its h, k and encoder.

The fields with their defaults and units: `compressae_jax/jobs/defaults.py`, those of model and training in
`compressae_jax/training/recipes.py`.
"""

from compressae_jax.jobs.defaults import get_config, model

__all__ = ["get_config", "model"]
