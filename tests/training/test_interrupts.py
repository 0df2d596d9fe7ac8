import signal
import threading

import pytest

from compressae_jax.training.interrupts import Watch


@pytest.fixture
def heard():
    """Signals that come to whoever listened before the watch."""
    came = []
    before = {
        number: signal.signal(number, lambda got, _: came.append(got)) for number in (signal.SIGINT, signal.SIGTERM)
    }
    yield came
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_asks_and_one_that_nobody_answered_goes_on(heard, number):
    with Watch() as watch:
        assert not watch.asked(1)
        signal.raise_signal(number)
        assert watch.asked(1) and not heard
        assert watch.stopped("here").signal == number
    assert heard == [number]


def test_an_answer_is_an_exception_and_the_signal_ends_there(heard):
    with pytest.raises(KeyError), Watch():
        signal.raise_signal(signal.SIGTERM)
        raise KeyError
    assert not heard


def test_a_second_ctrl_c_is_for_who_listened_before(heard):
    with pytest.raises(KeyError), Watch():
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)
        assert not heard
        signal.raise_signal(signal.SIGINT)
        assert heard == [signal.SIGINT]
        raise KeyError


def test_what_is_ignored_stays_ignored(heard):
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # as under nohup
    with Watch() as watch:
        signal.raise_signal(signal.SIGINT)
        assert not watch.asked(1)
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN


def test_another_thread_does_not_listen():
    asked = []

    def watched():
        with Watch() as watch:
            asked.append(watch.asked(1))

    thread = threading.Thread(target=watched)
    thread.start()
    thread.join()
    assert asked == [False]
