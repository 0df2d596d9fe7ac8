"""Train one experiment; an interrupted run continues, a finished one returns at once.

    compressae train --config=shop --workdir=runs/shop

A model is trained on, with other vectors, by --config=default:continue --config.start=runs/old/model.

On several hosts run it on each, with --coordinator=first-host:1234 --num_processes=2 --process_id=0 (and 1), and a
workdir that all of them see.
"""

from absl import flags

from compressae_jax.jobs.commands import experiment, processes


def define() -> None:
    """Its flags."""
    experiment.define()
    processes.define()


def main(given: flags.FlagValues) -> None:
    """Train, and say where the model lies."""
    processes.meet(given)
    from compressae_jax.jobs.train import train

    weights = train(given.config, given.workdir)
    print(f"model {weights.fingerprint}: {given.workdir}/model")
