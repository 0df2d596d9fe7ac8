"""Where and with what a report was made: hardware, versions, commit, command; what was measured is in `measures`."""

import datetime
import importlib.metadata
import os
import platform
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax

PACKAGES = ("jax", "jaxlib", "flax", "numpy", "scipy", "numba")


def provenance() -> dict[str, Any]:
    """Hardware, versions, commit (None outside a git checkout), command and date, as JSON has them."""
    return {
        "hardware": hardware(),
        "versions": {"python": platform.python_version(), **versions(PACKAGES)},
        "commit": commit(),
        "command": shlex.join(["python", *sys.argv]),
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }


def hardware() -> dict[str, Any]:
    """CPU, the cores that this process may use, memory in GiB (None where unknown), and what JAX computes on."""
    try:
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    except (AttributeError, ValueError):  # not on this system
        memory = None
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    devices = [device.device_kind for device in jax.local_devices()]
    return {
        "cpu": _cpu_name(),
        "cores": cores,
        "memory_gib": None if memory is None else round(memory, 1),
        "backend": jax.default_backend(),
        "devices": devices,
    }


def versions(packages: tuple[str, ...]) -> dict[str, str]:
    """The installed version of every package that is there."""
    found = {}
    for name in packages:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def commit() -> str | None:
    """The commit of the git checkout that this package is run from, with '+' where files differ from it."""
    folder = Path(__file__).resolve().parents[2]
    if not (folder / ".git").exists():  # an installed package may lie inside somebody else's checkout
        return None
    head = _git(folder, "rev-parse", "HEAD")
    return head and head + ("+" if _git(folder, "status", "--porcelain") else "")


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def _cpu_name() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            return next(line.partition(":")[2].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
