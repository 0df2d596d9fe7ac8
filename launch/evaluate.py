"""Evaluate the model of a run folder: report.json, report.md and figures.

python launch/evaluate.py --config=configs/shop.py --workdir=runs/shop
"""

import door
import experiment


def evaluate(config, workdir: str) -> None:
    """Evaluate, and print the table, the examples and where report and figures lie."""
    from compressae_jax.evaluation import report
    from compressae_jax.jobs import evaluate

    print("\n" + report.closing(evaluate.evaluate(config, workdir)))


def main(argv: list[str]) -> None:
    """Evaluate one run."""
    del argv
    evaluate(experiment.CONFIG.value, experiment.WORKDIR.value)


if __name__ == "__main__":
    door.run(main)
