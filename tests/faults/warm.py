"""What children would import one by one: imported once, before they are forked. Nothing of it starts JAX."""

import contextlib
import importlib

MODULES = (
    *("tensorboardX", "orbax.checkpoint", "matplotlib.pyplot", "pyarrow.parquet", "scipy.sparse", "ml_collections"),
    *(
        "optax",
        "flax.linen",
        "compressae_jax.training.loop",
        "compressae_jax.jobs.evaluate",
        "ml_collections.config_flags",
    ),
)


def warm() -> None:
    """Import what there is of it."""
    for name in MODULES:
        with contextlib.suppress(ImportError):  # of the extras some may not be installed
            importlib.import_module(name)
