"""benchmarks.frontier on the smallest set: lines, what follows from them, and that they are measured once."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from benchmarks import frontier, frontier_page
from compressae_jax.baselines import dense
from compressae_jax.evaluation import intervals, neighbours
from compressae_jax.model.weights import Weights
from compressae_jax.notation import InputError
from compressae_jax.training import loop

SHOP = "shop:unseen"


def made(vectors, folder, h, k, **others):
    """A one-pass model of no training."""
    decoder = np.random.default_rng(0).normal(size=(h, vectors.shape[1])).astype(np.float32)
    decoder /= np.linalg.norm(decoder, axis=1, keepdims=True)
    return Weights({"encoder_w": decoder.T.copy(), "encoder_b": np.zeros(h, np.float32), "decoder_w": decoder}, h, k)


@pytest.fixture(scope="module")
def lines(tmp_path_factory):
    out = tmp_path_factory.mktemp("frontier")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(frontier.loop, "fit", made)
        for _ in range(2):
            frontier.measure(out / "work", out, [SHOP], ["pca_int4", "transform", "one_pass"], [8, 256], [0])
    return frontier.read(out)


def test_a_line_is_measured_once(lines):
    assert len(lines) == len({frontier.key(line) for line in lines}) == 6
    assert [line["method"] for line in lines if "refused" in line] == ["pca_int4", "transform", "one_pass"]  # 256 bytes


def test_lines_hold_what_each_query_found(lines):
    rows = frontier.split(SHOP)
    line = next(line for line in lines if line["method"] == "transform" and "scores" in line)
    peer = frontier.BASELINES["transform"].fit(rows.training, 8)
    found = peer.add(rows.searched).search(rows.queries, 100)[1]
    assert_allclose(frontier_page.unpacked(line["hits"]), neighbours.overlap(found, rows.truth))
    assert_allclose(line["scores"]["recall@100"][0], neighbours.overlap(found, rows.truth).mean(), atol=1e-5)


def test_one_pass_is_asked_in_three_spaces(lines):
    scores = next(line for line in lines if line["method"] == "one_pass" and "scores" in line)["scores"]
    for metric in ("recall@100", "share of recall@20"):
        assert {metric, f"{metric} compressed queries", f"{metric} sparse"} <= set(scores)


def test_unseen_rows_are_not_fitted_to_and_their_truth_is_exact():
    rows = frontier.split(SHOP)
    assert len(rows.training) == len(rows.searched) == 1040 and len(rows.queries) == 260
    own = {row.tobytes() for row in rows.training}
    assert sum(row.tobytes() in own for row in rows.searched) <= 5  # products of the same vector
    assert_array_equal(rows.truth, dense.fit(rows.searched).add(rows.searched).search(rows.queries, 100)[1])
    assert_array_equal(rows.task.protocol.corpus.source.read(0, 1040), rows.searched)


def line(method, recall, budget=32, dataset="debian:unseen", kept=True, bytes=None):
    values = np.asarray(recall)
    told = {"dataset": dataset, "method": method, "budget": budget, "seed": 0, "bytes": bytes or budget}
    told["scores"] = {"recall@100": frontier.summary(values)}
    return {**told, "hits": frontier_page.packed(values)} if kept else told


RECALL = np.random.default_rng(0).integers(60, 90, 400) / 100


def test_the_best_peer_is_beaten_query_by_query():
    lines = [
        line("pursuit", RECALL + 0.01),
        line("pq", RECALL),
        line("binary", RECALL - 0.1),
        line("ideal", RECALL + 0.1),
    ]
    found = frontier_page.gap(lines, "debian:unseen", 32)
    assert (found.peer, found.word, found.paired) == ("pq", "ahead", True)
    assert_allclose([found.mean, found.low, found.high], 0.01, atol=1e-9)  # every query gains as much


def test_without_queries_the_interval_is_that_of_two_means():
    lines = [line("pursuit", RECALL + 0.01), line("pq", RECALL, kept=False), line("rq", RECALL + 0.2, bytes=33)]
    found = frontier_page.gap(lines, "debian:unseen", 32)
    assert (found.peer, found.word, found.paired) == ("pq", "level", False)
    half = np.diff(intervals.interval(RECALL)[1:])[0] / 2
    assert_allclose(found.high - found.mean, np.sqrt(2) * half, rtol=0.05)


def test_verdicts_name_every_loss_and_what_was_not_run():
    lines = [line("pursuit", RECALL), line("pq", RECALL + 0.1)]
    lines += [line("pursuit", RECALL + 0.1, 64), line("pq", RECALL, 64)]
    lines += [line("pursuit", RECALL, dataset="shop:unseen"), line("opq", RECALL + 0.1, dataset="shop:unseen")]
    told = frontier_page.verdicts(lines)
    assert (
        "2 cells were run: ours is ahead of every peer run in 1, level in 0, behind in 1: debian at 32 (pq +0.100)"
        in told
    )
    assert "debian at 128" in told and "debian at 64" not in told
    assert "behind: shop at 32 (opq +0.100)." in told


def test_curves_are_the_best_of_a_family():
    lines = [line("rq", RECALL), line("lsq", RECALL - 0.1), line("lsq", RECALL + 0.1, 16)]
    found = frontier_page.curve(lines, "debian:unseen", ("rq", "lsq"))
    assert_allclose(found, [(16, 0.9 - RECALL.mean()), (32, 1 - RECALL.mean())], atol=1e-5)


def test_page_and_figure(lines, tmp_path):
    told = frontier_page.page(lines)
    assert "### shop\n" in told and "### shop:unseen: recall@100 sparse" in told
    frontier_page.draw(lines, tmp_path / "frontier.png")
    assert (tmp_path / "frontier.png").stat().st_size > 10_000


def test_the_small_size_needs_no_data_but_what_ships():
    small = frontier.SIZES["small"]
    assert {name.removesuffix(":unseen") for name in small["datasets"]} == {"shop", "scifact", "debian"}
    assert "pursuit" in small["methods"] and not {"rq", "lsq"} & set(small["methods"])


def test_an_encoder_that_a_model_does_not_serve_is_refused_before_rows_are_encoded():
    rows = np.random.default_rng(0).normal(size=(300, 128)).astype(np.float32)
    weights = loop.fit(rows, budget_bytes=48, refine_rounds=1, held_out=0, progress=False)
    assert weights.storage == "residual4" and frontier.of_codes(weights, "pursuit").bytes_per_vector == 48
    with pytest.raises(InputError, match="and no others: not 'residual4' by 'refit'"):
        frontier.of_codes(weights, "refit")
