"""base.cuda without a GPU: what NVRTC makes of each kernel, and what a program for a GPU holds."""

import jax
import jax.numpy as jnp
import pytest

from compressae_jax.base import cuda
from compressae_jax.model import topk


@pytest.fixture
def asked(monkeypatch):
    monkeypatch.setenv("COMPRESSAE_CUDA_KERNELS", "1")
    if not cuda.usable():
        pytest.skip("no NVRTC: pip install 'cuda-bindings<13' nvidia-cuda-nvrtc-cu12")


def lowered(function, *arrays, platform="cuda"):
    return jax.jit(function).trace(*arrays).lower(lowering_platforms=(platform,)).as_text()


def test_programs_hold_kernels_for_gpus_alone(asked):
    a = jnp.ones((3, 64))
    assert cuda.TARGET in lowered(lambda a: topk.largest(a, 5), a)
    assert cuda.TARGET in lowered(lambda a: topk.keep(a, (5, 2)), a)
    assert cuda.TARGET not in lowered(lambda a: topk.largest(a, 5), a, platform="cpu")
    assert cuda.TARGET not in lowered(lambda a: topk.largest(a, 5), a.astype(jnp.bfloat16))


def test_kernels_are_left_out_where_nothing_runs_them_or_nobody_wants_them(asked, monkeypatch):
    a = jnp.ones((3, 65))  # a shape of its own: what was traced is kept
    for wanted in ("0", ""):
        monkeypatch.setenv("COMPRESSAE_CUDA_KERNELS", wanted)
        assert cuda.TARGET not in lowered(lambda a: topk.largest(a, 5), a)


def test_a_source_that_is_wrong_is_named_by_the_compiler(asked):
    with pytest.raises(RuntimeError, match=r"identifier .nothing. is undefined"):
        cuda.ptx("__global__ void one(int* x) { *x = nothing; }", ())


def test_ptx_is_as_old_as_drivers_may_be(asked):
    kernel = topk.lister(2, 64, 3)
    constants = tuple(sorted({**kernel.constants, "THREADS": kernel.threads}.items()))
    made = cuda.ptx(cuda.source(kernel.file), constants)
    assert ".version 7.8" in made and ".entry largest(" in made and ".target sm_80" in made
