"""Train, compress, search and evaluate for one config; an interrupted run continues.

python launch/run.py --config=configs/default.py --config.data.source=vectors.npy --workdir=runs/mine
"""

from absl import flags

from compressae_jax.jobs.commands import evaluate, experiment, processes


def define() -> None:
    """Its flags."""
    experiment.define()
    processes.define()


def main(given: flags.FlagValues) -> None:
    """Run the four jobs, each into its place in the run folder."""
    processes.meet(given)
    from compressae_jax.jobs.compress import compress
    from compressae_jax.jobs.search import search
    from compressae_jax.jobs.train import train

    config, workdir = given.config, given.workdir
    compress(config, workdir, train(config, workdir))
    search(config, workdir)
    evaluate.main(given)
