"""The preloaded library of `shim.c`: compiled by the system's compiler, and driven from the process that has it."""

import ctypes
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

# As in shim.c: what happens at call N, and what a call does.
OFF, COUNT, KILL, FAIL, HALF, FULL, STOP = range(7)
KINDS = ("", "create", "write", "make", "rename", "link", "remove", "sync", "close", "size", "times", "read")
TAKES_SPACE = ("create", "write", "make", "rename", "link", "sync", "size")


def why_not() -> str:
    """Why no library can be preloaded here; empty where one can."""
    if not sys.platform.startswith("linux"):
        return f"faults are injected by a preloaded library, which {sys.platform} does not take"
    return "" if shutil.which("cc") else "no C compiler (cc) for the library that injects faults"


def build(folder: Path) -> Path:
    """Compile the library into a folder."""
    library = folder / "shim.so"
    options = ["-O1", "-shared", "-fPIC", "-w", "-U_FORTIFY_SOURCE"]
    subprocess.run(["cc", *options, "-o", library, Path(__file__).with_name("shim.c"), "-ldl"], check=True)
    return library


def environment(library: Path, **more: str) -> Mapping[str, str]:
    """The environment of a process that has the library, one CPU device, and as few threads as may be."""
    few = {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": "", "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    return {**os.environ, **few, "LD_PRELOAD": str(library), **more}


def preloaded() -> bool:
    """Whether this process has the library."""
    return hasattr(ctypes.CDLL(None), "faults_arm")


def arm(root: Path, mode: int, at: int = 0, error: int = 0, reads: bool = False) -> None:
    """From now on count the calls below `root` and do `mode` at call `at`; in a child, since there is no way back."""
    ctypes.CDLL(None).faults_arm(os.fsencode(root), mode, at, error, int(reads))


def disarm() -> None:
    """Count and do nothing from now on; what was counted stays."""
    ctypes.CDLL(None).faults_disarm()


def met() -> list[str]:
    """The kinds of the calls that were counted, the first first."""
    library = ctypes.CDLL(None)
    return [KINDS[library.faults_kind(n)] for n in range(1, library.faults_seen() + 1)]
