"""Sentence encoders in linen: BERT's layers or MPNet's, the mean over tokens, unit length; `folders` has the weights.

Without dropout, so that one text has one vector, in training too.
"""

import functools
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

KINDS = ("bert", "mpnet")
BUCKETS, FARTHEST = 32, 128  # of MPNet's distances


class Architecture(NamedTuple):
    """What a config says: the numbers that are no weights."""

    kind: str  # one of `KINDS`
    words: int
    width: int
    depth: int
    heads: int
    inner: int  # width between the two products of a layer
    places: int  # rows of the table of positions
    epsilon: float  # of the norms
    pad: int  # the token that fills
    types: int = 2  # of tokens; BERT's alone, and a single text has the first

    @property
    def first_place(self) -> int:
        """The row of the first token's position: MPNet counts from behind the one of padding."""
        return self.pad + 1 if self.kind == "mpnet" else 0

    @property
    def longest(self) -> int:
        """Tokens of a text, at most."""
        return self.places - self.first_place


class Layer(nn.Module):
    """Attention and two products, each added to what went in and normed; the body of a scan."""

    of: Architecture

    @nn.compact
    def __call__(
        self, x: Float[Array, "b l w"], bias: Float[Array, "#b #heads #l l"]
    ) -> tuple[Float[Array, "b l w"], None]:
        """The next layer's x; `bias` is added to the scores of attention."""
        dense = functools.partial(nn.Dense, precision="highest")
        norm = functools.partial(nn.LayerNorm, epsilon=self.of.epsilon, use_fast_variance=False)
        b, length, width = x.shape
        split = (b, length, self.of.heads, width // self.of.heads)
        q, k, v = (dense(width, name=name)(x).reshape(split) for name in ("query", "key", "value"))
        scores = jnp.einsum("bqhw,bkhw->bhqk", q, k, precision="highest") / jnp.sqrt(split[-1]) + bias
        heads = jnp.einsum("bhqk,bkhw->bqhw", jax.nn.softmax(scores, axis=-1), v, precision="highest")
        x = norm(name="norm")(x + dense(width, name="mix")(heads.reshape(x.shape)))
        inner = jax.nn.gelu(dense(self.of.inner, name="inner")(x), approximate=False)
        return norm(name="last_norm")(x + dense(width, name="outer")(inner)), None


class TextEncoder(nn.Module):
    """Tokens of texts to unit vectors.

    The parameters of layers stand one behind the other in 'layers', along a first axis, so that one is compiled; the
    `last` ones stand apart, in 'last_layers', where they alone are trained.
    """

    of: Architecture
    last: int = 0

    @nn.compact
    def __call__(self, tokens: Int[Array, "b l"], there: Bool[Array, "b l"]) -> Float[Array, "b w"]:
        """The mean over the tokens that are there, brought to unit length; each text needs one."""
        of, length = self.of, tokens.shape[1]
        first = of.first_place
        places = nn.Embed(of.places, of.width, name="places")(jnp.arange(first, first + length))
        x = nn.Embed(of.words, of.width, name="words")(tokens) + places
        bias = jnp.where(there, 0.0, -1e9)[:, None, None, :]
        if of.kind == "bert":
            x = x + nn.Embed(of.types, of.width, name="types")(jnp.zeros((), jnp.int32))
        else:
            near = nn.Embed(BUCKETS, of.heads, name="distances")(jnp.asarray(buckets(length)))
            bias = bias + near.transpose(2, 0, 1)[None]
        x = nn.LayerNorm(epsilon=of.epsilon, use_fast_variance=False, name="norm")(x)
        for name, count in (("layers", of.depth - self.last), ("last_layers", self.last)):
            if count:
                layers: Any = nn.scan(
                    Layer, {"params": 0}, split_rngs={"params": True}, in_axes=nn.broadcast, length=count
                )
                x, _ = layers(of, name=name)(x, bias)
        mean = (x * there[..., None]).sum(axis=1) / there.sum(axis=1, keepdims=True)
        return mean / jnp.linalg.norm(mean, axis=1, keepdims=True)


def buckets(length: int) -> Int[np.ndarray, "l l"]:
    """MPNet's bucket of every pair of places: near distances each their own, far ones by their logarithm, each sign."""
    distance = np.arange(length)[:, None] - np.arange(length)[None]
    half, near = BUCKETS // 2, BUCKETS // 4
    far = np.log(np.maximum(abs(distance), 1) / near) / np.log(FARTHEST / near) * (half - near)
    size = np.where(abs(distance) < near, abs(distance), np.minimum(near + far.astype(int), half - 1))
    return size + half * (distance < 0)
