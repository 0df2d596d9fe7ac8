import numpy as np
import pytest
import scipy.sparse
from numpy.testing import assert_allclose, assert_array_equal

from compressae_jax.baselines import dense
from compressae_jax.baselines.units import unit_rows
from compressae_jax.evaluation import purchases
from compressae_jax.notation import InputError

USERS, ITEMS, D = 41, 67, 5


@pytest.fixture(scope="module")
def shop():
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(ITEMS, D)).astype(np.float32)
    train = rng.random((USERS, ITEMS)) < rng.random((USERS, 1)) * 0.9  # short histories and long ones
    test = (rng.random((USERS, ITEMS)) < 0.2) & ~(train & (np.arange(USERS) % 2)[:, None])  # some buy things again
    train[5] = False
    test[[3, 8]] = False  # users without test items
    test[12] = ~train[12]  # one who wants everything else, more than 20 items
    return vectors, scipy.sparse.csr_matrix(train, dtype=np.int8), scipy.sparse.csr_matrix(test, dtype=np.int8)


def slowly(vectors, train, test):
    """Each user alone, by sorting all items."""
    units, train, test = unit_rows(vectors), train.toarray() > 0, (test.toarray() > 0) & ~(train.toarray() > 0)
    recall, ndcg = [], []
    for bought, wanted in zip(train, test, strict=True):
        if not wanted.any():
            continue
        profile = units[bought].mean(axis=0) if bought.any() else np.zeros(D)
        order = np.argsort(np.where(bought, np.inf, -(units @ profile)), kind="stable")[: (~bought).sum()][:20]
        hits = wanted[order]
        recall.append(hits.sum() / min(20, wanted.sum()))
        discounts = 1 / np.log2(np.arange(2, 22))
        ndcg.append((hits * discounts[: len(hits)]).sum() / discounts[: wanted.sum()].sum())
    return recall, ndcg


@pytest.mark.parametrize("block", [7, 512])
def test_equals_each_user_alone(shop, block, monkeypatch):
    vectors, train, test = shop
    monkeypatch.setattr(purchases, "USERS", block)
    pieces = ((np.arange(i, min(i + 9, ITEMS)), vectors[i : i + 9]) for i in range(0, ITEMS, 9))
    profile = purchases.profiles(train, pieces, D)

    scores = purchases.per_user(dense.fit(vectors).add(vectors).search, profile, train, test)

    recall, ndcg = slowly(vectors, train, test)
    assert len(recall) == USERS - 2
    assert_allclose(scores["recall@20"], recall)
    assert_allclose(scores["nDCG@20"], ndcg)


def test_profiles_are_means_of_unit_vectors(shop):
    vectors, train, _ = shop
    profile = purchases.profiles(train, [(np.arange(ITEMS), vectors * 7)], D)
    bought = train[0].indices
    assert_allclose(profile[0], unit_rows(vectors)[bought].mean(axis=0), rtol=1e-5, atol=1e-6)
    assert_array_equal(profile[5], 0)


def test_what_was_bought_is_never_recommended(shop):
    vectors, train, _ = shop
    profile = purchases.profiles(train, [(np.arange(ITEMS), vectors)], D)
    again = purchases.per_user(dense.fit(vectors).add(vectors).search, profile, train, train)
    assert all(values.shape == (0,) for values in again.values()), "nobody wants anything that may be recommended"


def test_a_perfect_ranking_is_perfect_though_something_is_bought_again():
    train = scipy.sparse.csr_matrix(np.eye(1, 50) + np.eye(1, 50, 1))
    test = scipy.sparse.csr_matrix(np.eye(1, 50) + np.eye(1, 50, 3))
    order = np.array([0, 3, *range(4, 50), 1, 2])

    def search(queries, top, exclude):
        left = np.setdiff1d(order, exclude.indices, assume_unique=True)[:top]
        return np.ones((1, top)), left[None]

    scores = purchases.per_user(search, np.ones((1, 4), np.float32), train, test)
    assert all(values.tolist() == [1] for values in scores.values())


def test_no_user_with_a_test_item(shop):
    vectors, train, test = shop
    nobody = purchases.per_user(dense.fit(vectors).search, np.zeros((USERS, D), np.float32), train, test * 0)
    assert all(values.shape == (0,) for values in nobody.values())


def test_other_users_or_items(shop):
    _, train, test = shop
    with pytest.raises(InputError, match=r"same users and items, not train \(41, 67\), test \(40, 67\), 41 profiles"):
        purchases.per_user(lambda q, top: (q, q), np.zeros((USERS, D), np.float32), train, test[1:])
