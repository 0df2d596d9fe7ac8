"""The launch scripts as writers: run inside a forked child, which has all imports, with their exit codes as errors.

What they need is made once, by scripts too, in a folder that no fault is injected in.
"""

import json
import os
import re
import runpy
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from faults import forked, writers
from faults.writers import Writer

from compressae_jax.jobs import run_folder
from compressae_jax.model import weights as model_weights

ROOT = Path(__file__).resolve().parents[2]
LAUNCH = ROOT / "launch"
SMALL = {
    "data.queries": 10,
    "data.validation": 10,
    "model.h": 32,
    "model.k": 3,
    "train.steps": 6,
    "train.batch": 16,
    "train.warmup_steps": 1,
    "train.log_every": 1,
    "train.validate_every": 0,
    "train.checkpoint_every": 3,
    "evaluation.resamples": 20,
    "evaluation.baselines": "('int8',)",
}
REPORTS = ("report*", "per_query*", "*.png")  # what an evaluation writes
# Names that are drawn by chance or by the clock.
RANDOM = re.compile(r"(checkpoints/[^/]+/|tensorboard/)")


class Prepared(NamedTuple):
    """What the scripts need: a source, a finished run of it, its codes as a part, and the flags that name them."""

    source: Path
    run: Path
    part: Path
    config: list[str]

    @property
    def compress(self) -> list[str]:
        """The flags of a compression by the run's model."""
        return [f"--model={self.run}/model", f"--source={self.source}"]

    @property
    def search(self) -> list[str]:
        """The flags of a search of the run's codes."""
        return [f"--index={self.run}/codes", f"--model={self.run}/model", f"--queries={self.source}", "--top=3"]

    @property
    def join(self) -> list[str]:
        """The flags of a join of the one part that so few rows can be cut into."""
        return [f"--parts={self.part}"]


def prepared(scratch: Path) -> Prepared:
    """All that, made in `scratch` by scripts, in children: nothing of it may start JAX here."""
    np.save(scratch / "vectors.npy", writers.vectors(0))
    os.environ["JAX_COMPILATION_CACHE_DIR"] = str(scratch / "compiled")
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
    config = [f"--config={ROOT}/configs/tiny.py", f"--config.data.source={scratch}/vectors.npy"]
    config += [f"--config.{name}={value}" for name, value in SMALL.items()]
    made = Prepared(scratch / "vectors.npy", scratch / "run", scratch / "part", config)
    _made(lambda: launch("run.py", *config, f"--workdir={made.run}"))
    _made(lambda: launch("compress.py", *made.compress, "--part=1/1", f"--out={made.part}"))
    return made


def table(made: Prepared) -> list[Writer]:
    """Every script that writes, on what was prepared."""

    def script(name: str, flags: Callable[[Path], list[str]], read: Callable, **more: Any) -> Writer:
        put = lambda path, which: launch(name, *flags(path))  # noqa: E731
        return Writer(name, put, read, replaces=False, judge=judged, ignore=RANDOM, **more)

    def without_report(root: Path) -> None:
        shutil.copytree(made.run, root / "it", ignore=shutil.ignore_patterns(*REPORTS, "found*"))

    def in_run(path: Path) -> list[str]:
        return [*made.config, f"--workdir={path}"]

    return [
        script("evaluate.py", in_run, read_report, every=10, beside=without_report),
        script("compress.py", lambda path: [*made.compress, f"--out={path}"], writers.read_codes),
        script("join.py", lambda path: [*made.join, f"--out={path}"], writers.read_codes),
        script("search.py", lambda path: [*made.search, f"--out={path}"], writers.read_npz, suffix=".npz"),
        script("train.py", in_run, _read_run, every=20),
        script("run.py", in_run, _read_whole, every=60),
    ]


def launch(script: str, *flags: str) -> None:
    """Run a script as `python launch/…` does; ends by SystemExit where its exit code is not 0."""
    sys.path.insert(0, str(LAUNCH))
    sys.argv = [str(LAUNCH / script), *flags]
    try:
        runpy.run_path(sys.argv[0], run_name="__main__")
    except SystemExit as end:
        if end.code:
            raise


def judged(done: forked.Outcome) -> str | None:
    """What is wrong with how a script ended after an error of the system: exit code 1, and one line that says it."""
    if done.whole:
        return None
    if done.error[:1] != ("SystemExit",) or done.message != "1" or "Traceback" in done.printed:
        return f"not one line and exit code 1: {done}\n{done.where}\n{done.printed[-1500:]}"
    words = [os.strerror(number) for number in (5, 28)]
    lines = [line for line in done.printed.splitlines() if any(word in line for word in words)]
    return None if len(lines) == 1 else f"{len(lines)} lines say it: {done.printed[-500:]}"


def _made(work: Callable[[], None]) -> None:
    done = forked.run(work, seconds=300)
    if not done.whole:
        raise AssertionError(f"{done}\n{done.where}\n{done.printed}")


def _read_run(path: Path) -> Any:
    """The model and the steps that were written down, None where there is no model yet."""
    if not (path / "model").exists():
        return None
    model = model_weights.load(path / "model")
    lines = (path / "metrics.jsonl").read_text().splitlines()
    return [model.fingerprint, len(lines)]


def read_folder(path: Path) -> dict[str, Any]:
    """All of a run folder that is there, by name; raises what a reader raises of what is broken."""
    readers: dict[str, Callable[[Path], Any]] = {
        run_folder.MODEL: lambda there: model_weights.load(there).fingerprint,
        run_folder.CODES: writers.read_codes,
        run_folder.FOUND: writers.read_npz,
        run_folder.REPORTS[0]: lambda there: read_report(there.parent),
    }
    return {name: read(path / name) for name, read in readers.items() if (path / name).exists()}


def _read_whole(path: Path) -> Any:
    """All of a run folder, None where a job has still to come."""
    there = read_folder(path)
    return there if run_folder.REPORTS[0] in there else None


def read_report(path: Path) -> Any:
    """What does not depend on the clock; None where the report, which is written last, is not there yet."""
    if not (path / "report.json").exists():
        return None
    report = json.loads((path / "report.json").read_text())
    with np.load(path / "per_query.npz", allow_pickle=False) as scores:
        return [report["model"], report["usage"], (path / "report.md").exists(), dict(scores)]
