"""Evaluate the model of a run folder: report.json, report.md and figures.

compressae evaluate --config=shop --workdir=runs/shop
"""

from absl import flags
from ml_collections import config_flags

from compressae_jax.jobs.commands import experiment


def define() -> None:
    """Its flags."""
    experiment.define()


def main(given: flags.FlagValues) -> None:
    """Evaluate, and print the table, the examples and where report and figures lie."""
    from compressae_jax.evaluation import report
    from compressae_jax.jobs import run_folder
    from compressae_jax.jobs.evaluate import evaluate

    run_folder.check_given(given.workdir, config_flags.get_override_values(given["config"]))
    print("\n" + report.closing(evaluate(given.config, given.workdir)))
