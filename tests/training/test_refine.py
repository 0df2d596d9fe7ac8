import dataclasses
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from oracle import unit

from compressae_jax.data.sources import InMemory
from compressae_jax.model import weights as model_weights
from compressae_jax.model.weights import Weights
from compressae_jax.training import refine

N, D, H, K = 900, 16, 48, 3


def sparse_vectors(seed=0):
    """Rows that are K atoms of a hidden dictionary each, and that dictionary."""
    rng = np.random.default_rng(seed)
    hidden = unit(rng.standard_normal((H, D)))
    columns = np.array([rng.choice(H, K, replace=False) for _ in range(N)])
    values = rng.uniform(0.5, 1.5, (N, K)) * rng.choice([-1, 1], (N, K))
    return np.einsum("nk,nkd->nd", values, hidden[columns]).astype(np.float32), hidden


def some_weights(seed=1):
    decoder_w = unit(np.random.default_rng(seed).standard_normal((H, D))).astype(np.float32)
    return Weights(
        {"encoder_w": decoder_w.T.copy(), "encoder_b": np.zeros(H, np.float32), "decoder_w": decoder_w}, H, K
    )


def refined(rounds, x=None, folder=None, weights=None):
    source = InMemory(sparse_vectors()[0] if x is None else x, "sparse")
    return refine.refine(weights or some_weights(), source, np.arange(N), rounds, folder=folder, progress=False)


def test_rounds_bring_reconstructions_closer():
    told = [refined(rounds).summary["refine"] for rounds in (1, 4, 12)]
    cosines = [each["cosine"] for each in told]
    assert cosines[0] < cosines[1] < cosines[2]
    assert [each["rounds"] for each in told] == [1, 4, 12]
    assert_allclose(told[2]["cosines"][:4], told[1]["cosines"])
    assert len(told[2]["cosines"]) == 12 and told[2]["cosines"][-1] == round(cosines[2], 5)


def test_a_round_solves_least_squares():
    """With nothing held, the decoder is the one that NumPy finds for the same codes."""
    x = unit(sparse_vectors()[0]).astype(np.float32)
    decoder_w = some_weights().params["decoder_w"]
    codes = refine._pursued(x, decoder_w, K)
    held = refine._solved(codes, x, decoder_w)
    assert_allclose(held, np.linalg.solve(*_normal_equations(codes, x, decoder_w)), atol=1e-4)


def _normal_equations(codes, x, decoder_w):
    s = codes.toarray().astype(np.float64)
    moment = s.T @ s
    hold = refine.HOLD * np.trace(moment) / H
    return moment + hold * np.eye(H), s.T @ x + hold * decoder_w


def test_the_result_can_serve():
    weights = refined(2)
    assert weights.encoder == "pursuit"
    assert_allclose(np.linalg.norm(weights.params["decoder_w"], axis=1), 1, atol=1e-5)
    assert_array_equal(weights.params["encoder_w"], weights.params["decoder_w"].T)
    assert weights.fingerprint != some_weights().fingerprint


def test_atoms_that_serve_no_row_are_replaced():
    weights = some_weights()
    decoder_w = weights.params["decoder_w"]
    decoder_w[10:] = decoder_w[0]  # twins, of which pursuit takes the first
    after = refined(1, weights=weights)
    assert after.summary["refine"]["replaced"] >= H - 11
    inner = np.abs(after.params["decoder_w"] @ after.params["decoder_w"].T) - np.eye(H)
    assert (inner > 0.999).sum() < 30


def test_the_start_is_rows_of_the_data():
    x, _ = sparse_vectors()
    weights = refine.start(some_weights(), InMemory(x, "sparse"), np.arange(100), seed=3)
    cosines = weights.params["decoder_w"] @ unit(x[:100]).T
    assert_allclose(cosines.max(axis=1), 1, atol=1e-5)
    assert len(set(cosines.argmax(axis=1).tolist())) == H
    other = refine.start(some_weights(), InMemory(x, "sparse"), np.arange(100), seed=4)
    assert weights.fingerprint != other.fingerprint


def test_fewer_rows_than_latents():
    x, _ = sparse_vectors()
    weights = refine.start(some_weights(), InMemory(x[:20], "sparse"), np.arange(20))
    after = refine.refine(weights, InMemory(x[:20], "sparse"), np.arange(20), 2, progress=False)
    assert np.isfinite(after.params["decoder_w"]).all()


@pytest.mark.parametrize("done", [1, 3, 4])
def test_interrupted_rounds_continue_to_the_same_bits(tmp_path, done):
    whole = refined(4)
    refined(done, folder=tmp_path / "refined")
    again = refined(4, folder=tmp_path / "refined")
    assert again.fingerprint == whole.fingerprint
    assert again.summary == whole.summary


KILLED = """
import sys
sys.path[:0] = {paths!r}
from training import test_refine
test_refine.refined(2000, folder={folder!r})
"""


def test_a_killed_process_leaves_a_whole_round(tmp_path):
    folder = tmp_path / "refined"
    code = KILLED.format(paths=[str(path) for path in sys.path if path], folder=str(folder))
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not folder.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    done = model_weights.load(folder).summary["refine"]["rounds"]
    assert dataclasses.replace(model_weights.load(folder)).fingerprint == refined(done).fingerprint
