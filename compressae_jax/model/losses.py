"""The training loss: cosine distance of a vector to its reconstructions from k and from 4k nonzeros."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from compressae_jax.codes.spaces import unit_rows


def cosine(x: Float[Array, "b d"], z: Float[Array, "b d"]) -> Float[Array, " b"]:
    """cos(x, z) of each row; 0 where either is zero."""
    return (unit_rows(x) * unit_rows(z)).sum(axis=-1)


def compressae_loss(
    x: Float[Array, "b d"], z_k: Float[Array, "b d"], z_4k: Float[Array, "b d"], weight_4k: float = 1 / 8
) -> tuple[Float[Array, ""], dict[str, Float[Array, ""]]]:
    """mean(1 − cos(x, z_k)) + ⅛ mean(1 − cos(x, z_4k)) (arXiv 2505.11388, section 3), and its two terms."""
    loss_k = jnp.mean(1 - cosine(x, z_k))
    loss_4k = jnp.mean(1 - cosine(x, z_4k))
    return loss_k + weight_4k * loss_4k, {"loss_k": loss_k, "loss_4k": loss_4k}
