"""How many threads work on rows at once, wherever compiled loops are dealt out."""

import functools
import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor


def cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def deal(work: Callable[[int], None], starts: Iterable[int]) -> None:
    """Call `work` with every start, on all cores; it must not hold Python's lock for long."""
    with ThreadPoolExecutor(cores()) as pool:
        for _ in pool.map(work, starts):
            pass  # an error of any call is raised here


@functools.lru_cache(maxsize=4)
def kept(threads: int) -> ThreadPoolExecutor:
    """So many threads that stay for later calls: to start them takes a quarter of a search of 20,000 rows.

    Work given to them must not give them work and wait for it.
    """
    return ThreadPoolExecutor(threads, "search")


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=kept.cache_clear)  # a forked process has none of its parent's threads
