"""The flags of commands that take a whole experiment, and the fields of its config."""

import sys
from collections.abc import Iterator
from typing import Any

from absl import flags
from ml_collections import config_flags

from compressae_jax.jobs import defaults


def define() -> None:
    """The config, the run folder."""
    help_ = "The experiment, for example configs/shop.py; default: all fields at their defaults."
    config_flags.DEFINE_config_file("config", None, help_)
    flags.DEFINE_string("workdir", None, "Run folder: made, or continued.", required=True)
    if not any(argument.lstrip("-").split("=")[0] == "config" for argument in sys.argv[1:]):
        # As a default of the flag itself, the fields on the command line would be set while it is defined.
        sys.argv.insert(1, f"--config={defaults.__file__}")


def fields(config: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The fields of a config by dotted name, with their values."""
    for name, value in config.items():
        if hasattr(value, "items"):
            yield from fields(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value
