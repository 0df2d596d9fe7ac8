"""The command that does what is advised, on all rows, as a shell takes it."""

import shlex
from collections.abc import Mapping

from compressae_jax.advice import methods
from compressae_jax.advice.measured import Measured

WORKDIR = "runs/advised"
OUT = "advised.npy"

Given = Mapping[str, str | None]  # flags that say where vectors lie, by name; 'source' is among them


def of(choice: Measured | None, budget: int | None, given: Given, judged: Given) -> str:
    """For codes of ours a run; for a peer, and for vectors as they are, a few lines of Python.

    `judged`: where judgements, queries and their ids lie, by the names of `config.evaluation`.
    """
    if choice is not None and choice.ours:
        return _run(choice, budget, given, judged)
    return _python(choice, given)


def _run(choice: Measured, budget: int | None, given: Given, judged: Given) -> str:
    flags = [f"--config.data.{name}={value}" for name, value in given.items() if value]
    flags += [f"--config.evaluation.{name}={value}" for name, value in judged.items() if value]
    if choice.name == methods.ONE:
        flags = ["--config=default:published", *flags, f"--config.model.k={choice.about['k']}"]
    else:
        flags = ["--config=default", *flags, f"--config.budget_bytes={budget}"]
    return shlex.join(["compressae", "run", *flags, f"--workdir={WORKDIR}"])


def _python(choice: Measured | None, given: Given) -> str:
    """The form that was measured, fitted to rows of chance and written for all rows; or a search of dense vectors."""
    options = {name: value for name, value in given.items() if value and name != "source"}
    told = "".join(f", {name}={value!r}" for name, value in options.items())
    opened = [
        "import numpy as np",
        "from compressae_jax import data",
        "from compressae_jax.baselines import dense",
        "from compressae_jax.data import sampling",
        "from compressae_jax.evaluation import streams",
        "from compressae_jax.evaluation.contenders import BASELINE_ROWS, BASELINES",
        f"source = data.open_source({given['source']!r}{told})",
    ]
    if choice is None:
        opened = [opened[1], opened[2], opened[6]]
        work = [
            "vectors = source.read(0, len(source))",
            "index = dense.fit(vectors).add(vectors)",
            "print(index.search(vectors[:3], top=10)[1])",
        ]
    else:
        opened = [line for line in opened if "baselines" not in line]
        work = [
            "rows = sampling.drawn_rows(len(source), 0, min(BASELINE_ROWS, len(source)))",
            "training = streams.take(source, np.sort(rows))",
            f"fitted = BASELINES[{choice.name!r}].fit(training, {int(choice.bytes_per_vector)})",
            "stored = np.concatenate([fitted.encode(some) for _, some in source.batches(source.piece_rows)])",
            f"np.save({OUT!r}, stored)",
            f"print(fitted.name, stored.nbytes // len(stored), 'bytes a vector: {OUT}')",
        ]
    return "\n".join(["python - <<'END'", *opened, *work, "END"])
