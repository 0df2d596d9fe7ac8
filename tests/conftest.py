"""Eight simulated CPU devices, shapes checked by beartype, and Hypothesis without chance or clock."""

import atexit
import os
import shutil
import signal
import tempfile

if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:  # as in a shell's background: tests interrupt themselves
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Before anything imports jax: both are read once, when the first device is asked for.
if os.environ.get("COMPRESSAE_TEST_DEVICES") != "own":  # benchmarks.gpu runs some tests on a machine's accelerator
    os.environ["JAX_PLATFORMS"] = "cpu"
if "xla_force_host_platform_device_count" not in os.environ.get("XLA_FLAGS", ""):
    os.environ["XLA_FLAGS"] = (os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=8").strip()

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

import hypothesis

hypothesis.settings.register_profile("house", deadline=None, derandomize=True, max_examples=40)
hypothesis.settings.load_profile("house")
