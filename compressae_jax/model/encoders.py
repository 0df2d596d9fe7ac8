"""The ways from vectors to codes for one dictionary, by name; their arithmetic is in `topk`, `pursuit`, `pursuit_host`.

topk      one linear pass, the k largest pre-activations (arXiv 2505.11388)
refit     the same columns, least-squares values
shortlist one linear pass for 4k columns, orthogonal matching pursuit of k among them
pursuit   orthogonal matching pursuit: columns, too, are chosen for the dictionary
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from compressae_jax.codes.codes import Codes, column_dtype
from compressae_jax.model import pursuit, pursuit_host, topk, topk_host
from compressae_jax.model.compressae import CompresSAE, Params
from compressae_jax.model.weights import Weights
from compressae_jax.notation import Dense, InputError, check_choice

ENCODERS = ("topk", "refit", "shortlist", "pursuit")
AS_LOOPS = (
    "topk",
    "shortlist",
    "pursuit",
)  # that a CPU runs faster as compiled loops than jitted (benchmarks.encoders)
SWAPPED = ("shortlist", "pursuit")  # whose columns may change when values are put on levels
SHORTLIST = 4  # times k: how many columns the pass picks, as many as the second term of the training loss decodes


def check(encoder: str, weights: Weights, rounded: bool) -> None:
    """Raise InputError unless the encoder is one of `ENCODERS` and can serve this model.

    `rounded`: whether values go on few levels, which fits them anew, as 'refit' does.
    """
    check_choice("encoder", encoder, ENCODERS)
    if (encoder != "topk" or rounded) and weights.activation != "topk":
        wanted = "values on few levels" if rounded else f"encoder={encoder!r}"
        raise InputError(f"{wanted} may give values of either sign, but the model's activation is {weights.activation}")


@functools.partial(jax.jit, static_argnames=("module", "encoder"))
def encode(params: Params, x: Float[Array, "b d"], module: CompresSAE, encoder: str = "topk") -> Codes:
    """The codes of vectors by falling magnitude, jitted; a zero row gets an all-zero code."""
    with jax.default_matmul_precision("highest"):  # a GPU's default product would choose other supports
        if encoder == "pursuit":
            values, columns = pursuit.pursue(x, params["decoder_w"], module.k)
            return _sorted(values, columns, module.h)
        if encoder == "shortlist":
            values, columns = pursuit.pursue_among(x, shortlist(params, x, module), params["decoder_w"], module.k)
            return _sorted(values, columns, module.h)
        codes: Any = module.apply({"params": params}, x, method="encode")
        if encoder == "refit":
            return _sorted(pursuit.refit(x, codes.columns, params["decoder_w"]), codes.columns, module.h)
        return codes


@functools.partial(jax.jit, static_argnames="module")
def shortlist(params: Params, x: Float[Array, "b d"], module: CompresSAE) -> Int[Array, "b c"]:
    """The columns of the 4k largest pre-activations of each row (all of them, where h is less)."""
    return topk.largest(activated(params, x, module), _shortlisted(module.k, module.h))[1]


@functools.partial(jax.jit, static_argnames="module")
def activated(params: Params, x: Float[Array, "b d"], module: CompresSAE) -> Float[Array, "b h"]:
    """What a row's columns are chosen from: pre-activations, all zero of a zero row."""
    with jax.default_matmul_precision("highest"):
        a: Any = module.apply({"params": params}, x, method="activated")
        return a


def _shortlisted(k: int, h: int) -> int:
    return min(SHORTLIST * k, h)


def _sorted(values: Float[Array, "b k"], columns: Array, h: int) -> Codes:
    order = jnp.argsort(-jnp.abs(values), axis=1)
    values, columns = (jnp.take_along_axis(one, order, axis=1) for one in (values, columns))
    return Codes(values, columns.astype(column_dtype(h)), h)


class HostEncoder:
    """`encode` on a CPU for encoders that have a compiled loop, and for values on few levels; safe to share by threads.

    With `levels` the values are signed levels with the row's length folded in (see `pursuit_host`), and every row that
    is not zero has k nonzeros.
    """

    def __init__(self, weights: Weights, encoder: str, levels: Float[np.ndarray, " l"] | None = None) -> None:
        check(encoder, weights, levels is not None)
        self._weights, self._encoder, self._levels = weights, encoder, levels
        self._params = _placed(weights)
        self._one_pass = encoder == "topk" and levels is None
        if not self._one_pass:
            gram_of(weights)  # once, before threads ask for it

    def __call__(self, x: Dense) -> Codes:
        """Codes of a block of rows, float32, by falling magnitude."""
        if self._one_pass:
            values, columns = topk_host.largest(self._activated(x), self._weights.k)
            return Codes(values, columns.astype(column_dtype(self._weights.h)), self._weights.h)
        of_rows, (values, columns), among = self._fitted(x)
        if self._levels is not None:
            swap = self._encoder in SWAPPED
            values, columns = pursuit_host.on_levels(
                of_rows, (values, columns), gram_of(self._weights), self._levels, swap, among
            )
        order = np.argsort(-np.abs(values), axis=1, kind="stable")
        values, columns = (np.take_along_axis(one, order, axis=1) for one in (values, columns))
        return Codes(values, columns.astype(column_dtype(self._weights.h)), self._weights.h)

    def magnitudes(self, x: Dense) -> Float[np.ndarray, " m"]:
        """The magnitudes that levels are to stand for, of all nonzeros of a block."""
        return np.abs(pursuit_host.folded(*self._fitted(x)[:2])[0]).reshape(-1)

    def _fitted(self, x: Dense) -> tuple[Float[np.ndarray, "b h"], pursuit_host.Fitted, np.ndarray | None]:
        """Correlations, least-squares values and shortlists, if any; zero rows come out as zeros."""
        gram = gram_of(self._weights)
        of_rows = pursuit_host.correlations(x, self._weights.params["decoder_w"])
        if self._encoder == "pursuit":
            return of_rows, pursuit_host.pursue(of_rows, gram, self._weights.k), None
        a, k = self._activated(x), self._weights.k
        if self._encoder == "shortlist":
            among = topk_host.largest(a, _shortlisted(k, self._weights.h))[1]
            return of_rows, pursuit_host.pursue_among(of_rows, gram, among, k), among
        return of_rows, pursuit_host.refit(of_rows, gram, topk_host.largest(a, k)[1]), None

    def _activated(self, x: Dense) -> Float[np.ndarray, "b h"]:
        with pursuit_host.ONE_CALL:
            return np.asarray(activated(self._params, jnp.asarray(x, jnp.float32), self._weights.module()))


@functools.lru_cache(maxsize=1)
def _placed(weights: Weights) -> Params:
    """The parameters on the default device, kept likewise: a few queries cost less than moving them."""
    return jax.device_put(weights.params)


@functools.lru_cache(maxsize=1)
def gram_of(weights: Weights) -> Float[np.ndarray, "h h"]:
    """The Gram matrix of the decoder, kept for the weights that were asked for last."""
    return pursuit_host.gram(weights.params["decoder_w"])
