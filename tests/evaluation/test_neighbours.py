import numpy as np
import pytest
from evaluation import small
from numpy.testing import assert_allclose, assert_array_equal

from compressae_jax import compression, data
from compressae_jax.baselines.units import unit_rows
from compressae_jax.data.sampling import Rest
from compressae_jax.evaluation import neighbours
from compressae_jax.notation import InputError
from compressae_jax.retrieval.index import Index


def test_truth_known_by_construction():
    # Row j lies j degrees from the first axis, in no order; of any query the nearest rows are the nearest angles.
    angles = np.random.default_rng(0).permutation(331)
    radians = np.deg2rad(angles / 4)
    rows = np.stack([np.cos(radians), np.sin(radians)], axis=1).astype(np.float32) * 5
    left_out = np.flatnonzero((angles % 40) == 20)
    kept = np.delete(angles, left_out)

    _, truth = neighbours.truth(data.open_source(rows), left_out, rows[left_out])

    assert truth.shape == (len(left_out), 100)
    for query, found in zip(angles[left_out], truth, strict=True):
        distances = np.abs(kept - query)
        assert_array_equal(np.sort(distances[found]), np.sort(distances)[:100])


def test_overlap_is_of_sets():
    found = np.array([[3, 1, 2], [9, -1, -1], [5, 6, 7]])
    truth = np.array([[1, 2, 4], [9, 8, 0], [7, 6, 5]])
    assert_allclose(neighbours.overlap(found, truth), [2 / 3, 1 / 3, 1])
    assert_allclose(neighbours.overlap(found[:, :1], truth), [0, 1 / 3, 1 / 3])


def test_depths_are_cut_at_the_rows_there_are():
    truth = np.tile(np.arange(12), (2, 1))
    found = np.stack([np.arange(12), np.arange(12)[::-1]])
    scores = neighbours.per_query(found, truth)
    assert_allclose(scores["recall@10"], [1, 0.8])
    assert_allclose(scores["recall@100"], [1, 1])


def test_validation_is_the_protocol_on_a_sample():
    rows, weights = small.vectors(160), small.weights()
    rows[3] = 0  # has no direction
    validation, others = np.array([3, 10, 20, 30]), np.arange(150)
    index_rows = Rest(len(rows), np.arange(150, len(rows)))

    validate = neighbours.validator(data.open_source(rows), validation, index_rows)

    searched = np.setdiff1d(others, validation)
    queries, index_rows = rows[[10, 20, 30]], rows[searched]
    truth = np.argsort(-(unit_rows(queries) @ unit_rows(index_rows).T), axis=1)[:, :100]
    _, found = Index(compression.encode(weights, index_rows), weights).search(queries, 100)
    shares = [len(set(a) & set(b)) / 100 for a, b in zip(found.tolist(), truth.tolist(), strict=True)]
    scores = validate(weights)
    assert scores["recall@100"] == pytest.approx(np.mean(shares))
    codes = compression.encode(weights, queries)
    restored = unit_rows(codes.to_dense() @ weights.params["decoder_w"])
    assert scores["cosine"] == pytest.approx((unit_rows(queries) * restored).sum(axis=1).mean(), abs=1e-5)
    assert validate(weights) == scores


def test_no_recall_where_all_rows_are_found():
    source = data.open_source(small.vectors(120))
    for sample, names in ((100, {"cosine"}), (101, {"cosine", "recall@100"})):
        assert (
            set(neighbours.validator(source, np.arange(9), Rest(120, np.arange(9)), sample)(small.weights())) == names
        )


def test_a_sample_is_drawn_by_its_seed():
    rows, weights = small.vectors(400), small.weights()
    source = data.open_source(rows)
    drawn = [
        neighbours.validator(source, np.arange(9), Rest(400, np.arange(9)), 150, seed)(weights) for seed in (0, 0, 1)
    ]
    assert drawn[0] == drawn[1] != drawn[2]


@pytest.mark.parametrize(("validation", "others"), [([], [0, 1]), ([0, 1], []), ([0], [0])])
def test_nothing_to_validate_on(validation, others):
    rows = small.vectors(5)
    rows[2] = 0
    with pytest.raises(InputError, match="validation needs rows to ask for and to search"):
        index_rows = Rest(5, np.setdiff1d(np.arange(5), others))
        neighbours.validator(data.open_source(rows), np.array(validation, int), index_rows)
    with pytest.raises(InputError, match="all 1 validation rows of array are zero rows"):
        neighbours.validator(data.open_source(rows), np.array([2]), Rest(5, np.array([2])))(small.weights())
