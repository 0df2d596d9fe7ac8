"""Eight simulated CPU devices, shapes checked by beartype, and Hypothesis without chance or clock."""

import atexit
import os
import shutil
import signal
import tempfile

import hypothesis
import pytest

if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:  # as in a shell's background: tests interrupt themselves
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Before anything imports jax: both are read once, when the first device is asked for.
OWN = os.environ.get("COMPRESSAE_TEST_DEVICES") == "own"  # benchmarks.gpu runs some tests on a machine's accelerator
if not OWN:
    os.environ["JAX_PLATFORMS"] = "cpu"
    if "xla_force_host_platform_device_count" not in os.environ.get("XLA_FLAGS", ""):
        many = "--xla_force_host_platform_device_count=8"
        os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {many}".strip()

# What one test compiled, others read back: in the other worker, and in child processes.
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    os.environ["JAX_COMPILATION_CACHE_DIR"] = tempfile.mkdtemp(prefix="compiled-")
    atexit.register(shutil.rmtree, os.environ["JAX_COMPILATION_CACHE_DIR"], ignore_errors=True)
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.05"

# Two workers take both cores: threads of faiss and of BLAS that wait for each other spin, for ten times the work.
os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"

if not os.environ.get("COMPRESSAE_NO_HOOK"):
    from jaxtyping import install_import_hook

    install_import_hook("compressae_jax", "beartype.beartype")

hypothesis.settings.register_profile("house", deadline=None, derandomize=True, max_examples=40)
hypothesis.settings.load_profile("house")


def pytest_configure(config):
    for mark in (
        "devices(n): needs n devices of JAX's; skipped where a machine's own are fewer",
        "cpu: about what only a CPU does, as loops, forks and reading ahead; skipped where the device is another",
    ):
        config.addinivalue_line("markers", mark)


def pytest_runtest_setup(item):
    for mark in item.iter_markers() if OWN else ():
        import jax

        if mark.name == "devices" and jax.device_count() < mark.args[0]:
            pytest.skip(f"{mark.args[0]} devices are needed")
        if mark.name == "cpu" and jax.default_backend() != "cpu":
            pytest.skip("a CPU is needed")
