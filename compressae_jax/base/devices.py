"""Where work runs, decided in one place: compiled loops on a CPU, one device, or all local ones."""

import jax


def on_cpu() -> bool:
    """Whether JAX's default devices are CPUs: then compiled loops serve, else jitted calls."""
    return jax.default_backend() == "cpu"


def first() -> jax.Device:
    """The device that small things go to."""
    return jax.local_devices()[0]


def memory() -> int:
    """Bytes of the local accelerators' memory together; 0 on a CPU."""
    return 0 if on_cpu() else sum((one.memory_stats() or {}).get("bytes_limit", 0) for one in jax.local_devices())


def kind() -> str:
    """The default device in words, for a line at the start of a job."""
    return f"{jax.local_device_count()} × {first().device_kind} ({jax.default_backend()})"
