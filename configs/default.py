"""The page that every experiment starts from, and the one for your own vectors.

    python launch/run.py --config=configs/default.py --config.data.source=vectors.npy --workdir=runs/mine

The fields with their defaults and units: `compressae_jax/jobs/defaults.py`, those of model and training in
`compressae_jax/training/recipes.py`. `--config=configs/default.py:paper` takes the published recipe instead;
`--config=configs/default.py:continue --config.start=runs/old/model` trains a model on, with its h, k and encoder.
"""

from compressae_jax.jobs.defaults import get_config

__all__ = ["get_config"]
