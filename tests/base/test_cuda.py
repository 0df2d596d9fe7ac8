"""base.cuda without a GPU: what NVRTC makes of each kernel, and what a program for a GPU holds."""

import warnings
from types import SimpleNamespace

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


@pytest.mark.parametrize(
    ("capabilities", "on"),
    [(["9.0"], True), (["8.0", "10.0"], True), (["7.5"], False), (["9.0", "7.5"], False), ([], False)],
)
def test_gpus_older_than_the_kernels_do_without_them(capabilities, on, asked, monkeypatch):
    client = SimpleNamespace(platform_version="PJRT C API\ncuda 12090")
    gpus = [SimpleNamespace(platform="gpu", client=client, compute_capability=one) for one in capabilities]
    monkeypatch.delenv("COMPRESSAE_CUDA_KERNELS")
    monkeypatch.setattr(cuda, "_on_nvidia", cuda._on_nvidia.__wrapped__)
    monkeypatch.setattr(jax, "local_devices", lambda: gpus)
    assert cuda.usable() == on


def test_a_compiler_that_cannot_compile_is_told_once_and_not_used(asked, monkeypatch):
    compiler = cuda._compiler()
    monkeypatch.setattr(cuda, "_on_nvidia", lambda: True)
    monkeypatch.setattr(
        compiler, "nvrtcCompileProgram", lambda *_: (compiler.nvrtcResult.NVRTC_ERROR_BUILTIN_OPERATION_FAILURE,)
    )
    cuda._compiler.cache_clear()
    try:
        with pytest.warns(UserWarning, match="kernels are not used"):
            assert not cuda.usable()
        with warnings.catch_warnings(action="error"):
            assert not cuda.usable()
    finally:
        cuda._compiler.cache_clear()


def test_programs_differentiate_and_map_what_kernels_list(asked):
    a = jnp.ones((3, 66))
    for listed in (topk.largest, topk.greatest):
        assert cuda.TARGET in lowered(jax.grad(lambda a, listed=listed: listed(a, 5)[0].sum()), a)
        assert cuda.TARGET in lowered(jax.vmap(lambda a, listed=listed: listed(a, 5)), a[None])


def test_a_source_that_is_wrong_is_named_by_the_compiler(asked):
    with pytest.raises(RuntimeError, match=r"identifier .nothing. is undefined"):
        cuda.ptx("__global__ void one(int* x) { *x = nothing; }", ())


def test_ptx_is_as_old_as_drivers_may_be(asked):
    kernel = topk.lister(2, 64, 3)
    constants = tuple(sorted({**kernel.constants, "THREADS": kernel.threads}.items()))
    made = cuda.ptx(cuda.source(kernel.file), constants)
    assert ".version 7.8" in made and ".entry largest(" in made and ".target sm_80" in made
