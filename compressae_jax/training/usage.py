"""Which latents fire, and how evenly; the step carries this along, the metrics show it."""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

DECAY = 0.99  # of the frequencies, a step: about the last 100 steps count
NEVER = -(2**30)  # as the step that a latent last fired at


class Usage(NamedTuple):
    """Of every latent, the step at which it last fired, and a moving average of how many rows it fired for."""

    last_fired: Int[Array, " h"]
    frequency: Float[Array, " h"]


def nothing(h: int) -> Usage:
    """The usage before the first step: no latent has fired."""
    return Usage(jnp.full(h, NEVER, jnp.int32), jnp.zeros(h, jnp.float32))


def window(rows: int, batch: int) -> int:
    """Steps without firing after which a latent counts as dead: an epoch, but at least 100."""
    return max(100, -(-rows // batch))


def count(s: Float[Array, "b h"]) -> Int[Array, " h"]:
    """Rows that each latent is nonzero in."""
    return (s != 0).sum(axis=0, dtype=jnp.int32)


def observe(usage: Usage, counts: Int[Array, " h"], step: Int[Array, ""]) -> Usage:
    """The usage after a step whose batch gave these counts."""
    last_fired = jnp.where(counts > 0, step, usage.last_fired)
    return Usage(last_fired, DECAY * usage.frequency + (1 - DECAY) * counts.astype(jnp.float32))


def dead_share(usage: Usage, step: Int[Array, ""], steps: int) -> Float[Array, ""]:
    """Share of latents that fired in none of the last `steps` steps, `step` included; at first, in none at all."""
    return (usage.last_fired <= step - steps).mean(dtype=jnp.float32)


def entropy(usage: Usage) -> Float[Array, ""]:
    """Entropy of the frequencies over log h: 1 where all latents fire equally often, 0 where one does all (or none)."""
    p = usage.frequency / jnp.maximum(usage.frequency.sum(), jnp.finfo(jnp.float32).tiny)
    bits = -jnp.where(p > 0, p * jnp.log(jnp.where(p > 0, p, 1)), 0).sum()
    return bits / jnp.log(jnp.maximum(p.size, 2)).astype(jnp.float32)
