"""Users drawn by the model of `power`: impressions of a negative binomial, rates of a beta distribution."""

import numpy as np


def draw(rng, size, ctr=0.05, impressions=10, spread=1.0, taste=1.0, lift=0.0):
    """Impressions and clicks of users."""
    m = np.full(size, impressions)
    if spread:
        mean, var = impressions - 1, (spread * impressions) ** 2
        shape = mean**2 / (var - mean)
        m = 1 + rng.poisson(rng.gamma(shape, mean / shape, size))
    p = np.full(size, ctr)
    if taste:
        between = (1 - ctr) / ctr / taste**2 - 1
        p = rng.beta(ctr * between, (1 - ctr) * between, size)
    return m, rng.binomial(m, p * (1 + lift))


def columns(n=4000, lift=0.0, seed=0, **fields):
    """A log of two variants, a row a user."""
    rng = np.random.default_rng(seed)
    variant = rng.integers(2, size=n)
    (m, c), (m_too, c_too) = draw(rng, n, **fields), draw(rng, n, lift=lift, **fields)
    return {
        "variant": [("control", "codes")[i] for i in variant],
        "user": np.arange(n),
        "impressions": np.where(variant, m_too, m),
        "clicks": np.where(variant, c_too, c),
    }
