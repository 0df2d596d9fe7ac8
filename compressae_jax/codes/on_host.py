"""Unit rows and reconstructions on a CPU without JAX: threads and forked processes may call these.

A row is the same bits however many rows come together. `spaces` has the jitted forms, `Codes.with_norms` the norms.
"""

import numpy as np
from jaxtyping import Float

from compressae_jax.base import threads
from compressae_jax.codes.codes import Codes
from compressae_jax.notation import AnyArray, DecoderW

PIECE = 2**20  # numbers that a thread reads at a time


def unit_rows(x: Float[AnyArray, "b d"]) -> Float[np.ndarray, "b d"]:
    """Each row divided by its length, float32; a zero row stays zero."""
    from compressae_jax.codes import row_kernels

    x = np.ascontiguousarray(x, np.float32)
    out = np.empty_like(x)
    row_kernels.units(x, out)
    return out


def reconstructed(codes: Codes, decoder_w: DecoderW) -> Float[np.ndarray, "b d"]:
    """z = s W_d as `reconstruct`, with the lengths that rows have which are compared by inner products."""
    z = reconstruct(codes, decoder_w)
    return z if codes.lengths is None else unit_rows(z) * np.asarray(codes.lengths, np.float32)[:, None]


def reconstruct(codes: Codes, decoder_w: DecoderW) -> Float[np.ndarray, "b d"]:
    """z = s W_d, float32, of codes that were checked (no column outside h)."""
    from compressae_jax.codes import row_kernels

    decoder_w = np.ascontiguousarray(decoder_w, np.float32)
    out = np.empty((len(codes), decoder_w.shape[1]), np.float32)
    rows = max(1, PIECE // (codes.k * decoder_w.shape[1]))

    def work(start: int) -> None:
        here = slice(start, start + rows)
        values = np.asarray(codes.values[here]).astype(np.float32)
        row_kernels.reconstruct(values, np.asarray(codes.columns[here]).astype(np.uint32), decoder_w, out[here])

    if len(codes) <= rows:
        work(0)
    else:
        threads.deal(work, range(0, len(codes), rows))
    return out
