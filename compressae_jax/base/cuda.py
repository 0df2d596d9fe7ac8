"""Kernels of our own on NVIDIA GPUs: CUDA C++ that NVRTC compiles when a program is traced, called inside that program.

Where XLA has no good form of a step (selection of the k largest, sums over gathered numbers, bits of packed rows), a
file `*.cu` beside the module has one. Its sizes are constants of the compilation. XLA launches the kernel on its own
stream, by the custom call for PTX, so jit, sharding and ahead-of-time compilation work as for anything else. Each has a
twin in JAX or NumPy, which other devices run and which tests hold it to: the tests compile the same file for a CPU.

`cuda-bindings` (extras `cuda12`, `cuda13`) finds NVRTC, which comes with JAX's own CUDA packages. Without it, or with
COMPRESSAE_CUDA_KERNELS=0, the twins run on GPUs too; with COMPRESSAE_CUDA_KERNELS=1 programs hold kernels although no
GPU is here, to be lowered or compiled ahead of time for one.
"""

import functools
import os
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.typing import ArrayLike

PRELUDE = Path(__file__).with_name("block.cuh")
ARCHITECTURE, OLDEST = "compute_80", 8.0  # Ampere; what drivers make of it for newer ones is as good for us
ISA = 7, 8  # of the PTX, as old as these kernels allow: an NVRTC may be newer than the driver that reads it
TARGET = "__gpu$xla.gpu.ptx"
WARP = 32  # threads


class Kernel(NamedTuple):
    """A kernel of a file, how many blocks of how many threads run it, and each one's bytes of dynamic shared memory."""

    file: Path
    name: str
    blocks: int
    threads: int
    constants: Mapping[str, int | str]
    shared: int = 0


def usable() -> bool:
    """Whether programs hold kernels: where all GPUs are NVIDIA's from Ampere on, and NVRTC works; said once if not."""
    asked = os.environ.get("COMPRESSAE_CUDA_KERNELS", "")
    if asked == "0" or not (asked == "1" or _on_nvidia()):
        return False
    return _compiler() is not None


@functools.cache
def _on_nvidia() -> bool:
    """Whether there are NVIDIA GPUs and all run `ARCHITECTURE`: on an older one a program with a kernel fails."""
    gpus = [one for one in jax.local_devices() if one.platform == "gpu" and "cuda" in one.client.platform_version]
    return bool(gpus) and all(float(getattr(gpu, "compute_capability", 0)) >= OLDEST for gpu in gpus)


@functools.cache
def _compiler() -> Any:
    try:
        from cuda.bindings import nvrtc

        _compiled(nvrtc, PRELUDE.read_text(encoding="utf-8"), (("THREADS", WARP),))  # also what it needs beside itself
    except Exception as error:  # whatever a missing or broken library raises
        if _on_nvidia():
            warnings.warn(
                "our CUDA kernels are not used, which makes training and search many times slower: "
                f"{type(error).__name__}: {error}; pip install 'compressae_jax[cuda12]' or [cuda13]",
                stacklevel=2,
            )
        return None
    return nvrtc


def dispatched(kernel: Callable[..., Any], twin: Callable[..., Any], *arrays: ArrayLike) -> Any:
    """What `kernel` gives of the arrays on NVIDIA GPUs, its `twin` elsewhere; decided when a program is lowered."""
    if not usable():
        return twin(*arrays)
    return jax.lax.platform_dependent(*arrays, cuda=kernel, default=twin)


def called(kernel: Kernel, out: Sequence[jax.ShapeDtypeStruct], *arrays: ArrayLike) -> list[jax.Array]:
    """What a kernel writes; it gets the pointers of the arrays, then those of `out`, all of them row-major."""
    call = jax.ffi.ffi_call(TARGET, tuple(out), custom_call_api_version=4, vmap_method="sequential")
    sizes = {"grid_x": kernel.blocks, "block_x": kernel.threads, "shared_mem_bytes": kernel.shared}
    sizes |= dict.fromkeys(("grid_y", "grid_z", "block_y", "block_z"), 1)
    constants = tuple(sorted({**kernel.constants, "THREADS": kernel.threads}.items()))
    return list(
        call(
            *arrays,
            name=kernel.name,
            kernel_type="ptx",
            kernel_data=ptx(source(kernel.file), constants),
            **{name: np.int32(size) for name, size in sizes.items()},
        )
    )


@functools.cache
def source(file: Path) -> str:
    """A kernel's file behind what all of them share."""
    return PRELUDE.read_text(encoding="utf-8") + file.read_text(encoding="utf-8")


@functools.cache
def ptx(text: str, constants: tuple[tuple[str, int | str], ...]) -> str:
    """A source compiled with some constants.

    Raises:
        RuntimeError: what the compiler says of a source that is wrong.
    """
    return _compiled(_compiler(), text, constants)


def _compiled(nvrtc: Any, text: str, constants: tuple[tuple[str, int | str], ...]) -> str:
    program = _checked(nvrtc, nvrtc.nvrtcCreateProgram(text.encode(), b"kernel.cu", 0, [], []))
    options = [f"--gpu-architecture={ARCHITECTURE}", "--std=c++17", *(f"-D{name}={size}" for name, size in constants)]
    try:
        _checked(nvrtc, nvrtc.nvrtcCompileProgram(program, len(options), [one.encode() for one in options]))
    except RuntimeError:
        told = b" " * _checked(nvrtc, nvrtc.nvrtcGetProgramLogSize(program))
        _checked(nvrtc, nvrtc.nvrtcGetProgramLog(program, told))
        raise RuntimeError(told.decode().rstrip("\0 \n")) from None
    made = b" " * _checked(nvrtc, nvrtc.nvrtcGetPTXSize(program))
    _checked(nvrtc, nvrtc.nvrtcGetPTX(program, made))
    _checked(nvrtc, nvrtc.nvrtcDestroyProgram(program))
    text = re.sub(r'(?m)^\s*\.pragma "used_bytes_mask.*$', "", made.decode().rstrip("\0"))  # a hint, of newer versions
    return re.sub(r"(?m)^\.version .*$", ".version {}.{}".format(*ISA), text)


def _checked(nvrtc: Any, answer: tuple[Any, ...]) -> Any:
    """The first thing that a function of NVRTC gives beside its status."""
    status, *found = answer
    if status != nvrtc.nvrtcResult.NVRTC_SUCCESS:
        raise RuntimeError(f"NVRTC: {status.name}")
    return found[0] if found else None
