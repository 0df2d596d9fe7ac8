"""Whether a difference is more than chance: tests over queries, families of tests, seeds; intervals are `intervals`'.

Values are paired: one a query, of two methods that answered the same queries. A p-value that is drawn counts what was
observed as one of the draws, so it is never 0.
"""

from typing import NamedTuple

import numpy as np
import scipy.special
from jaxtyping import Float, UInt8

from compressae_jax.base import bootstrap
from compressae_jax.notation import InputError, check_range

RESAMPLES = 10_000
PIECE = 2**22  # signs drawn at once
ROUND = 1e-6  # of the size of a sum: closer ones are equal, since scores may be of single precision
LEVEL = 0.95


class Effect(NamedTuple):
    """A mean difference over queries and seeds, with its 95 % interval, p-value and degrees of freedom.

    `seeds`, `queries` and `rest` are what each adds to the variance of the mean; a new run shares none of them.
    """

    mean: float
    low: float
    high: float
    p: float
    df: float
    seeds: float
    queries: float
    rest: float


def permutation(
    values: Float[np.ndarray, "q *m"], base: Float[np.ndarray, "p *n"], resamples: int = RESAMPLES, seed: int = 0
) -> Float[np.ndarray, "*m"]:
    """Two-sided p of the mean difference where either method may have scored either value of a query.

    All 2^q exchanges where these are no more than `resamples`, else as many drawn ones. Of several columns, say one a
    metric, each gets its own p from the same exchanges.

    Raises:
        InputError: unlike shapes, no query, values that are not finite.
    """
    differences = _differences(values, base)
    check_range("resamples", resamples, 1, 10**7)
    flat = differences.reshape(len(differences), -1)
    unlike = flat[np.any(flat != 0, axis=1)]  # exchanging equal values changes nothing
    exact = len(unlike) < 63 and 2 ** len(unlike) <= resamples
    draws, flat = (2 ** len(unlike), unlike) if exact else (resamples, flat)
    observed = np.abs(flat.sum(axis=0)) - ROUND * np.abs(flat).sum(axis=0)
    rng, reached = np.random.default_rng(seed), np.zeros(flat.shape[1], np.int64)
    exchanged = _exchanged(flat)
    groups = np.arange(exchanged.shape[1])
    piece = max(1, PIECE // len(groups))
    for start in range(0, draws, piece):
        size = min(piece, draws - start)
        signs = _all(start, size, len(groups)) if exact else rng.integers(256, size=(size, len(groups)), dtype=np.uint8)
        for column, (sums, limit) in enumerate(zip(exchanged, observed, strict=True)):
            reached[column] += (np.abs(sums[groups, signs].sum(axis=1)) >= limit).sum()
    found = reached / draws if exact else (reached + 1) / (draws + 1)
    return found.reshape(differences.shape[1:])


def bootstrapped(
    values: Float[np.ndarray, " q"], base: Float[np.ndarray, " p"], resamples: int = RESAMPLES, seed: int = 0
) -> float:
    """Two-sided p of the mean difference: how often a resampled one is as far from the observed one as this is from 0.

    Raises:
        InputError: as `permutation`.
    """
    differences = _differences(values, base)
    check_range("resamples", resamples, 1, 10**7)
    observed = differences.mean()
    away = np.abs(bootstrap.means(differences, resamples, seed) - observed)
    reached = away >= abs(observed) - ROUND * np.abs(differences).mean()
    return float((reached.sum() + 1) / (resamples + 1))


def holm(p: Float[np.ndarray, " m"]) -> Float[np.ndarray, " m"]:
    """P-values of one family, each made as large as Holm's procedure needs: reject those at most alpha.

    All rejections are right together with probability 1 - alpha, however the tests depend on each other.

    Raises:
        InputError: a p outside 0 to 1.
    """
    p = np.asarray(p, np.float64)
    if not ((p >= 0) & (p <= 1)).all():
        raise InputError(f"p-values must lie from 0 to 1, not {p[~((p >= 0) & (p <= 1))][0]}")
    order = np.argsort(p, kind="stable")
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(1, np.maximum.accumulate(p[order] * (len(p) - np.arange(len(p)))))
    return adjusted


def over_seeds(values: Float[np.ndarray, "s q"], base: Float[np.ndarray, "t p"]) -> Effect:
    """The mean difference of two methods, each run with seeds of its own, of which others could have been drawn.

    Both methods are scored on the same queries, a row a seed. Seeds and queries are crossed random factors: the
    interval is for new seeds and new queries, by analysis of variance with Satterthwaite's degrees of freedom.

    Raises:
        InputError: fewer than two seeds or queries, unlike queries, values that are not finite.
    """
    arms = [_table(name, one) for name, one in (("values", values), ("base", base))]
    q = arms[0].shape[1]
    if q != arms[1].shape[1]:
        raise InputError(f"values and base must be scored on the same queries, not {q} and {arms[1].shape[1]}")
    of_seeds = [_mean_square(arm.mean(axis=1)) / len(arm) for arm in arms]
    of_rest = [_rest(arm) / arm.size for arm in arms]
    apart = arms[0].mean(axis=0) - arms[1].mean(axis=0)
    of_queries = _mean_square(apart) / q
    parts = [
        *((part, len(arm) - 1) for part, arm in zip(of_seeds, arms, strict=True)),
        (of_queries, q - 1),
        *((-part, (len(arm) - 1) * (q - 1)) for part, arm in zip(of_rest, arms, strict=True)),
    ]
    return _effect(apart.mean(), parts, sum(of_seeds) - sum(of_rest), of_queries - sum(of_rest), sum(of_rest))


def over_paired_seeds(differences: Float[np.ndarray, "s q"]) -> Effect:
    """As `over_seeds` of differences whose seeds are paired: both methods shared what each seed decided.

    Raises:
        InputError: as `over_seeds`.
    """
    table = _table("differences", differences)
    s, q = table.shape
    of_seeds, of_queries = _mean_square(table.mean(axis=1)) / s, _mean_square(table.mean(axis=0)) / q
    rest = _rest(table) / table.size
    parts = [(of_seeds, s - 1), (of_queries, q - 1), (-rest, (s - 1) * (q - 1))]
    return _effect(table.mean(), parts, of_seeds - rest, of_queries - rest, rest)


def _effect(mean: float, parts: list[tuple[float, int]], seeds: float, queries: float, rest: float) -> Effect:
    """Of the mean squares, each over its number of values, with their degrees of freedom."""
    # Where chance makes an estimate of a component negative, what surely is there remains.
    variance = max(sum(part for part, _ in parts), rest)
    spread = sum(part**2 / df for part, df in parts)
    df = max(1.0, variance**2 / spread) if spread > 0 else float(min(df for _, df in parts))
    error = np.sqrt(variance)
    half = scipy.special.stdtrit(df, (1 + LEVEL) / 2) * error
    p = 2 * scipy.special.stdtr(df, -abs(mean) / error) if error > 0 else float(mean == 0)
    numbers = (mean, mean - half, mean + half, p, df, max(seeds, 0), max(queries, 0), rest)
    return Effect(*map(float, numbers))


def _mean_square(values: Float[np.ndarray, " n"]) -> float:
    return float(values.var(ddof=1))


def _rest(table: Float[np.ndarray, "s q"]) -> float:
    """The mean square of what neither the seed nor the query explains."""
    left = table - table.mean(axis=1, keepdims=True) - table.mean(axis=0) + table.mean()
    s, q = table.shape
    return float((left**2).sum() / ((s - 1) * (q - 1)))


def _table(name: str, given: Float[np.ndarray, "s q"]) -> Float[np.ndarray, "s q"]:
    table = np.asarray(given, np.float64)
    if table.ndim != 2 or min(table.shape) < 2:
        raise InputError(f"{name} must have at least two seeds and two queries (seeds, queries), not {table.shape}")
    if not np.isfinite(table).all():
        raise InputError(f"{name} must be finite")
    return table


def _differences(values: Float[np.ndarray, "q *m"], base: Float[np.ndarray, "p *n"]) -> Float[np.ndarray, "q *m"]:
    if values.shape != base.shape or not values.size:
        raise InputError(f"a test needs two values a query, of at least one query, not {values.shape} and {base.shape}")
    differences = values.astype(np.float64) - base
    if not np.isfinite(differences).all():
        raise InputError("a test needs finite values")
    return differences


def _exchanged(differences: Float[np.ndarray, "q m"]) -> Float[np.ndarray, "m groups 256"]:
    """The sum of every eight differences (the last with zeros) under each of the 256 choices of their signs."""
    q, m = differences.shape
    groups = max(1, -(-q // 8))
    padded = np.zeros((groups * 8, m))
    padded[:q] = differences
    signs = 2.0 * (np.arange(256)[:, None] >> np.arange(8) & 1) - 1
    return np.einsum("se,gem->mgs", signs, padded.reshape(groups, 8, m), optimize=True)


def _all(start: int, size: int, groups: int) -> UInt8[np.ndarray, "size groups"]:
    """So many numbers, eight binary digits a group."""
    return (np.arange(start, start + size)[:, None] >> 8 * np.arange(groups)).astype(np.uint8)
