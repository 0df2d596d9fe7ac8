"""Train, compress, search and evaluate for one config; an interrupted run continues.

compressae run --config=default --config.data.source=vectors.npy --workdir=runs/mine
"""

from absl import flags

from compressae_jax.jobs.commands import experiment, processes


def define() -> None:
    """Its flags."""
    experiment.define()
    processes.define()


def main(given: flags.FlagValues) -> None:
    """Run the four jobs, each into its place in the run folder; what is complete there is not done again."""
    processes.meet(given)
    from compressae_jax.evaluation import report
    from compressae_jax.jobs.compress import compress
    from compressae_jax.jobs.evaluate import evaluate_once
    from compressae_jax.jobs.search import search
    from compressae_jax.jobs.train import train

    config, workdir = given.config, given.workdir
    compress(config, workdir, train(config, workdir))
    if not config.data.queries:
        print("no row is held out (config.data.queries=0), so there is nothing to search or evaluate by")
        return
    search(config, workdir)
    print("\n" + report.closing(evaluate_once(config, workdir)))
