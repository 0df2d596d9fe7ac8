"""The three spaces of a code: how queries are expanded and rows are scaled, so that one kernel scores them all.

score(q, y) = ρ_y Σ_j values[y, j] u_q[columns[y, j]] is the cosine of

    sparse          s_q, s_y    u = s_q / ‖s_q‖              ρ = 1 / ‖s_y‖
    reconstructed   z_q, z_y    u = W_d (s_q W_d)ᵀ / ‖z_q‖   ρ = 1 / ‖z_y‖
    dense_query     x_q, z_y    u = W_d x̂_q                  ρ = 1 / ‖z_y‖

with z = s W_d (CompresSAE, arXiv 2505.11388, section 3; the paper's kernel K = W_d W_dᵀ is never built).

Queries are expanded by `on_device`, or by `retrieval.queries` without JAX.
"""

import numpy as np
from jaxtyping import Float

from compressae_jax.notation import AnyArray, check_choice

SPACES = ("sparse", "reconstructed", "dense_query")


def row_scales(row_norms: Float[AnyArray, "n 2"], space: str) -> Float[np.ndarray, " n"]:
    """ρ of every row in a space, float32; 0 for a zero row, which so scores 0."""
    check_choice("space", space, SPACES)
    norm = np.asarray(row_norms[:, 0 if space == "sparse" else 1], np.float32)
    return np.divide(1, norm, out=np.zeros_like(norm), where=norm > 0)
