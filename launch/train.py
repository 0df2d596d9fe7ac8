"""Train one experiment; an interrupted run continues, a finished one returns at once.

    python launch/train.py --config=configs/shop.py --workdir=runs/shop

On several hosts run it on each, with --coordinator=first-host:1234 --num_processes=2 --process_id=0 (and 1), and a
workdir that all of them see.
"""

import door
import experiment
from absl import flags

COORDINATOR = flags.DEFINE_string("coordinator", None, "host:port of process 0, where there are several processes.")
NUM_PROCESSES = flags.DEFINE_integer("num_processes", None, "How many processes train together.")
PROCESS_ID = flags.DEFINE_integer("process_id", None, "Which of them this is, from 0.")


def train(config, workdir: str):
    """The weights, trained or continued or already there."""
    import jax

    if COORDINATOR.value is not None:
        jax.distributed.initialize(COORDINATOR.value, NUM_PROCESSES.value, PROCESS_ID.value)
    from compressae_jax.jobs import train

    return train.train(config, workdir)


def main(argv: list[str]) -> None:
    """Train, and say where the model lies."""
    del argv
    weights = train(experiment.CONFIG.value, experiment.WORKDIR.value)
    print(f"model {weights.fingerprint}: {experiment.WORKDIR.value}/model")


if __name__ == "__main__":
    door.run(main)
