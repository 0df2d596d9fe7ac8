import io
import os
import pty
import sys

import pytest

from compressae_jax.base import progress


@pytest.fixture
def clock(monkeypatch):
    """Seconds that pass by hand."""
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(progress.time, "time", lambda: now[0])
    return now


def run(clock, seconds, stream, monkeypatch, **options):
    monkeypatch.setattr(sys, "stderr", stream)
    with progress.bar(seconds, "train", "steps", **options) as bar:
        for _ in range(seconds):
            clock[0] += 1
            bar.set_postfix_str("2 × 3 α")
            bar.update()
    return bar


def test_a_log_file_gets_few_whole_lines(clock, monkeypatch):
    stream = io.StringIO()
    run(clock, 1000, stream, monkeypatch)
    lines = stream.getvalue().splitlines()
    assert 6 <= len(lines) <= 12, "at growing intervals"
    assert "train" in lines[0] and "of 1000 steps" in lines[0] and "1000 of 1000" in lines[-1]
    assert not set(stream.getvalue()) & {"\r", "\x1b", "\b"}


def test_short_work_is_not_told(clock, monkeypatch):
    stream = io.StringIO()
    run(clock, 4, stream, monkeypatch)
    assert stream.getvalue() == ""


@pytest.mark.parametrize("silence", ["shown", "environment"])
def test_it_can_be_silenced(clock, monkeypatch, silence):
    stream = io.StringIO()
    if silence == "environment":
        monkeypatch.setenv(progress.VARIABLE, "0")
    assert run(clock, 100, stream, monkeypatch, shown=silence != "shown").disable
    assert stream.getvalue() == ""


def test_a_stream_of_ascii_gets_ascii(clock, monkeypatch):
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    run(clock, 100, stream, monkeypatch)
    assert b"2 x 3 ?" in stream.buffer.getvalue()


def test_words_between_lines_stand_alone(clock, monkeypatch):
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    with progress.bar(10, "train") as bar:
        clock[0] += 1
        bar.write("step 3: better", file=stream)
    assert stream.getvalue() == "step 3: better\n"


def test_a_terminal_gets_a_bar(monkeypatch):
    ours, theirs = pty.openpty()
    with os.fdopen(theirs, "w") as terminal:
        monkeypatch.setattr(sys, "stderr", terminal)
        with progress.bar(10, "train") as bar:
            assert not isinstance(bar, progress.Lines) and not bar.disable
    os.close(ours)
