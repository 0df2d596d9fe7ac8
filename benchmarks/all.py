"""Every benchmark, each in a process of its own; one that fails does not stop the others.

    python -m benchmarks.all --size=small [--out=results] [--only search packed]

`small` takes less than ten minutes on two cores; `full` runs each with its defaults. Tables are printed as they come,
and written where --out says.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tqdm import tqdm

# The flags of the small size. A benchmark whose file is missing is left out.
SMALL = {
    "search": ["--size=small"],
    "filters": ["--size=small"],
    "packed": ["--data=scifact", "--n=30000", "--bytes", "16", "--queries", "1", "64", "--repeats=5"],
    "encoders": ["--k", "16", "--repeats=3"],
    "train_step": ["--repeats=5", "--shapes", "384,2048,16,2048"],
    "memory": ["--n=200000"],
    "growth": ["--size=small"],
    "lists": ["--size=small"],
    "living": ["--n=20000", "--added=2000", "--repeats=3"],
    "streaming": ["--n=10000", "--d=384", "--h=2048", "--k=16"],
    "startup": ["--repeats=3"],
    "expand": ["--repeats=21"],
    "online": ["--size=small"],
    "serve": ["--data=shop", "--queries=100", "--seconds=1", "--soak=2", "--noengine"],
    "engines": ["--data=scifact", "--h=1024", "--k=16", "--steps=50", "--queries=20"],
    "bfloat16": ["--data=scifact", "--h=2048", "--steps=100", "--queries=300"],
    "landmarks": ["--datasets", "shop", "--steps=20"],
    "cells": ["--data", "shop", "--bytes=16", "--fitted=2000", "--repeats=3"],
    "selection": ["--shapes", "1024,2048,16", "--repeats=3"],
}


def main() -> None:
    """Run them in turn; exit 1 if one failed."""
    flags = parse()
    failed = []
    with tempfile.TemporaryDirectory() as scratch:
        for name in (bar := tqdm(flags.only, unit="benchmark")):
            bar.set_description(name)
            start = time.perf_counter()
            out = Path(flags.out or scratch).resolve()
            done = run(name, SMALL[name] if flags.size == "small" else [], out)
            seconds = time.perf_counter() - start
            if done.returncode:
                failed.append(name)
                tqdm.write(f"## {name} failed after {seconds:.0f} s\n\n{done.stdout[-2000:]}{done.stderr[-4000:]}")
            else:
                tqdm.write(f"## {name}, {seconds:.0f} s\n\n{printed(name, out, done.stdout)}")
    if failed:
        raise SystemExit(f"failed: {', '.join(failed)}")


def parse() -> argparse.Namespace:
    """The flags."""
    there = [name for name in SMALL if (Path(__file__).parent / f"{name}.py").is_file()]
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", default="full", choices=["small", "full"])
    parser.add_argument("--only", nargs="+", default=there, choices=there)
    parser.add_argument("--out", default="", help="folder for each benchmark's JSON and Markdown")
    return parser.parse_args()


def run(name: str, arguments: list[str], out: Path) -> subprocess.CompletedProcess:
    """One benchmark, with what it printed."""
    command = [sys.executable, "-m", f"benchmarks.{name}", *arguments, f"--out={out}"]
    return subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parent.parent)


def printed(name: str, out: Path, stdout: str) -> str:
    """The table that a benchmark wrote, or else all that it printed."""
    written = out / f"{name}.md"
    return written.read_text(encoding="utf-8") if written.is_file() else stdout


if __name__ == "__main__":
    main()
