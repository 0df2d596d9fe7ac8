"""How many threads work at once."""

import threading

import pytest

from compressae_jax.base import threads
from compressae_jax.notation import InputError


@pytest.fixture(autouse=True)
def fresh(monkeypatch):
    monkeypatch.delenv(threads.VARIABLE, raising=False)
    threads._quota.cache_clear()
    yield
    threads._quota.cache_clear()


def test_the_environment_decides(monkeypatch):
    monkeypatch.setenv(threads.VARIABLE, "7")
    assert threads.cores() == 7
    monkeypatch.setenv(threads.VARIABLE, "none")
    with pytest.raises(InputError, match="COMPRESSAE_THREADS must be a number of threads, at least 1, not 'none'"):
        threads.cores()


@pytest.mark.parametrize(
    ("quota", "wanted"), [("150000 100000", 2), ("max 100000", 64), ("50000 100000", 1), ("nonsense", 64)]
)
def test_a_container_s_quota_counts(monkeypatch, tmp_path, quota, wanted):
    monkeypatch.setattr(threads.os, "sched_getaffinity", lambda _: set(range(64)), raising=False)
    monkeypatch.setattr(threads, "CGROUP", tmp_path)
    (tmp_path / "cpu.max").write_text(quota + "\n")
    (tmp_path / "cpu").mkdir()
    if quota[0].isdigit():  # the same as version 1 has it
        for name, number in zip(("quota", "period"), quota.split(), strict=True):
            (tmp_path / f"cpu/cpu.cfs_{name}_us").write_text(number + "\n")
    assert threads.cores() == wanted


@pytest.mark.parametrize("cores", [1, 3])
def test_all_starts_are_dealt_and_errors_come_back(cores, monkeypatch):
    monkeypatch.setenv(threads.VARIABLE, str(cores))
    for n in (0, 1, 100):
        seen = []
        threads.deal(seen.append, range(n))
        assert sorted(seen) == list(range(n))
    for bad in range(3):
        with pytest.raises(ZeroDivisionError):
            threads.deal(lambda start, bad=bad: 1 // (start - bad), range(3))


def test_as_many_threads_work_as_there_are_cores(monkeypatch):
    monkeypatch.setenv(threads.VARIABLE, "3")
    together = threading.Barrier(3, timeout=60)  # broken, were there fewer
    threads.deal(lambda _: together.wait() and None, range(3))
