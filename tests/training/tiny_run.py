"""A run small enough to be killed at will: called by tests, or as a script in a process of its own."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[2]
N, D = 203, 16


def vectors(n=N, d=D):
    rng = np.random.default_rng(7)
    return (rng.standard_normal((n, 5)) @ rng.standard_normal((5, d))).astype(np.float32)


def config(**changes):
    """The recipe cut down; changes are fields by name, of any section."""
    from compressae_jax.training import recipes

    small = {"h": 64, "k": 3, "steps": 12, "batch": 32, "warmup_steps": 1, "validate_every": 0, "checkpoint_every": 0}
    others = {"seed": changes.pop("seed", 0), "data": {"zero_rows": changes.pop("zero_rows", "stop")}}
    others["budget_bytes"] = changes.pop("budget_bytes", None)
    mesh = {"mesh": {"data": changes.pop("data", 1), "model": changes.pop("model", 1)}}
    of_budget = others["budget_bytes"] is not None
    fields = recipes.with_fields(recipes.recipe("default"), changes if of_budget else {**small, **changes})
    return {**others, **mesh, **fields}


def train(workdir=None, validate=None, source=None, progress=False, **changes):
    from compressae_jax import data
    from compressae_jax.model import weights
    from compressae_jax.training import loop

    source = data.open_source(vectors() if source is None else source)
    start = weights.load(folder) if (folder := changes.pop("start", None)) else None
    return loop.train(config(**changes), source, all_of(source), workdir, validate, progress, start)


def all_of(source):
    from compressae_jax.data.sampling import Rest

    return Rest(len(source), np.zeros(0, np.int64))


def spawn(workdir, coordinator=None, processes=1, process=0, devices=1, patience=120, **changes):
    """The same run in a process of its own, which prints the model's fingerprint."""
    options = {"workdir": str(workdir), "coordinator": coordinator, "processes": processes, "process": process}
    options["patience"] = patience
    flags = f"--xla_force_host_platform_device_count={devices}"
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, __file__, json.dumps({**options, "changes": changes})]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def main(options):
    from compressae_jax.notation import InputError, Stopped
    from compressae_jax.training import processes

    if options["processes"] > 1:
        processes.start(options["coordinator"], options["processes"], options["process"], options["patience"])
    try:
        print(train(options["workdir"], **options["changes"]).fingerprint)
    except (InputError, Stopped) as told:
        print(told)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
