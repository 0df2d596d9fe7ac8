"""The job of an experiment: its cells measured in a work folder, its page written beside them or where results lie."""

import os
from typing import Any

import ml_collections

from compressae_jax.base import files
from compressae_jax.experiments import page, running
from compressae_jax.notation import InputError, check_choice

FIELDS = ("experiment", "size", "sizes")


def reproduce(
    config: ml_collections.ConfigDict,
    workdir: str | os.PathLike,
    out: str | os.PathLike | None = None,
    about: str = "",
    command: str = "",
    progress: bool = True,
) -> page.Page:
    """Measure what `workdir` has not kept yet, and write results.json, results.md and figures into `out` (workdir).

    `about` is the docstring of the config, which the page quotes; `command` what makes the page again.

    Raises:
        InputError: an unknown experiment, size or field, or data that a cell refuses.
        BusyError: another process works there.
        Stopped: SIGINT or SIGTERM came in a training; the same command continues.
    """
    asked: dict[str, Any] = config.to_dict()
    for name in asked:
        check_choice("field of config", name, FIELDS)
    for name in FIELDS:
        if name not in asked:
            raise InputError(f"config must have the field {name!r}, as the pages in configs/experiments/ do")
    settings = running.sized(asked, asked["size"])
    running.asked(asked["experiment"], asked["size"], settings)
    workdir, out = files.check_out(workdir), files.check_out(workdir if out is None else out)
    workdir.mkdir(parents=True, exist_ok=True)
    with files.locked(workdir / "experiment"):
        return running.run(asked["experiment"], asked["size"], settings, workdir, out, about, command, progress)
