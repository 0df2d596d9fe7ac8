"""The training loss: cosine distance to the reconstructions from k and from 4k nonzeros, and who is near to whom.

`ranking` is for pairs of texts that are known to belong together; see `training.joint`.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from compressae_jax.codes.on_device import unit_rows
from compressae_jax.model.compressae import Outputs
from compressae_jax.notation import check_choice

GROUP = 1024  # rows whose pairs are looked at; with 256 few of them are near where rows differ (docs/research-log.md)
DISTANCES = ("cosine", "l2")
TEMPERATURE = 0.05  # of cosines, in the softmax over a row's pairs


class Mix(NamedTuple):
    """Weights of the terms beside the first one, and the distance of reconstructions that all but pairs are of."""

    weight_4k: float = 1 / 8
    weight_pairs: float = 0.0
    weight_prefixes: float = 0.0
    distance: str = "cosine"


PAPER = Mix()


def cosine(x: Float[Array, "b d"], z: Float[Array, "b d"]) -> Float[Array, " b"]:
    """cos(x, z) of each row; 0 where either is zero."""
    return (unit_rows(x) * unit_rows(z)).sum(axis=-1)


def distances(x: Float[Array, "b d"], z: Float[Array, "b d"], distance: str = "cosine") -> Float[Array, " b"]:
    """1 − cos(x, z) of each row, or ½ ‖x̂ − z‖² (the same where z has unit length)."""
    check_choice("distance", distance, DISTANCES)
    return 1 - cosine(x, z) if distance == "cosine" else jnp.square(unit_rows(x) - z).sum(axis=-1) / 2


def compressae_loss(
    x: Float[Array, "b d"], outputs: Outputs, mix: Mix = PAPER
) -> tuple[Float[Array, ""], dict[str, Float[Array, ""]]]:
    """mean(1 − cos(x, z_k)) + ⅛ mean(1 − cos(x, z_4k)) (arXiv 2505.11388, section 3), what else has weight; its terms.

    `loss_prefixes`, the mean over the prefixes of `outputs` (as the cumulative loss of arXiv 2505.24473, for fewer
    budgets), and `loss_pairs` are among the terms where they have a weight. k=1 has no prefixes: their loss is 0.
    """
    of = {"loss_k": outputs.z_k, "loss_4k": outputs.z_4k}
    terms = {name: jnp.mean(distances(x, z, mix.distance)) for name, z in of.items()}
    loss = terms["loss_k"] + mix.weight_4k * terms["loss_4k"]
    if mix.weight_prefixes:
        of_prefixes = [jnp.mean(distances(x, z, mix.distance)) for z in outputs.z_prefixes]
        terms["loss_prefixes"] = sum(of_prefixes, jnp.zeros(())) / max(1, len(of_prefixes))
        loss = loss + mix.weight_prefixes * terms["loss_prefixes"]
    if mix.weight_pairs:
        terms["loss_pairs"] = pairs(x, outputs.s_k)
        loss = loss + mix.weight_pairs * terms["loss_pairs"]
    return loss, terms


def pairs(x: Float[Array, "b d"], s: Float[Array, "b h"]) -> Float[Array, ""]:
    """Mean KL divergence, over rows, of softmax(cos(s_i, s_j) / T) from softmax(cos(x_i, x_j) / T) over j ≠ i.

    It trains what the sparse space serves: whom a row is near to. Pairs are those within groups of about `GROUP` rows
    (rows that fill no group are left out), so the cost is linear in b and a sharded batch stays where it is.
    """
    groups = max(1, len(x) // GROUP)
    rows = len(x) // groups

    def of(vectors: Array) -> Array:
        grouped = unit_rows(vectors.astype(jnp.float32))[: groups * rows].reshape(groups, rows, -1)
        near = jnp.einsum("gid,gjd->gij", grouped, grouped) / TEMPERATURE
        return jax.nn.log_softmax(jnp.where(jnp.eye(rows, dtype=bool), -1e9, near), axis=-1)

    wanted, given = of(x), of(s)
    return (jnp.exp(wanted) * (wanted - given)).sum(axis=-1).mean()


def ranking(
    queries: Float[Array, "p d"], documents: Float[Array, "m d"], others: Bool[Array, "p m"]
) -> Float[Array, ""]:
    """Mean cross-entropy of finding document i for query i by softmax(cos / T) over all m documents, m ≥ p.

    `others`: documents that answer a query too; they are not held against it. A query's own document never counts as
    one of them.
    """
    near = unit_rows(queries) @ unit_rows(documents).T / TEMPERATURE
    own = jnp.eye(near.shape[0], near.shape[1], dtype=bool)
    found = jax.nn.log_softmax(jnp.where(others & ~own, -1e9, near), axis=-1)
    return -jnp.diagonal(found).mean()
