import numpy as np
import pytest
from numpy.testing import assert_array_equal

from compressae_jax import data
from compressae_jax.data import sampling
from compressae_jax.data.sampling import Rest
from compressae_jax.data.sources import InMemory
from compressae_jax.notation import InputError
from compressae_jax.training import sharding
from compressae_jax.training.feed import Feed, fits, local_rows

N, D = 53, 6
ROWS = np.arange(3, N, 2)  # some of the source only
TRAIN = Rest(N, np.setdiff1d(np.arange(N), ROWS))


def vectors():
    return np.random.default_rng(0).standard_normal((N, D)).astype(np.float32)


def feed(source, mesh=(1, 1), steps=9, batch=16, microbatch=16, rows=TRAIN, held=None):
    placed = sharding.of(sharding.make_mesh(*mesh), "batch")
    return Feed(source, rows, placed, seed=5, steps=steps, batch=batch, microbatch=microbatch, held=held)


@pytest.mark.parametrize(
    "mesh", [(1, 1), *(pytest.param(mesh, marks=pytest.mark.devices(8)) for mesh in ((4, 2), (1, 8)))]
)
@pytest.mark.parametrize("microbatch", [16, 4])
@pytest.mark.parametrize("held", [None, True])  # on a CPU, None holds nothing
def test_batches_are_a_function_of_seed_and_step(tmp_path, monkeypatch, mesh, microbatch, held):
    monkeypatch.setattr("compressae_jax.training.feed.PIECE", 4 * D * 10)  # several of them
    np.save(tmp_path / "vectors.npy", vectors())
    with feed(data.open_source(tmp_path / "vectors.npy"), mesh, microbatch=microbatch, held=held) as some:
        for step in (0, 1, 2, 7, 3, 8):  # in order, and not
            batch = some.batch(step)
            rows = ROWS[sampling.rows_of_step(5, step, 16, len(ROWS))]
            assert_array_equal(np.asarray(batch).reshape(16, D), vectors()[rows])
            assert batch.sharding.shard_shape(batch.shape) == (16 // microbatch, microbatch // mesh[0], D)


@pytest.mark.cpu
def test_only_rows_to_train_on_are_read():
    read = []

    class Watched(InMemory):
        def _take(self, rows):
            read.append(rows)
            return super()._take(rows)

    with feed(Watched(vectors())) as some:
        for step in range(9):
            some.batch(step)
    assert set(np.concatenate(read)) == set(ROWS)
    assert len(read) == 9  # none past the last step


@pytest.mark.cpu
def test_an_error_while_reading_comes_out():
    with (
        feed(data.open_source(vectors()), rows=Rest(N + 1, np.arange(N))) as some,
        pytest.raises(InputError, match="rows"),
    ):
        some.batch(0)


@pytest.mark.devices(8)
def test_local_rows_are_each_device_s_once():
    placed = sharding.of(sharding.make_mesh(4, 2), "batch")
    assert_array_equal(local_rows(placed, (3, 8, D)), np.arange(8))


@pytest.mark.cpu
@pytest.mark.devices(8)
def test_rows_are_held_where_a_quarter_of_each_device_has_room(monkeypatch):
    assert not fits(1, 1)  # a CPU's memory is the host's
    monkeypatch.setattr("compressae_jax.base.devices.memory", lambda: 8 * 4000)  # of eight devices
    assert fits(25, 10) and not fits(26, 10)
