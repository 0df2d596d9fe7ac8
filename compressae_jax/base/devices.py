"""Where work runs, decided in one place: compiled loops on a CPU, one device, or all local ones."""

from __future__ import annotations

import functools
import importlib.metadata
import importlib.util
import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import jax


def on_cpu() -> bool:
    """Whether JAX's default devices are CPUs: then compiled loops serve, else jitted calls.

    Where nothing of JAX's is installed but CPUs, it is not even imported: to search then takes half the start.
    """
    if "jax" not in sys.modules and _only_cpus():
        return True
    import jax

    return jax.default_backend() == "cpu"


@functools.cache
def _only_cpus() -> bool:
    """Whether JAX could find nothing else: accelerators come to it by plugins, TPUs by a library."""
    if os.environ.get("JAX_PLATFORMS") == "cpu":
        return True
    plugins = importlib.metadata.entry_points(group="jax_plugins")
    return not (plugins or importlib.util.find_spec("jax_plugins") or importlib.util.find_spec("libtpu"))


def first() -> jax.Device:
    """The device that small things go to."""
    import jax

    return jax.local_devices()[0]


def memory() -> int:
    """Bytes of the local accelerators' memory together; 0 on a CPU."""
    if on_cpu():
        return 0
    import jax

    return sum((one.memory_stats() or {}).get("bytes_limit", 0) for one in jax.local_devices())


def kind() -> str:
    """The default device in words, for a line at the start of a job."""
    import jax

    return f"{jax.local_device_count()} × {first().device_kind} ({jax.default_backend()})"
