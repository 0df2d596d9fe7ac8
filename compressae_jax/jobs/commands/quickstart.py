"""The quickstart: train, compress, search and evaluate on data that comes with the program; some minutes on two cores.

compressae quickstart --workdir=runs/quickstart

Then, on a file of your own vectors: compressae run --config.data.source=vectors.npy --workdir=runs/mine
"""

from absl import flags

from compressae_jax.jobs import experiments
from compressae_jax.jobs.commands import experiment, processes, run

WORKDIR = "runs/quickstart"
NAMED = "debian"  # whose rows have names to search by
MORE = """\
With more time codes keep more: here rounds end once they gain less than .001 (some eight of up to 15) and there are
4,096 atoms, by default they end below .0001 and there are 8,192 from 32,768 rows on; published one-pass codes get six
times the steps. For that, and for vectors of your own (a file, folder, glob or url; `compressae run --help` lists all
fields):"""


def define() -> None:
    """Those of `run`, with an experiment and a run folder of its own."""
    experiment.define(config=experiments.QUICKSTART, workdir=WORKDIR)
    processes.define()


def main(given: flags.FlagValues) -> None:
    """Run the four jobs, and say how they are run on other vectors."""
    run.main(given)
    print(f"\n{MORE}")
    print("  compressae run --config.data.source=vectors.npy --workdir=runs/mine")
    workdir, source = given.workdir, given.config.data.source
    beside = f" --payload={source} --dense={source}" if source == NAMED else ""
    print("To look at these codes in a browser, with the extra [serve]:")
    print(f"  compressae serve --index={workdir}/codes --model={workdir}/model{beside}")
