"""Local search quantisation by faiss: codebooks whose sum is the row, all learned together."""

from compressae_jax.baselines import quantisers
from compressae_jax.baselines.flat import Flat
from compressae_jax.baselines.quantisers import CENTROIDS, Parts, even, load_faiss, trainable
from compressae_jax.baselines.units import Vectors, unit_rows

CODEBOOKS = 8  # of a part, at most
# The ridge of the codebooks' least squares, where there are fewer than so many rows a codeword: faiss's own of .01
# leaves them undetermined then. 2,048 codewords fitted to 2,074 rows decoded these to a mean cosine of .989 and other
# rows to .145; by a ridge of 10 to .908 and .765.
RIDGE, FEW = 10.0, 4
largest = quantisers.largest


def fit(vectors: Vectors, budget: int | None = None, seed: int = 0) -> Flat:
    """Train `budget` codebooks, one byte each, in parts of 4 to 8 (default: one for every eight dimensions).

    Encoding is a random search, so the code of a row depends on the rows that are encoded with it.

    Raises:
        InputError: faiss is missing, fewer than 256 vectors, or a budget above the width.
    """
    units, budget = trainable("LSQ", vectors, budget)
    faiss, splits = load_faiss("LSQ"), -(-budget // CODEBOOKS)
    sizes = zip(even(vectors.shape[1], splits), even(budget, splits), strict=True)
    parts = Parts(faiss.LocalSearchQuantizer(width, count, 8) for width, count in sizes)
    for one in parts.quantisers:
        one.random_seed += seed
        if len(units) < FEW * CENTROIDS * one.M:
            one.lambd = RIDGE
    return Flat("LSQ", vectors.shape[1], unit_rows, parts.train(units))
