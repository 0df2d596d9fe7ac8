"""The ways from vectors to codes as JAX computes them, jitted; `encoders` chooses between these and loops on a CPU."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from compressae_jax.codes.codes import Codes, column_dtype
from compressae_jax.model import kept, pursuit, shortlists
from compressae_jax.model.compressae import CompresSAE, Params
from compressae_jax.model.shortlists import Coarse
from compressae_jax.model.weights import Weights


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


def _sorted(values: Float[Array, "b k"], columns: Array, h: int) -> Codes:
    order = jnp.argsort(-jnp.abs(values), axis=1)
    values, columns = (jnp.take_along_axis(one, order, axis=1) for one in (values, columns))
    return Codes(values, columns.astype(column_dtype(h)), h)


def params_on(weights: Weights, device: jax.Device) -> Params:
    """The parameters on a device, where they stay as long as weights of this fingerprint live."""
    size = sum(one.nbytes for one in weights.params.values())
    return kept.of(weights, device, lambda: jax.device_put(weights.params, device), lambda _: size)


def coarse_on(weights: Weights, device: jax.Device) -> Coarse:
    """The Gram matrix of the decoder in 8 bits on a device, where it stays likewise."""

    def made() -> Coarse:
        return Coarse(*jax.device_put(shortlists.coarse(np.asarray(weights.params["decoder_w"])), device))

    return kept.of(weights, ("coarse gram", device), made, lambda coarse: coarse.nbytes)
