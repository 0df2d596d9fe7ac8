"""The quickstart: train, compress, search and evaluate on data that comes with the program; some minutes on two cores.

compressae quickstart --workdir=runs/quickstart

Then, on a file of your own vectors: compressae run --config.data.source=vectors.npy --workdir=runs/mine
"""

from absl import flags

from compressae_jax.jobs import experiments
from compressae_jax.jobs.commands import experiment, processes, run

WORKDIR = "runs/quickstart"


def define() -> None:
    """Those of `run`, with an experiment and a run folder of its own."""
    experiment.define(config=experiments.QUICKSTART, workdir=WORKDIR)
    processes.define()


def main(given: flags.FlagValues) -> None:
    """Run the four jobs, and say how they are run on other vectors."""
    run.main(given)
    print("\nOn your own vectors (a file, a folder, a glob, a url; `compressae run --help` lists all fields):")
    print("  compressae run --config.data.source=vectors.npy --workdir=runs/mine")
