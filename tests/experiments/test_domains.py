"""What the page of the domains says of its cells: levels at home and carried, and where ours passes a peer."""

import numpy as np
import pytest

from compressae_jax.experiments import domains
from compressae_jax.experiments.cells import Result, Results

SETTINGS = {"ns": (500, 1000, 2000, 4000)}


def cell(value, **spec):
    scores = {domains.RECALL: np.linspace(value - 0.01, value + 0.01, 50).astype(np.float32)}
    return Result(spec, scores, {}, 0.0, {})


def carried(trained, tested, value):
    return cell(value, part=domains.CARRIED, dataset=trained, dataset_tested=tested)


def test_levels_are_of_sets_that_are_carried():
    own = [carried("a", "a", 0.9), carried("b", "b", 0.7), carried("a", "b", 0.5), carried("b", "a", 0.3)]
    alone = carried("c", "c", 0.1)  # carried nowhere
    found = Results([*own, alone])
    assert domains.level(found, domains.RECALL, at_home=True) == pytest.approx(0.8)
    assert domains.level(found, domains.RECALL, at_home=False) == pytest.approx(0.4)
    assert domains.level(Results([alone]), domains.RECALL, at_home=False) is None


@pytest.mark.parametrize(
    ("peer", "expected"),
    [
        ((0.6, 0.6, 0.6, 0.6), 2000),
        ((0.1, 0.9, 0.6, 0.6), 2000),  # ahead at first, by chance: what counts is from where on it stays
        ((0.1, 0.1, 0.1, 0.1), 500),
        ((0.1, 0.1, 0.1, 0.9), None),
        ((0.8, 0.8, 0.8, 0.8), None),  # level is not ahead
        ((0.6, 0.6, 0.6, None), 2000),  # not run
    ],
)
def test_where_ours_passes_a_peer(peer, expected):
    ours = (0.4, 0.5, 0.7, 0.8)
    found = [
        cell(value, part=domains.CURVE, budget=32, n=n, method=method)
        for method, values in ((domains.OURS, ours), ("pq", peer))
        for n, value in zip(SETTINGS["ns"], values, strict=True)
        if value is not None
    ]
    assert domains.crossing(SETTINGS, Results(found), 32, "pq") == expected
