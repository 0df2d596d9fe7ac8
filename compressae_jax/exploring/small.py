"""Codes and decoder in integers of few bits, as the page holds them, and how far its similarities are from exact ones.

Only the latents that some row uses are kept, under new numbers. A cosine knows no length, so rows need no scale.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float32, Int, Int8, UInt32

from compressae_jax.codes import on_host
from compressae_jax.codes.codes import Codes
from compressae_jax.notation import DecoderW

LEVELS = 127  # of a value, on either side of zero


class Small(NamedTuple):
    """n rows of k nonzeros over m latents; `decoder` is empty in the space 'sparse', which needs none."""

    latents: Int[np.ndarray, " m"]  # their numbers in the model
    columns: UInt32[np.ndarray, "n k"]  # below m
    values: Int8[np.ndarray, "n k"]
    decoder: Int8[np.ndarray, "m d"]
    scales: Float32[np.ndarray, " m"]  # of the decoder's rows
    norms: Float32[np.ndarray, " n"]  # of the rows as they are here: of s, or of z


def of(codes: Codes, decoder_w: DecoderW, space: str, bits: int) -> Small:
    """Rows in memory, rounded: values to 8 bits of each row's largest, the decoder to `bits` of each atom's largest.

    `space`: 'sparse', or 'reconstructed'.
    """
    values = np.asarray(codes.values, np.float32)
    largest = np.abs(values).max(axis=1, keepdims=True, initial=0)
    values = np.rint(LEVELS * np.divide(values, largest, out=np.zeros_like(values), where=largest > 0)).astype(np.int8)
    used = np.asarray(codes.columns).astype(np.int64)
    latents = np.unique(used[values != 0])
    columns = np.where(values != 0, np.searchsorted(latents, used), 0).astype(np.uint32)
    if space == "sparse":
        nothing = np.empty((0, decoder_w.shape[1]), np.int8), np.empty(0, np.float32)
        return Small(latents, columns, values, *nothing, np.linalg.norm(values.astype(np.float32), axis=1))
    atoms, levels = np.asarray(decoder_w, np.float32)[latents], 2 ** (bits - 1) - 1
    scales = np.abs(atoms).max(axis=1, initial=0) / levels
    decoder = np.rint(atoms / np.maximum(scales, np.float32(1e-30))[:, None]).astype(np.int8)
    z = _reconstructed(columns, values, decoder * scales[:, None])
    return Small(latents, columns, values, decoder, scales, np.linalg.norm(z, axis=1).astype(np.float32))


def scores(small: Small, rows: Int[np.ndarray, " q"]) -> Float[np.ndarray, "q n"]:
    """The similarities of some rows with all, as the page computes them; 0 of a row without a nonzero."""
    values = small.values.astype(np.float32)
    if len(small.decoder):
        atoms = small.decoder * small.scales[:, None]
        u = _reconstructed(small.columns[rows], small.values[rows], atoms) @ atoms.T
    else:
        u = np.zeros((len(rows), max(len(small.latents), 1)), np.float32)
        for one, row in zip(u, rows, strict=True):
            np.add.at(one, small.columns[row], values[row])
    found = np.stack([(values * one[small.columns]).sum(axis=1) for one in u]) if len(u) else np.empty((0, len(values)))
    lengths = small.norms[rows][:, None] * small.norms[None]
    return np.divide(found, lengths, out=np.zeros_like(found), where=lengths > 0)


def _reconstructed(
    columns: UInt32[np.ndarray, "n k"], values: Int8[np.ndarray, "n k"], atoms: Float[np.ndarray, "m d"]
) -> Float[np.ndarray, "n d"]:
    if not len(atoms):  # no row has a nonzero
        return np.zeros((len(values), 1), np.float32)
    return on_host.reconstruct(Codes(values.astype(np.float32), columns, len(atoms)), atoms)
