"""The ways from vectors to codes as JAX computes them, jitted; `encoders` chooses between these and loops on a CPU."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from compressae_jax.codes.codes import Codes, column_dtype
from compressae_jax.model import kept, pursuit, pursuit_levels, shortlists
from compressae_jax.model.compressae import CompresSAE, Params
from compressae_jax.model.pursuit_host import LARGEST_H
from compressae_jax.model.shortlists import Coarse
from compressae_jax.model.weights import Weights
from compressae_jax.notation import DecoderW, Dense, InputError


class Atoms(NamedTuple):
    """A dictionary, and the products of all its atoms with each other."""

    decoder_w: DecoderW
    gram: Float[Array, "h h"]


@functools.partial(jax.jit, static_argnames=("module", "encoder"))
def encode(
    params: Params, x: Float[Array, "b d"], module: CompresSAE, encoder: str = "topk", coarse: Coarse | None = None
) -> Codes:
    """The codes of vectors by falling magnitude, jitted; a zero row gets an all-zero code.

    `coarse`, of the decoder's atoms, is what 'shortlist' needs.
    """
    with jax.default_matmul_precision("highest"):  # a GPU's default product would choose other supports
        if encoder == "pursuit":
            values, columns = pursuit.pursue(x, params["decoder_w"], module.k)
            return _sorted(values, columns, module.h)
        if encoder == "shortlist":
            assert coarse is not None
            values, columns = pursuit.shortlist(x, params["decoder_w"], coarse, module.k)
            return _sorted(values, columns, module.h)
        codes: Any = module.apply({"params": params}, x, method="encode")
        if encoder == "refit":
            return _sorted(pursuit.refit(x, codes.columns, params["decoder_w"]), codes.columns, module.h)
        return codes


@functools.partial(jax.jit, static_argnames="k")
def encode_on_levels(
    atoms: Atoms, x: Dense, k: int, levels: Float[Array, " l"], times: Float[Array, " b"], fold: Float[Array, ""]
) -> Codes:
    """The codes of vectors by pursuit, with values on levels, by falling magnitude (see `pursuit_levels`)."""
    values, columns = pursuit_levels.pursue_on_levels(x, *atoms, k, levels, times, fold)
    return _sorted(values, columns, len(atoms.decoder_w))


def _sorted(values: Float[Array, "b k"], columns: Array, h: int) -> Codes:
    order = jnp.argsort(-jnp.abs(values), axis=1)
    values, columns = (jnp.take_along_axis(one, order, axis=1) for one in (values, columns))
    return Codes(values, columns.astype(column_dtype(h)), h)


def params_on(weights: Weights, device: jax.Device) -> Params:
    """The parameters on a device, where they stay as long as weights of this fingerprint live."""
    size = sum(one.nbytes for one in weights.params.values())
    return kept.of(weights, "params", lambda: jax.device_put(weights.params, device), lambda _: size, device)


def coarse_on(weights: Weights, device: jax.Device) -> Coarse:
    """The Gram matrix of the decoder in 8 bits on a device, where it stays likewise."""

    def made() -> Coarse:
        return Coarse(*jax.device_put(shortlists.coarse(np.asarray(weights.params["decoder_w"])), device))

    return kept.of(weights, "coarse gram", made, lambda coarse: coarse.nbytes, device)


def atoms_on(weights: Weights, device: jax.Device) -> Atoms:
    """The decoder and its Gram matrix on a device, where they stay likewise.

    Raises:
        InputError: too many latents for it.
    """
    if weights.h > LARGEST_H:
        raise InputError(
            f"pursuit on levels keeps the {weights.h}² products of all latents in memory; h must be at most "
            f"{LARGEST_H} for it, or encoder='topk'"
        )

    def made() -> Atoms:
        decoder_w = jax.device_put(weights.params["decoder_w"], device)
        return Atoms(decoder_w, jnp.matmul(decoder_w, decoder_w.T, precision="highest"))

    return kept.of(weights, "atoms", made, lambda atoms: atoms.decoder_w.nbytes + atoms.gram.nbytes, device)
