"""An experiment from its settings to its page: cell after cell, each kept as it is done."""

import importlib
from pathlib import Path
from types import ModuleType
from typing import Any

from compressae_jax.base import progress as bars
from compressae_jax.experiments import page
from compressae_jax.experiments.bench import DATASET, Bench, source
from compressae_jax.experiments.cells import Results, Settings, Spec
from compressae_jax.notation import InputError, check_choice

NAMES = (
    "convergence",
    "sensitivity",
    "ablations",
    "domains",
    "tasks",
    "joint",
)  # in the order that docs/EVIDENCE.md tells them

NEVER_EMPTY = ("datasets", "seeds", "ks", "hs", "recipes", "arms", "methods", "budgets")  # of settings that have them


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
        InputError: what `asked` or a cell refuses.
    """
    own, cells = experiment(name), asked(name, size, settings)
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


def asked(name: str, size: str, settings: Settings) -> list[Spec]:
    """The cells of an experiment, each of sets that are there: said before hours of work.

    Raises:
        InputError: no cell at all, a setting that is missing, or a set that cannot be opened.
    """
    for field in NEVER_EMPTY:
        if field in settings and not settings[field]:
            raise InputError(f"config.sizes.{size}.{field} must name at least one, not none")
    try:
        cells: list[Spec] = experiment(name).cells(settings)
    except KeyError as error:
        raise InputError(f"config.sizes.{size} must have the field {error}") from None
    if not cells:
        raise InputError(f"config.sizes.{size} asks for no cell at all")
    for one in sorted({value for spec in cells for field, value in spec.items() if field.startswith(DATASET)}):
        source(one)
    return cells


def sized(config: dict[str, Any], size: str) -> dict[str, Any]:
    """The settings of a size.

    Raises:
        InputError: a size that the experiment has none of.
    """
    check_choice("config.size", size, config["sizes"])
    return dict(config["sizes"][size])
