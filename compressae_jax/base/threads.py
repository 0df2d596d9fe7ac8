"""How many threads work at once, wherever compiled loops are dealt out: cores, less what a container may not use."""

import collections
import functools
import math
import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from compressae_jax.notation import InputError

VARIABLE = "COMPRESSAE_THREADS"  # of the environment: threads at most
CGROUP = Path("/sys/fs/cgroup")


def cores() -> int:
    """Threads that work at once: `COMPRESSAE_THREADS`, or the cores that affinity and a container's quota leave.

    Raises:
        InputError: a `COMPRESSAE_THREADS` that is no positive integer.
    """
    if given := os.environ.get(VARIABLE):
        if not given.isdecimal() or int(given) < 1:
            raise InputError(f"{VARIABLE} must be a number of threads, at least 1, not {given!r}")
        return int(given)
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, math.ceil(min(allowed, _quota())))


def deal(work: Callable[[int], None], starts: Iterable[int]) -> None:
    """Call `work` with every start, on all cores, the caller's among them; it must not hold Python's lock for long."""
    every = list(starts)
    shared, others = iter(every), min(cores(), len(every)) - 1

    def some() -> None:
        for start in shared:  # a future for each would cost more than a short turn
            work(start)

    if others < 1:
        some()
        return
    with ThreadPoolExecutor(others) as pool:
        under_way = [pool.submit(some) for _ in range(others)]
        try:
            some()
        except BaseException:
            collections.deque(shared, maxlen=0)  # the others end with their turn
            raise
    for other in under_way:
        other.result()  # an error of any call is raised here


@functools.lru_cache(maxsize=4)
def kept(threads: int) -> ThreadPoolExecutor:
    """So many threads that stay for later calls: to start them takes a quarter of a search of 20,000 rows.

    Work given to them must not give them work and wait for it.
    """
    return ThreadPoolExecutor(threads, "search")


@functools.cache
def _quota() -> float:
    """Cores that the process's control groups (version 2, or 1) grant it; infinite without a limit."""
    try:
        groups = Path("/proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return math.inf
    found = [math.inf]
    for line in groups:
        _, controllers, own = line.split(":", 2)
        if not controllers:  # version 2: the limit of any group above counts as well
            path = Path(own.lstrip("/"))
            found += [_ratio(*_words(CGROUP / each / "cpu.max")) for each in (path, *path.parents)]
        elif "cpu" in controllers.split(","):
            for group in (CGROUP / "cpu" / own.lstrip("/"), CGROUP / "cpu"):
                found.append(_ratio(*_words(group / "cpu.cfs_quota_us"), *_words(group / "cpu.cfs_period_us")))
    return min(found)


def _words(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="ascii").split()
    except (OSError, ValueError):
        return []


def _ratio(*quota_and_period: str) -> float:
    try:
        quota, period = map(int, quota_and_period)
    except ValueError:  # 'max', or no such file
        return math.inf
    return quota / period if quota > 0 and period > 0 else math.inf


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=kept.cache_clear)  # a forked process has none of its parent's threads
