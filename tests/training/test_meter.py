import jax.numpy as jnp
import pytest

from compressae_jax.notation import NonFiniteLossError
from compressae_jax.training import records
from compressae_jax.training.meter import Meter


def meter(log=None, every=1, steps=9):
    return Meter(log, done=0, steps=steps, batch=4, every=every, shown=False, last_good=lambda: "step 2 in here")


def metrics(loss=0.5):
    return {"loss": jnp.asarray(loss), "lr": jnp.asarray(0.25)}


def test_a_step_is_shown_once_the_next_is_dispatched(tmp_path):
    with meter(records.Log(tmp_path, 0, 9)) as shown:
        for done in (1, 2, 3):
            shown.dispatched(done, metrics())
            assert len(records.read_metrics(tmp_path)) == done - 1
        shown.settle()
        shown.settle()  # nothing is left to show
    assert [line["step"] for line in records.read_metrics(tmp_path)] == [1, 2, 3]


@pytest.mark.parametrize("loss", [float("nan"), float("inf")])
def test_a_metric_that_is_not_finite_stops_before_it_is_written(tmp_path, loss):
    with meter(records.Log(tmp_path, 0, 9)) as shown:
        shown.dispatched(1, metrics())
        shown.dispatched(2, metrics(loss))
        with pytest.raises(NonFiniteLossError, match=rf"step 2 \(loss {loss}\).* 0\.25 .*step 2 in here"):
            shown.settle(lambda: pytest.fail("a state that is lost must not be validated"))
    assert [line["step"] for line in records.read_metrics(tmp_path)] == [1]


def test_a_state_that_is_not_finite_stops_where_its_metrics_were():
    with meter() as shown:
        shown.dispatched(3, metrics())
        shown.settle()
        shown.check(3, jnp.asarray(True))
        with pytest.raises(NonFiniteLossError, match=r"step 3 \(parameters or moments\).* 0\.25 "):
            shown.check(3, jnp.asarray(False))


def test_what_a_validation_finds_joins_the_line_of_its_step(tmp_path):
    with meter(records.Log(tmp_path, 0, 9), every=5) as shown:
        for done in range(1, 10):
            shown.dispatched(done, metrics())
            if done == 3:
                assert shown.settle(lambda: {"cosine": 0.75}) == {"cosine": 0.75}
        shown.settle()
    lines = records.read_metrics(tmp_path)
    assert [line["step"] for line in lines] == [3, 5, 9]  # found, due, last
    assert ["validation/cosine" in line for line in lines] == [True, False, False]
