"""What every script here begins with: the checkout on the path, then the door of the package."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parent.parent))  # the package and configs/, without an installation

from compressae_jax.jobs.door import run

__all__ = ["run"]
