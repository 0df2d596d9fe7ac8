"""Run an experiment, a question with its trainings and measurements, and write its page; an interrupted one continues.

compressae reproduce --config=convergence --workdir=runs/convergence
compressae reproduce --config=convergence --config.size=full --workdir=runs/full --out=results/experiments/full
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from absl import flags
from ml_collections import config_flags

from compressae_jax.jobs import experiments
from compressae_jax.jobs.commands import experiment
from compressae_jax.notation import InputError


def define() -> None:
    """Its flags.

    Raises:
        InputError: an experiment that is neither a file nor a name.
    """
    experiments.importable()
    config_flags.DEFINE_config_file("config", None, "The experiment: a name (see below) or a file.")
    flags.DEFINE_string("workdir", None, "Folder of trainings and measurements: made, or continued.", required=True)
    flags.DEFINE_string("out", None, "Folder of results.json, results.md and the figures; default: workdir.")
    if any(one.lstrip("-").split("=")[0] == "config" for one in sys.argv[1:]):
        experiment.resolve(sys.argv, of=experiments.QUESTIONS)


def described() -> Iterator[str]:
    """A line for every experiment."""
    yield "Experiments, by name (--config=convergence), each of size small, full or toy (--config.size=small):"
    for name, path in experiments.names(experiments.QUESTIONS).items():
        yield f"  {name:13s}{experiments.about(path)}"
    yield ""
    yield "A field of a size is a flag, too: --config.sizes.small.seeds='(0,)'"


def main(given: flags.FlagValues) -> None:
    """Measure what is not there yet, and print the page's place and its answer."""
    import ast

    from compressae_jax.experiments.page import PAGE
    from compressae_jax.jobs.reproduce import reproduce

    if given.config is None:
        known = ", ".join(experiments.names(experiments.QUESTIONS))
        raise InputError(f"--config must name an experiment ({known}), or a file like configs/experiments/*.py")
    flag: Any = given["config"]
    path = Path(flag.config_filename)
    about = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or path.stem
    out = given.out or given.workdir
    command = f"python launch/reproduce.py --config={_shown(path)} --config.size={given.config.size}"
    told = reproduce(given.config, given.workdir, out, about, f"{command} --workdir={given.workdir}")
    print(f"{told.answer}\n\n{Path(out) / PAGE}")


def _shown(path: Path) -> str:
    """An experiment's file as it stands in the project, or as it was given."""
    root = experiments.root()
    return str(path.relative_to(root)) if path.is_relative_to(root) else str(path)
