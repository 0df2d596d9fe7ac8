"""The purchase protocol: does what a user bought before find what the user bought later? Metrics live in `rankings`."""

from collections.abc import Iterable

import numpy as np
import scipy.sparse
from jaxtyping import Float, Int

from compressae_jax.baselines.units import unit_rows
from compressae_jax.evaluation import metrics, rankings
from compressae_jax.evaluation.exclusion import Search, excluding
from compressae_jax.evaluation.rankings import PerQuery
from compressae_jax.notation import InputError

METRICS = ("recall@20", "nDCG@20")
USERS = 512  # searched at once


def profiles(
    train: scipy.sparse.csr_matrix, pieces: Iterable[tuple[Int[np.ndarray, " rows"], np.ndarray]], d: int
) -> Float[np.ndarray, "users d"]:
    """The mean of the unit vectors of every user's train items, float32; zero for a user without any.

    `pieces` are row numbers and vectors (b, d) of all items, in any order.
    """
    bought = scipy.sparse.csc_matrix(train != 0).astype(np.float32)
    total = np.zeros((train.shape[0], d), np.float32)
    for rows, vectors in pieces:
        total += bought[:, rows] @ unit_rows(vectors)
    return total / np.maximum(rankings.count(train), 1)[:, None].astype(np.float32)


def new(train: scipy.sparse.csr_matrix, test: scipy.sparse.csr_matrix) -> scipy.sparse.csr_matrix:
    """The test items that are not among the same user's train items; `test` may have more columns behind."""
    bought = scipy.sparse.csr_matrix(train != 0)
    bought.resize(test.shape)
    return scipy.sparse.csr_matrix(test - test.multiply(bought))


def tested(test: scipy.sparse.csr_matrix) -> Int[np.ndarray, " tested"]:
    """Numbers of the users with a test item; only they are scored."""
    return np.flatnonzero(rankings.count(test))


def per_user(
    search: Search,
    profile: Float[np.ndarray, "users d"],
    train: scipy.sparse.csr_matrix,
    test: scipy.sparse.csr_matrix,
) -> dict[str, PerQuery]:
    """Every metric of `METRICS` for every user with new test items; the search leaves out the train items.

    What was bought before may not be recommended, so it is not asked for either, see `new`. recall@20 is hits over
    min(20, items wanted); of few items its depth is less, see `metrics.suited`. What `test` wants beyond the items of
    `train`, in columns behind, is never found.
    """
    if train.shape[0] != test.shape[0] or train.shape[1] > test.shape[1] or len(profile) != train.shape[0]:
        shapes = f"train {train.shape}, test {test.shape}, {len(profile)} profiles"
        raise InputError(f"train, test and profiles must be of the same users and items, not {shapes}")
    test, n = new(train, test), train.shape[1]
    recall, ndcg = metrics.named(metrics.suited(METRICS, n))
    users, top = tested(test), min(metrics.deepest((recall, ndcg)), n)
    blocks = [users[start : start + USERS] for start in range(0, len(users), USERS)]
    search = excluding(search)
    found = [search(profile[some], top, exclude=train[some])[1] for some in blocks]
    rows, wanted = np.concatenate([*found, np.zeros((0, top), np.int64)]), test[users]
    gained = rankings.gains(rows, wanted)
    return {
        recall.name: rankings.capped_recall(gained, wanted, recall.depth),
        ndcg.name: rankings.ndcg(gained, wanted, ndcg.depth),
    }
