"""Whether vectors are reconstructed as well as those of a training: mean cosines of rows to their reconstructions.

The others are rows that were held out; what a model notes of them is written when its training ends.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float

from compressae_jax import data
from compressae_jax.base import bootstrap
from compressae_jax.codes import on_host
from compressae_jax.codes.rows import Rows
from compressae_jax.codes.storage.kinds import levels_name
from compressae_jax.data.sources import BadRowsError, Block, Source
from compressae_jax.model.encoders import Encoder
from compressae_jax.model.weights import Weights
from compressae_jax.notation import Dense, InputError, check_range

NOTE = "held_out"  # where the summary of a model has the note
MOST = 8192  # rows looked at, of more evenly spaced ones: a mean cosine of them errs by some .001
LEAST = 10  # rows, of fewer nothing is said
TOLERANCE = 0.01  # of mean cosine: some .01 of recall@100 (results/drift.md)

Cosines = Float[np.ndarray, " b"]


@dataclasses.dataclass(frozen=True)
class Held:
    """How well rows were reconstructed that nothing was fitted to: mean and standard deviation of their cosines."""

    cosine: float
    std: float
    rows: int

    def means(self, resamples: int, seed: int) -> Float[np.ndarray, " resamples"]:
        """Means that other rows of the same kind would have had: the values are gone, so by Student's distribution."""
        t = np.random.default_rng(seed).standard_t(self.rows - 1, resamples)
        return self.cosine + self.std / np.sqrt(self.rows) * t


@dataclasses.dataclass(frozen=True, repr=False)
class Drift:
    """Mean cosines of new and of held-out rows to their reconstructions, and what follows.

    `low` and `high` are the ends of a 95 % interval of `cosine - reference`, by resampling. A drop of up to
    `tolerance` does not count.
    """

    cosine: float
    reference: float
    low: float
    high: float
    rows: int
    reference_rows: int
    tolerance: float = TOLERANCE

    @property
    def difference(self) -> float:
        """How much better new rows are reconstructed; below 0: worse."""
        return self.cosine - self.reference

    @property
    def drifted(self) -> bool:
        """Whether new rows are surely worse by more than the tolerance."""
        return self.high < -self.tolerance

    def __str__(self) -> str:
        if self.drifted:
            verdict, limit = "drifted", f"a drop of more than {self.tolerance:g}"
        elif self.low >= -self.tolerance:
            verdict, limit = "not drifted", f"no drop of more than {self.tolerance:g}"
        else:
            verdict, limit = "not drifted, as far as so few rows can tell", f"the limit is -{self.tolerance:g}"
        return (
            f"{verdict}: mean cosine to the reconstruction {self.cosine:.4f} of {self.rows:,} new rows, "
            f"{self.reference:.4f} of {self.reference_rows:,} held out; difference {self.difference:+.4f} "
            f"(95 % interval {self.low:+.4f} to {self.high:+.4f}), {limit}"
        )

    def __repr__(self) -> str:
        return f"<Drift, {self}>"


def cosines(how: Encoder, vectors: Dense, k: int | None = None) -> Cosines:
    """cos(x, z) of each row, with values as they are stored; `k` cuts the codes to fewer nonzeros."""
    vectors = np.asarray(vectors, np.float32)
    codes = how.encode(vectors)
    codes = codes if k is None or k >= codes.k else codes.prefix(k)
    z = on_host.reconstruct(codes, how.weights.params["decoder_w"])
    return (on_host.unit_rows(vectors) * on_host.unit_rows(z)).sum(axis=1)


def held(found: Cosines) -> Held:
    """What is noted of rows: at least two."""
    return Held(float(found.mean(dtype=np.float64)), float(found.std(ddof=1, dtype=np.float64)), len(found))


def note(weights: Weights, vectors: Dense) -> dict[str, Any] | None:
    """What a summary keeps, as JSON, of rows held out: by the way that the model was made for; None of too few."""
    vectors = np.asarray(vectors, np.float32)
    vectors = vectors[vectors.any(axis=1)]  # a zero row has no direction
    if len(vectors) < LEAST:
        return None
    how = Encoder(weights, weights.encoder, weights.storage)
    return {**_way(how, how.k), **dataclasses.asdict(held(cosines(how, vectors)))}


def interval(now: Cosines, before: Held, seed: int) -> tuple[float, float]:
    """The ends of the 95 % interval of the difference of two means: new rows drawn again, and others like the old."""
    now = now.astype(np.float64)
    resampled = bootstrap.means(now, bootstrap.RESAMPLES, seed) - before.means(bootstrap.RESAMPLES, seed + 1)
    return bootstrap.around(now.mean() - before.cosine, resampled)[1:]


def of(
    how: Encoder,
    vectors: Any,
    reference: Any = None,
    *,
    k: int | None = None,
    tolerance: float = TOLERANCE,
    seed: int = 0,
) -> Drift:
    """New rows, encoded in one way, beside those that the model noted of its training, or beside `reference` rows.

    Both are whatever `data.open_source` takes; of more than `MOST` rows, so many evenly spaced ones are looked at. `k`:
    as in `cosines`.

    Raises:
        InputError: another width, fewer than `LEAST` rows, zero rows, a value that is not finite; a model that has
            no note, or one of another encoder, storage or k.
    """
    k = how.k if k is None else min(k, how.k)
    if isinstance(tolerance, bool) or not isinstance(tolerance, (int, float)) or not 0 <= tolerance < 1:
        raise InputError(f"tolerance must be a number from 0 and below 1, of mean cosine, not {tolerance!r}")
    check_range("seed", seed, 0, 2**31 - 1)
    source, other = data.open_source(vectors), None if reference is None else data.open_source(reference)
    for given in (source,) if other is None else (source, other):
        _check(how, given)
    before = _noted(how, k) if other is None else held(cosines(how, _some(other), k))
    now = cosines(how, _some(source), k)
    low, high = interval(now, before, seed)
    return Drift(held(now).cosine, before.cosine, low, high, len(now), before.rows, float(tolerance))


def of_rows(
    rows: Rows, weights: Weights, encoder: str, vectors: Any, reference: Any, tolerance: float, seed: int
) -> Drift:
    """`of` by the way in which rows were made that `encoder` made: with their k, their storage and their levels."""
    if rows.levels is not None:
        weights = dataclasses.replace(
            weights, levels={levels_name(encoder, rows.storage, rows.similarity): rows.levels}
        )
    how = Encoder(weights, encoder, rows.storage, rows.similarity)
    return of(how, vectors, reference, k=rows.k, tolerance=tolerance, seed=seed)


def _way(how: Encoder, k: int) -> dict[str, Any]:
    return {"encoder": how.encoder, "storage": how.storage, "k": k}


def _check(how: Encoder, source: Source) -> None:
    if source.width != how.weights.d:
        raise InputError(
            f"{source.name}: vectors have width {source.width}, the model was trained on {how.weights.d} "
            f"(fingerprint {how.weights.fingerprint})"
        )
    if len(source) < LEAST:
        raise InputError(f"{source.name} has {len(source)} rows; a mean needs at least {LEAST}")


def _noted(how: Encoder, k: int) -> Held:
    """What the model's summary says of the rows that were held out.

    Raises:
        InputError: nothing, or of rows encoded in another way.
    """
    remedy = "give reference=, rows like those that it was trained on, better none of these themselves"
    noted = how.weights.summary.get(NOTE)
    model = f"the model (fingerprint {how.weights.fingerprint})"
    if noted is None:
        raise InputError(
            f"{model} does not say how well rows held out of its training are reconstructed: an older version trained "
            f"it, or no row was held out; {remedy}"
        )
    way = _way(how, k)
    fields = {"cosine": float, "std": float, "rows": int, **{name: type(value) for name, value in way.items()}}
    if not isinstance(noted, Mapping) or any(type(noted.get(name)) is not kind for name, kind in fields.items()):
        raise InputError(f"{model} has a damaged note of rows held out ({str(noted)[:100]}); {remedy}")
    if {name: noted[name] for name in way} != way:
        before = ", ".join(f"{name}={noted[name]!r}" for name in way)
        now = ", ".join(f"{name}={value!r}" for name, value in way.items())
        raise InputError(
            f"{model} says how well rows held out are reconstructed with {before}, not with {now}; {remedy}"
        )
    known = Held(noted["cosine"], noted["std"], noted["rows"])
    if not (abs(known.cosine) <= 1.001 and 0 <= known.std <= 1.001 and known.rows >= LEAST):
        raise InputError(f"{model} has a damaged note of rows held out ({str(noted)[:100]}); {remedy}")
    return known


def _some(source: Source) -> Block:
    """At most `MOST` rows, evenly spaced, seen to be finite and not zero; of a source in order, read on the way."""
    rows = np.unique(np.linspace(0, len(source) - 1, min(len(source), MOST)).astype(np.int64))
    if source.random_access:
        some = source.take(rows)
    else:
        pieces = source.batches(source.piece_rows)
        some = np.concatenate([block[rows[(rows >= at) & (rows < at + len(block))] - at] for at, block in pieces])
    for wrong, what in ((~np.isfinite(some).all(axis=1), "is not finite"), (~some.any(axis=1), "is zero")):
        if wrong.any():
            why = f"{int(wrong.sum())} of {len(rows):,} rows looked at are like that; leave them out"
            raise BadRowsError(f"{source.where(int(rows[wrong.argmax()]))} {what}; {why}")
    return some
