"""Train, compress, search and evaluate for one config; an interrupted run continues.

python launch/run.py --config=configs/default.py --config.data.source=vectors.npy --workdir=runs/mine
"""

import door
import evaluate
import experiment
import train


def main(argv: list[str]) -> None:
    """Run the four jobs, each into its place in the run folder."""
    del argv
    config, workdir = experiment.CONFIG.value, experiment.WORKDIR.value
    weights = train.train(config, workdir)
    from compressae_jax.jobs.compress import compress
    from compressae_jax.jobs.search import search

    compress(config, workdir, weights)
    search(config, workdir)
    evaluate.evaluate(config, workdir)


if __name__ == "__main__":
    door.run(main)
