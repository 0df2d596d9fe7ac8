"""An experiment from its settings to its page: cell after cell, each kept as it is done."""

import importlib
from pathlib import Path
from types import ModuleType
from typing import Any

from compressae_jax.base import progress as bars
from compressae_jax.experiments import page
from compressae_jax.experiments.bench import DATASET, Bench, source
from compressae_jax.experiments.cells import Results, Settings
from compressae_jax.notation import InputError, check_choice

NAMES = ("convergence", "sensitivity", "ablations")  # in the order that docs/EVIDENCE.md tells them


def experiment(name: str) -> ModuleType:
    """The module of an experiment: `cells(settings)`, `measure(bench, spec)`, `told(settings, results)`.

    Raises:
        InputError: an unknown name.
    """
    check_choice("config.experiment", name, NAMES)
    return importlib.import_module(f"compressae_jax.experiments.{name}")


def run(
    name: str,
    size: str,
    settings: Settings,
    workdir: Path,
    out: Path,
    about: str,
    command: str,
    progress: bool = True,
) -> page.Page:
    """Measure the cells that are not there yet, and write the page of all; the caller holds the lock of `workdir`.

    Raises:
        InputError: no cells, or what a cell refuses.
    """
    own = experiment(name)
    cells = own.cells(settings)
    if not cells:
        raise InputError(f"config.sizes.{size} asks for no cell at all")
    for one in sorted({value for spec in cells for field, value in spec.items() if field.startswith(DATASET)}):
        source(one)  # what is not there is said before hours of work
    bench = Bench(workdir, progress)
    results = []
    with bars.bar(len(cells), name, "cells", shown=progress) as bar:
        for spec in cells:
            bar.set_postfix_str(", ".join(str(value) for value in spec.values())[:80])
            results.append(bench.measured(spec, own.measure))
            bar.update()
    told: page.Page = own.told(settings, Results(results))
    page.write(out, about, command, size, settings, Results(results), told)
    return told


def sized(config: dict[str, Any], size: str) -> dict[str, Any]:
    """The settings of a size.

    Raises:
        InputError: a size that the experiment has none of.
    """
    check_choice("config.size", size, config["sizes"])
    return dict(config["sizes"][size])
