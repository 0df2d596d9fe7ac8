"""Judgements that people bring: one file a kind, all of them read as `Judged`; `opening` picks one."""

from compressae_jax.data.judged.judged import Judged
from compressae_jax.data.judged.opening import KINDS, open_judgements

__all__ = ["KINDS", "Judged", "open_judgements"]
