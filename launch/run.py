"""Train, compress, search and evaluate for one config; an interrupted run continues.

    python launch/run.py --config=configs/default.py --config.data.source=vectors.npy --workdir=runs/mine
"""

import door
import evaluate
import train
from absl import flags


def main(argv: list[str]) -> None:
    """Run the four jobs, each into its place in the run folder."""
    del argv
    from compressae_jax import data
    from compressae_jax.evaluation import report

    config, workdir = flags.FLAGS.config, flags.FLAGS.workdir
    weights = train.train(config, workdir)
    report.compress(config, workdir, weights)
    report.search(config, workdir)
    evaluate.evaluate(config, workdir)


if __name__ == "__main__":
    door.run(main)
