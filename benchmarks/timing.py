"""What the benchmarks share: alternating repeats, the machine in words, results as JSON and Markdown."""

import json
import os
import platform
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np


def alternate(sides: dict[str, Callable[[], Any]], repeats: int) -> dict[str, list[float]]:
    """Seconds of each side's calls: once to warm up, then in turn, so that a busy machine disturbs all alike."""
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for repeat in range(repeats + 1):
        for name, call in sides.items():
            start = time.perf_counter()
            jax.block_until_ready(call())
            if repeat:
                seconds[name].append(time.perf_counter() - start)
    return seconds


def machine() -> dict[str, Any]:
    """Processor, cores, devices and versions."""
    return {
        "processor": _processor(),
        "cores": _cores(),
        "devices": sorted({device.device_kind for device in jax.local_devices()}),
        "system": platform.platform(),
        "python": sys.version.split()[0],
        "jax": jax.__version__,
        "numpy": np.__version__,
    }


def write(folder: str, name: str, report: dict[str, Any], table: str) -> None:
    """`name`.json and `name`.md in a folder."""
    out = Path(folder)
    out.mkdir(parents=True, exist_ok=True)
    (out / f"{name}.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    (out / f"{name}.md").write_text(table, encoding="utf-8")


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())
