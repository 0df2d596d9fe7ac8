"""The CompresSAE module (arXiv 2505.11388): parameters and the short methods between vector and code."""

import functools
from collections.abc import Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from compressae_jax.codes.codes import Codes, column_dtype
from compressae_jax.codes.on_device import unit_rows
from compressae_jax.model import topk
from compressae_jax.notation import check_choice

INITS = ("transpose", "kaiming")
DECODER_ROWS = ("unit", "projected", "free")  # how their length is kept in training, see `training.step.advance`
Params = dict[str, jax.Array]  # encoder_w (d, h), encoder_b (h,), decoder_w (h, d)


class Outputs(NamedTuple):
    """What one pass gives a loss: the code, in the dtype of products, and reconstructions from k, 4k and fewer."""

    s_k: Float[Array, "b h"]
    z_k: Float[Array, "b d"]
    z_4k: Float[Array, "b d"]
    z_prefixes: tuple[Float[Array, "b d"], ...] = ()


class CompresSAE(nn.Module):
    """Vectors of width d as k signed nonzeros of h.

    `init_encoder='transpose'` draws unit decoder rows and starts the encoder as their transpose (no latent dies);
    `init_encoder='kaiming'` is the published start, two independent draws. `gradient`: see `topk.keep`. Products run
    in `dtype`, everything else in float32.
    """

    d: int
    h: int
    k: int
    activation: str = "topk"
    init_encoder: str = "transpose"
    gradient: str = "kept"
    dtype: Any = jnp.float32

    def setup(self) -> None:
        """Draw the parameters."""
        check_choice("init_encoder", self.init_encoder, INITS)
        self.decoder_w = self.param("decoder_w", lambda key: unit_rows(_kaiming(key, (self.h, self.d))))
        self.encoder_w = self.param("encoder_w", self._first_encoder_w)
        self.encoder_b = self.param("encoder_b", nn.initializers.zeros_init(), (self.h,), jnp.float32)

    def _first_encoder_w(self, key: Array) -> Array:
        return self.decoder_w.T if self.init_encoder == "transpose" else _kaiming(key, (self.d, self.h))

    def pre_activations(self, x: Float[Array, "b d"]) -> Float[Array, "b h"]:
        """a = x̂ W_e + b_e, float32."""
        return _product(unit_rows(x), self.encoder_w, self.dtype) + self.encoder_b

    def decode(self, s: Float[Array, "b h"]) -> Float[Array, "b d"]:
        """z = s W_d, float32."""
        return _product(s, self.decoder_w, self.dtype)

    def __call__(self, x: Float[Array, "b d"], prefixes: bool = False) -> Outputs:
        """Forward pass for training, all budgets from one selection; 4k is cut at h, prefixes have k/2 and k/4."""
        fewer = [k for k in (self.k // 2, self.k // 4) if k] if prefixes else []
        ks = (self.k, min(4 * self.k, self.h), *fewer)
        s_k, s_4k, *others = topk.activate(self.pre_activations(x), ks, self.activation, self.gradient, self.dtype)
        return Outputs(s_k, self.decode(s_k), self.decode(s_4k), tuple(map(self.decode, others)))

    def encode(self, x: Float[Array, "b d"]) -> Codes:
        """The codes of vectors, by falling magnitude; a zero row, which has no direction, gets an all-zero code."""
        a = topk.rectified(self.pre_activations(x), self.activation)
        k = self.h if self.activation == "identity" else self.k
        values, columns = topk.largest(a, k)
        # Of k numbers a row, not of h before the selection: that would read and write as much as the product does.
        there = (x != 0).any(axis=1, keepdims=True)
        values, columns = jnp.where(there, values, 0), jnp.where(there, columns, jnp.arange(k))
        return Codes(values, columns.astype(column_dtype(self.h)), self.h)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def _product(x: Float[Array, "b m"], w: Float[Array, "m n"], dtype: Any) -> Float[Array, "b n"]:
    """x w in float32, of factors in a dtype; its gradients' products have both factors in it, too.

    By itself JAX multiplies float32 cotangents with what is in the dtype: in float32, at half the rate of bfloat16.
    """
    return jnp.matmul(x.astype(dtype), w.astype(dtype), preferred_element_type=jnp.float32)


def _product_forward(x: Array, w: Array, dtype: Any) -> tuple[Array, tuple[Array, Array]]:
    # The factors as they were given: casts are cheaper to repeat than to keep, and XLA shares them.
    return _product(x, w, dtype), (x, w)


def _product_backward(dtype: Any, factors: tuple[Array, Array], cotangent: Array) -> tuple[Array, Array]:
    x, w = factors
    of = cotangent.astype(dtype)
    to_x = jnp.matmul(of, w.astype(dtype).T, preferred_element_type=jnp.float32)
    to_w = jnp.matmul(x.astype(dtype).T, of, preferred_element_type=jnp.float32)
    return to_x.astype(x.dtype), to_w.astype(w.dtype)


_product.defvjp(_product_forward, _product_backward)


def _kaiming(key: Array, shape: tuple[int, int]) -> Array:
    """PyTorch's kaiming_uniform_ with its defaults, as the published class draws it: the fan is the last axis."""
    bound = (6 / shape[1]) ** 0.5
    return jax.random.uniform(key, shape, jnp.float32, -bound, bound)


def with_unit_rows(params: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Parameters whose decoder rows may have any length, with the lengths in the encoder instead.

    Values of a code are then what they add to its reconstruction, and it is these that the selection compares.
    """
    lengths = np.linalg.norm(params["decoder_w"], axis=1)
    by = np.where(lengths > 0, lengths, 1).astype(np.float32)
    unit = np.where(lengths[:, None] > 0, params["decoder_w"] / by[:, None], np.eye(1, params["decoder_w"].shape[1]))
    encoder = {"encoder_w": params["encoder_w"] * lengths, "encoder_b": params["encoder_b"] * lengths}
    return {name: np.asarray(array, np.float32) for name, array in {**encoder, "decoder_w": unit}.items()}


def without_radial(gradient: Mapping[str, Any], params: Params) -> Params:
    """The gradient less what would only change the lengths of decoder rows, which are 1."""
    rows, of_rows = params["decoder_w"], gradient["decoder_w"]
    return {**gradient, "decoder_w": of_rows - (of_rows * rows).sum(axis=1, keepdims=True) * rows}


def project_decoder(params: Params) -> Params:
    """The parameters with decoder rows brought back to unit length; run after every step."""
    return {**params, "decoder_w": unit_rows(params["decoder_w"])}
