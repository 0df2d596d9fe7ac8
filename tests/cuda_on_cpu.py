"""Kernels for CUDA, run on a CPU: their own source, compiled by g++ with `cuda_on_cpu.h` in place of the device."""

import ctypes
import functools
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest

from compressae_jax.base import cuda

HERE = Path(__file__).parent


@functools.cache
def _compiled(text: str, name: str, constants: tuple):
    with tempfile.TemporaryDirectory() as folder:
        source, library = Path(folder, "kernel.cpp"), Path(folder, "kernel.so")
        around = '#include "cuda_on_cpu.h"\n' + text
        given = "unsigned blocks, unsigned shared, void** pointers, int last_first"
        entry = f'extern "C" int run_all({given}) {{ return run({name}, blocks, shared, pointers, last_first); }}\n'
        source.write_text(around + entry)
        flags = [f"-D{key}={value}" for key, value in constants]
        command = ["g++", "-O1", "-std=c++17", "-shared", "-fPIC", "-Wall", "-Wno-unknown-pragmas", f"-I{HERE}"]
        done = subprocess.run([*command, *flags, "-o", library, source], capture_output=True, text=True, check=False)
        assert not done.returncode, done.stderr
        return ctypes.CDLL(str(library)).run_all


def called(kernel: cuda.Kernel, out, *arrays):
    """As `cuda.called`, of NumPy arrays; what is not written stays NaN, -1 or the largest number."""
    if sys.platform != "linux" or shutil.which("g++") is None:  # elsewhere g++ is another compiler, without fibers
        pytest.skip("kernels are run on a CPU by g++ on Linux")
    constants = tuple(sorted({**kernel.constants, "THREADS": kernel.threads}.items()))
    run = _compiled(cuda.source(kernel.file), kernel.name, constants)
    given = [np.ascontiguousarray(array) for array in arrays]
    both = [[np.empty(one.shape, one.dtype) for one in out] for _ in range(2)]
    for last_first, found in enumerate(both):
        for one in found:
            one.view(np.uint8)[...] = 0xFF
        pointers = (ctypes.c_void_p * (len(given) + len(found)))(*(one.ctypes.data for one in [*given, *found]))
        assert run(kernel.blocks, kernel.shared, pointers, last_first), "written behind the dynamic shared memory"
    for one, other in zip(*both, strict=True):
        assert one.tobytes() == other.tobytes(), "what threads find depends on which comes first"
    return both[0]
