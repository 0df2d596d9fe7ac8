"""How many threads work on rows at once, wherever compiled loops are dealt out."""

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
