"""A learned Matryoshka peer: one linear map whose first coordinates keep cosines; `pca` is what it starts from.

Losses of nested widths, as encoders are trained with (Kusupati et al., 2022), for vectors that are there already.
"""

import functools
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float

from compressae_jax.baselines import pca
from compressae_jax.baselines.flat import Flat
from compressae_jax.baselines.storage import Float16, Float32, Int8Dimensions
from compressae_jax.baselines.units import Vectors, unit_rows
from compressae_jax.notation import check_choice, check_range

BITS = {"float32": 32, "float16": 16, "int8": 8}  # of a coordinate
WIDTHS = (32, 64, 128, 256)  # that have a loss; any other is a prefix, too
STEPS, BATCH = 200, 1024  # 40 s for d=768 on two cores
RATE = 3e-3  # of Adam, falling to zero as a cosine
TEMPERATURE = 0.05  # of the cosines: so only the nearest rows of a batch count, which are what a search wants

Map = Float[Array, "d m"]


def largest(d: int, storage: str = "float32") -> int:
    """Bytes of the largest form."""
    check_choice("storage", storage, BITS)
    return BITS[storage] * min(d, WIDTHS[-1]) // 8


def fit(
    vectors: Vectors,
    budget: int | None = None,
    storage: str = "float32",
    projection: Float[np.ndarray, "d m"] | None = None,
    seed: int = 0,
) -> Flat:
    """Keep as many leading coordinates of the learned map as `budget` bytes a vector hold (default: all), at most 256.

    Rows go back to unit length after the map. `projection` is `learned(vectors)` where the caller has it; `seed` draws
    the batches.
    """
    d = vectors.shape[1]
    budget = largest(d, storage) if budget is None else budget
    check_range("budget", budget, BITS[storage] // 8, largest(d, storage))
    m = 8 * budget // BITS[storage]
    kept = (learned(vectors, seed=seed) if projection is None else projection)[:, :m]

    def reduce(x: Vectors) -> Float[np.ndarray, "n m"]:
        return unit_rows(unit_rows(x) @ kept)

    if storage == "float32":
        return Flat("Matryoshka", d, reduce, Float32(m))
    if storage == "float16":
        return Flat("Matryoshka float16", d, reduce, Float16(m))
    return Flat("Matryoshka int8", d, reduce, Int8Dimensions(reduce(vectors)))


fit_float16 = functools.partial(fit, storage="float16")
largest_float16 = functools.partial(largest, storage="float16")
fit_int8 = functools.partial(fit, storage="int8")
largest_int8 = functools.partial(largest, storage="int8")


def learned(vectors: Vectors, basis: Float[np.ndarray, "d d"] | None = None, seed: int = 0) -> Float[np.ndarray, "d m"]:
    """Train the map (d, min(d, 256)), float32; `basis` is `pca.directions(vectors)` where the caller has it."""
    basis = pca.directions(vectors) if basis is None else basis
    weights = jnp.asarray(basis[:, : WIDTHS[-1]])
    units = unit_rows(vectors)
    units = units[units.any(axis=1)]  # zero rows have no cosines
    if not len(units):
        return np.asarray(weights)
    adam = optax.adam(optax.cosine_decay_schedule(RATE, STEPS))
    state = adam.init(weights)
    step = jax.jit(functools.partial(_step, adam))
    for rows in _batches(len(units), seed):
        weights, state = step(weights, state, units[rows])
    return np.asarray(weights)


def loss(weights: Map, units: Float[Array, "b d"]) -> Float[Array, ""]:
    """How badly each width tells which rows of the batch are near a row: cross-entropies of softmaxes of cosines.

    The sum over widths of the mean over rows; a row itself is not among its neighbours.
    """
    itself = jnp.where(jnp.eye(len(units), dtype=bool), -1e9, 0.0)  # not infinite: a batch of one has nothing else
    wanted = jax.nn.softmax(units @ units.T / TEMPERATURE + itself)

    def of_width(m: int) -> Float[Array, ""]:
        reduced = units @ weights[:, :m]
        reduced /= jnp.sqrt(jnp.square(reduced).sum(axis=1, keepdims=True) + 1e-12)
        found = jax.nn.log_softmax(reduced @ reduced.T / TEMPERATURE + itself)
        return -(wanted * found).sum(axis=1).mean()

    most = weights.shape[1]
    return sum((of_width(m) for m in sorted({min(m, most) for m in WIDTHS})), jnp.zeros(()))


def _step(
    adam: optax.GradientTransformation, weights: Map, state: optax.OptState, units: Float[Array, "b d"]
) -> tuple[Map, optax.OptState]:
    changes, state = adam.update(jax.grad(loss)(weights, units), state)
    return optax.apply_updates(weights, changes), state


def _batches(n: int, seed: int) -> Iterator[np.ndarray]:
    """Row numbers of each step's batch, `BATCH` or all n, every row once before any comes again."""
    rng = np.random.default_rng(seed)
    size, order = min(BATCH, n), np.empty(0, np.int64)
    for _ in range(STEPS):
        if len(order) < size:
            order = rng.permutation(n)
        rows, order = order[:size], order[size:]
        yield rows
