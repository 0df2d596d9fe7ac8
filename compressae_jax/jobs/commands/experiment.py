"""The flags of commands that take a whole experiment, and the fields of its config."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from absl import flags
from ml_collections import config_flags

from compressae_jax.jobs import defaults, experiments
from compressae_jax.notation import InputError
from compressae_jax.training import recipes


def define(config: str = "", workdir: str | None = None) -> None:
    """The config, the run folder; each with a default, or the config of all defaults and no folder.

    Raises:
        InputError: an experiment that is neither a file nor a name.
    """
    experiments.importable()
    help_ = "The experiment: a name (see below) or a file; default: " + (config or "all fields at their defaults.")
    config_flags.DEFINE_config_file("config", None, help_)
    flags.DEFINE_string("workdir", workdir, "Run folder: made, or continued.", required=workdir is None)
    resolve(sys.argv, config)


def resolve(argv: list[str], default: str = "", of: str = "") -> None:
    """Put files in the place of experiments' names on a command line, or the default where it names none."""
    places = [i for i, one in enumerate(argv) if i and one.lstrip("-").split("=")[0] == "config"]
    if len(places) > 1:
        raise InputError(f"--config must be given once, not {len(places)} times")
    place = places[0] if places else None
    if place is None:
        # As a default of the flag itself, the fields on the command line would be set while it is defined.
        argv.insert(1, f"--config={experiments.resolved(default) if default else defaults.__file__}")
        return
    flag, equals, inline = argv[place].partition("=")
    if equals:
        argv[place] = f"{flag}={experiments.resolved(inline, of)}"
    elif place + 1 < len(argv):
        argv[place + 1] = experiments.resolved(argv[place + 1], of)


def described() -> Iterator[str]:
    """A line for every experiment, and for every field of a config, with its default and what stands beside it."""
    yield "Experiments, by name (--config=debian):"
    for name, path in experiments.names().items():
        yield f"  {name:10s}{experiments.about(path)}"
    yield ""
    yield "Fields of the config, each of them a flag; a tuple is written --config.evaluation.ks='(4, 8)':"
    beside = experiments.comments(Path(defaults.__file__), "get_config", "model")
    beside |= experiments.comments(Path(recipes.__file__), "PUBLISHED")
    told = ""
    for name, value in fields(defaults.get_config()):
        parts = name.split(".")
        of = next((dotted for i in range(len(parts), 0, -1) if (dotted := ".".join(parts[:i])) in beside), "")
        comment = beside[of] if of and of != told else ""
        told = of
        yield f"  --config.{name}={value!r}" + (f"  # {comment}" if comment else "")


def fields(config: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The fields of a config by dotted name, with their values."""
    for name, value in config.items():
        if hasattr(value, "items") and len(value):
            yield from fields(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value.to_dict() if hasattr(value, "to_dict") else value
