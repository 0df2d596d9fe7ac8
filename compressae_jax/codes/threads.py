"""Where version 0.1 had `base.threads`; `cores` is kept importable from here for programs that asked it."""

from compressae_jax.base.threads import cores

__all__ = ["cores"]
