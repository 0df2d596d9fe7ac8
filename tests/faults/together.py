"""Two at once: writers of one name, readers of a name that is being replaced, threads on one index, forked children."""

import functools
import itertools
import os
import signal
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from faults import forked, shim, writers
from faults.counts import Count
from faults.injected import IN_MEMORY, SECONDS, drawn, same
from faults.writers import Writer

from compressae_jax import front_door
from compressae_jax.model import encoders

THREADS, ROUNDS = 8, 4
ENOUGH = 100  # replacements, for a reader to have seen both


def pairs(table: Sequence[Writer], at_most: int | None = None, seed: int = 0) -> Iterator[Count]:
    """Two writers of one name, one of them held in the middle: an error for the other, and the first one's result."""
    both = [(one, other) for one, other in itertools.product(table, table) if one.locks and other.locks]
    both = [(one, other) for one, other in both if one.suffix == other.suffix]  # names that both may write
    both = [(one, other) for one, other in both if one.stands == other.stands]
    both = [(one, other) for one, other in both if one.beside is other.beside or not one.stands]  # the same change it
    for first, second in drawn(both, at_most, seed):
        began = time.monotonic()
        count = Count("pairs", f"{first.name}, then {second.name}", tried=1)
        with tempfile.TemporaryDirectory(prefix="faults-", dir=IN_MEMORY) as scratch:
            count.failures += [f"{count.what}: {failure}" for failure in _one_pair(first, second, Path(scratch))]
        count.seconds = time.monotonic() - began
        yield count


def _one_pair(first: Writer, second: Writer, scratch: Path) -> Iterator[str]:
    for name in ("alone", "counted", "root"):
        (scratch / name).mkdir()
        for one in {first.beside, second.beside} - {None}:
            one(scratch / name)
    alone, path = scratch / f"alone/it{first.suffix}", scratch / f"root/it{first.suffix}"
    _put(first, alone, 1)
    wanted = first.read(alone)

    def armed(root: Path, mode: int, at: int = 0) -> list[str]:
        shim.arm(root, mode, at)
        first.put(root / path.name, 1)
        shim.disarm()
        return shim.met()

    calls = forked.run(lambda: armed(scratch / "counted", shim.COUNT), SECONDS).value
    others: list[forked.Outcome] = []

    def meanwhile(number: int) -> None:
        os.waitid(os.P_PID, number, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
        others.append(forked.run(lambda: second.put(path, 0), SECONDS))
        os.kill(number, signal.SIGCONT)

    done = forked.run(lambda: armed(scratch / "root", shim.STOP, len(calls) // 2), 2 * SECONDS, meanwhile)
    if "BusyError" not in others[0].error:
        yield f"no BusyError for the second: {others[0]}\n{others[0].where}"
    elif "\n" in others[0].message:
        yield f"more than one line: {others[0].message}"
    if not done.whole:
        yield f"the first: {done}\n{done.where}"
    elif not same(first.read(path), wanted):
        yield "the first one's result is another than alone"


def _put(writer: Writer, path: Path, which: int) -> None:
    """In a child, since it may start JAX."""
    done = forked.run(functools.partial(writer.put, path, which), SECONDS)
    if not done.whole:
        raise AssertionError(f"{writer.name} without a fault: {done}\n{done.where}")


def replaced(table: Sequence[Writer], times: int) -> Iterator[Count]:
    """A reader of a name that is replaced all the time: the old or the new, never both, never an error."""
    for writer in (one for one in table if one.read_whole):
        began = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="faults-", dir=IN_MEMORY) as scratch:
            count = Count("replaced", writer.name, tried=times)
            _replace(writer, times, Path(scratch), count)
        count.seconds = time.monotonic() - began
        yield count


def _replace(writer: Writer, times: int, scratch: Path, count: Count) -> None:
    path = scratch / f"it{writer.suffix}"
    if writer.beside is not None:
        writer.beside(scratch)
    things = []
    for which in (0, 1):
        _put(writer, path, which)
        things.append(writer.read(path))
    seen: set[int] = set()

    def reads(number: int) -> None:
        reads, failures = 0, []
        while os.waitid(os.P_PID, number, os.WEXITED | os.WNOWAIT | os.WNOHANG) is None:
            reads += 1
            try:
                there = writer.read(path)
            except Exception as error:
                failures.append(f"{writer.name}: {type(error).__name__}: {str(error)[:300]}")
                continue
            matching = [which for which, thing in enumerate(things) if same(there, thing)]
            seen.update(matching)
            if not matching:
                failures.append(f"{writer.name}: something that is neither the old nor the new")
        count.more["reads"] = reads
        count.failures += failures

    def writes() -> None:
        for n in range(times):
            writer.put(path, n % 2)

    done = forked.run(writes, seconds=600, meanwhile=reads)
    if not done.whole:
        count.failures.append(f"{writer.name}: the writer: {done}\n{done.where}")
    if times >= ENOUGH and seen != {0, 1}:
        count.failures.append(f"{writer.name}: the readers saw {len(seen)} of the two things")


def threads_and_forks() -> Iterator[Count]:
    """Of each encoder: eight threads on one index answer as one does, and so does a child forked after a search."""
    for encoder in encoders.ENCODERS:
        for part, work in (("threads", _threads), ("fork", _fork)):
            began = time.monotonic()
            count = Count(part, encoder, tried=THREADS * ROUNDS if part == "threads" else 1)
            done = forked.run(
                functools.partial(work, encoder), seconds=120
            )  # a child: what is asked here may start JAX
            count.failures += [
                f"{encoder}: {said}" for said in (done.value if done.whole else [f"{done}\n{done.where}"])
            ]
            count.seconds = time.monotonic() - began
            yield count


def _index(encoder: str) -> Any:
    return front_door.Model(writers.weights(0)).index(writers.vectors(0), space="reconstructed", encoder=encoder)


def _threads(encoder: str) -> list[str]:
    index, queries = _index(encoder), writers.vectors(1)
    wanted = [np.array(each) for each in index.search(queries, top=5)]
    failures: list[str] = []

    def work() -> None:
        for _ in range(ROUNDS):
            if not same([np.array(each) for each in index.search(queries, top=5)], wanted):
                failures.append("a thread found something else")

    threads = [threading.Thread(target=work, daemon=True) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return failures + ["a thread hangs"] * sum(thread.is_alive() for thread in threads)


def _fork(encoder: str) -> list[str]:
    index, queries = _index(encoder), writers.vectors(1)

    def search() -> list[np.ndarray]:
        return [np.array(each) for each in index.search(queries, top=5)]

    wanted = search()
    done = forked.run(search, seconds=30)
    if not done.whole:
        return [f"the child {done}\n{done.where}"]
    return [] if same(done.value, wanted) else ["the child found something else"]
