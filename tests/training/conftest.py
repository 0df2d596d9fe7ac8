"""Training tests build one small step again and again: compiled once, it is read back, here and in child processes."""

import jax
import pytest
from jax.experimental.compilation_cache import compilation_cache

SETTINGS = ("jax_compilation_cache_dir", "jax_persistent_cache_min_compile_time_secs")


@pytest.fixture(scope="package", autouse=True)
def compiled(tmp_path_factory):
    folder = str(tmp_path_factory.mktemp("compiled"))
    environment = {"JAX_COMPILATION_CACHE_DIR": folder, "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
    before = {name: getattr(jax.config, name) for name in SETTINGS}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        jax.config.update(SETTINGS[0], folder)
        jax.config.update(SETTINGS[1], 0)
        compilation_cache.reset_cache()
        yield
    for name, value in before.items():
        jax.config.update(name, value)
    compilation_cache.reset_cache()
